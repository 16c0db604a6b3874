// The script that the directives of the rewrite module make of a server or location: instructions
// in the order in which the directives stand. It is evaluated in one pass; every text is built
// once, at its place. A run stops at an instruction that waits (Lua's) and goes on with the value.
// A Script is immutable once its configuration is compiled; a ScriptRun belongs to one request.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/action.h"
#include "modules/rewrite/condition.h"
#include "modules/rewrite/rewrite.h"

namespace moongate::engine {
struct Location;
}

namespace moongate::modules {

struct Script;

struct SetOp {
    int variable = -1;
    ScriptValue value;
};

struct CodeOp {
    int variable = -1;
    ValueOp op;
};

struct CallOp {
    static constexpr std::size_t kMostValues = 4;
    int variable = -1;
    std::vector<ScriptValue> values;  // at most kMostValues
    SetCall call = nullptr;
    std::shared_ptr<const void> data;
};

struct IfBody;
struct IfOp {
    Condition condition;
    std::shared_ptr<const IfBody> body;
};

struct RewriteOp {
    enum class Then : std::uint8_t { GoOn, Last, Break, Redirect };
    conf::BoundRegex regex;
    std::string pattern;
    conf::CompiledString target;  // without arguments, except for a redirect
    conf::CompiledString args;
    bool has_args = false;  // a '?' stands in the replacement
    bool add_args = true;   // the request's arguments follow
    Then then = Then::GoOn;
    int status = 0;  // of a redirect
};

struct ReturnOp {
    int status = 0;
    bool has_text = false;
    conf::CompiledString text;
};

struct BreakOp {};

using Instruction = std::variant<SetOp, CodeOp, CallOp, IfOp, RewriteOp, ReturnOp, BreakOp>;

struct Script {
    // The location (or server's outer location) it belongs to: inherited settings name it too.
    const engine::Location* owner = nullptr;
    std::vector<Instruction> instructions;
    bool may_wait = false;  // has or may have an instruction that sends a response or waits
};

struct IfBody {
    const engine::Location* location = nullptr;  // null in a server: settings do not change there
    Script script;
};

class ScriptRun {
public:
    ScriptRun(engine::Request& request, const Script& script, bool log_matches)
        : request_(request), log_matches_(log_matches), frames_{{&script, 0}, {}} {}

    enum class State : std::uint8_t {
        Finished,  // action() tells how
        Send,      // `return` with a body: status() and text()
        Wait,      // waiting()'s value is needed: assign it and run again
    };
    State run();

    engine::Action action() const { return action_; }
    int status() const { return action_.status; }
    std::string_view text() const { return text_; }
    const CodeOp& waiting() const { return *waiting_; }

private:
    struct Frame {
        const Script* script = nullptr;
        std::size_t next = 0;
    };

    State finish(engine::Action action) {
        action_ = action;
        return State::Finished;
    }
    // Nothing: go on with the next instruction.
    std::optional<State> execute(const SetOp& op);
    std::optional<State> execute(const CodeOp& op);
    std::optional<State> execute(const CallOp& op);
    std::optional<State> execute(const IfOp& op);
    std::optional<State> execute(const RewriteOp& op);
    std::optional<State> execute(const ReturnOp& op);
    std::optional<State> execute(const BreakOp& op);
    std::optional<State> redirect(const RewriteOp& op);
    std::optional<State> change_uri(const RewriteOp& op);

    engine::Request& request_;
    const bool log_matches_;
    bool quote_ = true;
    int depth_ = 0;
    Frame frames_[2];  // `if` does not nest
    engine::Action action_;
    std::string_view text_;
    const CodeOp* waiting_ = nullptr;
};

}  // namespace moongate::modules
