// PhaseWalk: a request's way from the server's phases, or from the rewrite phase of a named
// location, to the end of the content phase. Plain steps between the handlers: only a handler that
// has something to wait for costs a coroutine. One a request (and one more for each internal
// redirect); one worker. Source of the order: nginx's ngx_http_core_run_phases.
#pragma once

#include <span>

#include "async/task.h"
#include "engine/action.h"
#include "engine/phases.h"

namespace moongate::engine {

class Request;
struct Location;

class PhaseWalk {
public:
    explicit PhaseWalk(Request& request);

    // Runs handlers until one has to wait: its task is to be awaited and its action handed to
    // took() before the next call. An empty task: the walk has ended with action().
    async::Task<Action> next();
    void took(Action action);
    Action action() const { return action_; }

private:
    enum class Stage : std::uint8_t {
        Server,
        Rewritten,  // a location is to be chosen
        FindConfig,
        Location,
        ContentHandler,
        Content,
    };

    // All of these: false where the walk has ended.
    bool next_list();
    bool choose_location();
    bool enter();
    bool next_location_phase();
    bool begin_location_phase();
    bool nothing_found();
    bool end(Action action) {
        action_ = action;
        ended_ = true;
        return false;
    }
    void begin(std::span<const Handler> handlers) {
        handlers_ = handlers;
        at_ = 0;
    }

    Request& request_;
    std::span<const Handler> handlers_;
    std::size_t at_ = 0;
    const Location* in_ = nullptr;  // whose handlers are being run
    std::size_t step_ = 0;          // of the server's or the location's phases: the next one
    Action action_;
    int denied_ = 0;  // `satisfy any`: the refusal that stands
    Stage stage_ = Stage::Server;
    Phase phase_ = Phase::PostRead;
    bool granted_ = false;
    bool ended_ = false;
};

// Ends a request whose URI changed too often.
Action too_many_redirects(Request& request, std::string_view while_doing);

}  // namespace moongate::engine
