// What the echo directives compile to, and what a request keeps while its commands run. Settings
// are immutable and shared; an EchoContext belongs to a request. Private to this folder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "conf/compiled_string.h"
#include "conf/variables.h"
#include "engine/action.h"
#include "engine/filters.h"

namespace moongate::engine {
class Request;
}

namespace moongate::modules {

enum class EchoOp : std::uint8_t {
    Echo,
    Duplicate,
    Flush,
    Sleep,
    ResetTimer,
    ReadRequestBody,
    RequestBody,
    Location,
    LocationAsync,
    Subrequest,
    SubrequestAsync,
    ForeachSplit,
    End,
    Exec,
    AbortParent,
};

struct EchoCommand {
    EchoOp op = EchoOp::Echo;
    bool no_newline = false;  // -n
    bool opens_body = false;  // a subrequest without output before it: filters see an empty piece
    std::vector<conf::CompiledString> args;
};

struct EchoSettings {
    std::vector<EchoCommand> commands;
    std::vector<EchoCommand> before_body;
    std::vector<EchoCommand> after_body;
    std::int64_t status = 200;
    std::string prefix;  // what `echo_subrequest -f` paths are relative to
};

struct EchoContext {
    std::uint64_t timer_start_ms = 0;  // Clock::unix_ms() of echo_reset_timer; 0: the request's
    std::uint64_t counter = 0;         // $echo_incr, in the main request's
    // echo_foreach_split
    std::span<const std::string_view> choices;
    std::size_t choice = 0;
    std::size_t loop_start = 0;  // the command at its head
    bool in_loop = false;
    // echo_before_body, echo_after_body
    bool before_sent = false;
};

extern int echo_context_slot;
EchoContext& echo_context(engine::Request& request);

// The content handler.
async::Task<engine::Action> run_echo(engine::Request& request);
// Status, default type and head, once.
async::Task<Status> send_echo_head(engine::Request& request);
// "a b\n" of the command's arguments, in the request's arena.
std::string_view echo_text(engine::Request& request, const EchoCommand& command);
// The handler cannot go on: the response is cut off, or there is none.
engine::Action echo_failed(engine::Request& request);

// echo_location*, echo_subrequest*. Next: go on with the next command.
async::Task<engine::Action> echo_subrequest(engine::Request& request, const EchoCommand& command);
// The values of the command's arguments.
std::span<const std::string_view> echo_arguments(engine::Request& request,
                                                 const EchoCommand& command);

extern const engine::Filter echo_body_filter;
std::span<const conf::VariableRow> echo_variable_rows();

}  // namespace moongate::modules
