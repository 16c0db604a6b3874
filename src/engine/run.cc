// The order of phases is nginx's. A handler's Action decides how it goes on: to the next handler,
// to another location (an internal redirect starts again at server_rewrite, a named location at
// rewrite), or to the end. While a request runs, its client may leave: where
// request.abort_on_client_close is set, that destroys the phases' task.
#include "engine/run.h"

#include <utility>

#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "engine/server.h"
#include "engine/special_response.h"
#include "engine/subrequest.h"
#include "engine/worker_state.h"
#include "http/uri.h"

namespace moongate::engine {
namespace {

// A task that ends early when the client closes and the request says that this matters.
class UntilClientCloses {
public:
    UntilClientCloses(Request& request, async::Task<Action> task)
        : request_(request), task_(std::move(task)) {}
    UntilClientCloses(const UntilClientCloses&) = delete;
    ~UntilClientCloses() { request_.exchange.watch_peer(nullptr, nullptr); }

    bool await_ready() const { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) {
        parent_ = handle;
        request_.exchange.watch_peer(&UntilClientCloses::closed, this);
        return task_.arm(handle);
    }
    Action await_resume() {
        return gone_ ? Action::finish(kClientClosedRequest) : task_.take_result();
    }

private:
    static void closed(void* self) {
        auto& waiting = *static_cast<UntilClientCloses*>(self);
        Request& request = waiting.request_;
        if (!wants_abort(request)) {
            return;
        }
        if (request.on_client_close != nullptr && request.on_client_close(request)) {
            return;
        }
        waiting.request_.log_error(LogLevel::Info, "client prematurely closed connection");
        waiting.gone_ = true;
        waiting.task_.reset();
        waiting.request_.streaming.reset();
        waiting.parent_.resume();
    }

    Request& request_;
    async::Task<Action> task_;
    std::coroutine_handle<> parent_;
    bool gone_ = false;
};

// What find_config decides beside the location.
Action enter_location(Request& request) {
    const Location& location = *request.location;
    if (location.internal && !request.internal) {
        return Action::finish(404);
    }
    const auto& core = request.get<CoreLocationSettings>();
    if (request.main != &request) {
        return Action::next();
    }
    const http::RequestFraming& framing = request.exchange.framing();
    if (core.client_max_body_size != 0 && framing.body == http::BodyKind::Length &&
        framing.content_length > core.client_max_body_size) {
        request.log_error(LogLevel::Error, "client intended to send too large body: {} bytes",
                          framing.content_length);
        request.exchange.disable_keep_alive();
        return Action::finish(413);
    }
    request.exchange.limit_body(core.client_max_body_size);
    return Action::next();
}

// Where the location limits this method, the request goes on in what limit_except holds.
void apply_limit_except(Request& request) {
    const Location* limited = request.location->limit_except_location;
    if (limited != nullptr &&
        (http::method_bit(request.method) & request.location->limit_except) != 0) {
        request.location = limited;
    }
}

Action find_location(Request& request) {
    bool redirect_to_slash = false;
    bool failed = false;
    request.location = request.server->outer.get();
    const std::string_view chosen = std::exchange(request.location_key, {});
    const Location* found = request.server->locations.find(chosen.empty() ? request.uri : chosen,
                                                           request, redirect_to_slash, &failed);
    if (failed) {
        return Action::finish(500);
    }
    if (!chosen.empty() && found != nullptr) {
        redirect_to_slash = false;
        request.valid_location = request.valid_location && request.uri.starts_with(found->name);
    }
    if (found != nullptr) {
        request.location = found;
        if (redirect_to_slash) {
            const std::string_view name =
                http::escape_uri(found->name, http::EscapeType::Uri, request.arena());
            request.response.location =
                request.args.empty() ? name : request.arena().concat(name, "?", request.args);
            return Action::finish(301);
        }
    }
    apply_limit_except(request);
    return enter_location(request);
}

Action find_named(Request& request) {
    const auto found = request.server->named.find(request.named_location);
    if (found == request.server->named.end()) {
        request.log_error(LogLevel::Error, "could not find named location \"{}\"",
                          request.named_location);
        return Action::finish(500);
    }
    request.location = found->second;
    request.named_location = {};
    apply_limit_except(request);
    return enter_location(request);
}

Action too_many_redirects(Request& request, std::string_view while_doing) {
    request.log_error(LogLevel::Error, "rewrite or internal redirection cycle while {} \"{}\"",
                      while_doing, request.uri);
    return Action::finish(500);
}

// nginx's `satisfy`: all handlers must grant, or any one may. `denied` remembers the refusal that
// stands.
bool settles_access(const Request& request, Action action, int& denied, bool& granted) {
    if (!request.get<CoreLocationSettings>().satisfy_any) {
        return false;
    }
    if (action.kind == Action::Kind::Done) {
        denied = 0;
        granted = true;
        return true;
    }
    if (action.kind == Action::Kind::Finish && (action.status == 401 || action.status == 403)) {
        denied = action.status;
        return true;
    }
    return false;
}

// The server's handlers of one phase. Kind::Next: go on.
async::Task<Action> run_server_phase(Request& request, Phase phase) {
    for (const Handler& handler : request.server->outer->handlers.of(phase)) {
        const Action action =
            handler.run != nullptr ? handler.run(request) : co_await handler.wait(request);
        if (action.kind == Action::Kind::Done) {
            break;
        }
        if (action.kind != Action::Kind::Next) {
            co_return action;
        }
    }
    co_return Action::next();
}

constexpr Phase kServerPhases[] = {Phase::PostRead, Phase::ServerRewrite};
constexpr Phase kLocationPhases[] = {Phase::Rewrite, Phase::PostRewrite, Phase::Preaccess,
                                     Phase::Access,  Phase::PostAccess,  Phase::Precontent};

// From the server's phases, or from the rewrite phase of a named location, to the end of the
// content phase.
async::Task<Action> run_phases(Request& request) {
    if (request.named_location.empty()) {
        request.location = request.server->outer.get();
        for (Phase phase : kServerPhases) {
            if (phase == Phase::PostRead && request.internal) {
                continue;  // nginx: internal redirects begin at server_rewrite
            }
            for (const Handler& handler : request.location->handlers.of(phase)) {
                const Action action =
                    handler.run != nullptr ? handler.run(request) : co_await handler.wait(request);
                if (action.kind == Action::Kind::Done) {
                    break;
                }
                if (action.kind != Action::Kind::Next) {
                    co_return action;
                }
            }
        }
        request.uri_changed = false;
    }
    for (;;) {
        if (!request.server->outer->handlers.of(Phase::FindConfig).empty() &&
            request.named_location.empty()) [[unlikely]] {
            request.location = request.server->outer.get();
            const Action action = co_await run_server_phase(request, Phase::FindConfig);
            if (action.kind != Action::Kind::Next) {
                co_return action;
            }
        }
        const Action found =
            request.named_location.empty() ? find_location(request) : find_named(request);
        if (found.kind != Action::Kind::Next) {
            co_return found;
        }
        int denied = 0;
        bool granted = false;
        bool again = false;
        for (Phase phase : kLocationPhases) {
            if ((phase == Phase::Access || phase == Phase::PostAccess) &&
                request.main != &request) {
                continue;  // nginx: access was granted to the main request
            }
            const Location* in = request.location;
            auto handlers = in->handlers.of(phase);
            for (std::size_t i = 0; i < handlers.size(); ++i) {
                const Handler& handler = handlers[i];
                const Action action =
                    handler.run != nullptr ? handler.run(request) : co_await handler.wait(request);
                if (phase == Phase::Access && settles_access(request, action, denied, granted)) {
                    if (granted) {
                        break;
                    }
                    continue;
                }
                if (action.kind == Action::Kind::Done) {
                    if (phase == Phase::Access) {
                        continue;
                    }
                    break;
                }
                if (action.kind != Action::Kind::Next) {
                    co_return action;
                }
                if (request.location != in) {
                    // An `if` was entered: its own handlers of this phase follow (it has no
                    // script).
                    in = request.location;
                    handlers = in->handlers.of(phase);
                    i = static_cast<std::size_t>(-1);
                }
            }
            if (phase == Phase::PostRewrite && request.uri_changed) {
                request.uri_changed = false;
                if (--request.uri_changes_left == 0) {
                    co_return too_many_redirects(request, "processing");
                }
                again = true;
                break;
            }
            if (phase == Phase::Access && denied != 0) {
                if (denied == 403) {
                    request.log_error(LogLevel::Error, "access forbidden by rule");
                }
                co_return Action::finish(denied);
            }
        }
        if (!again) {
            break;
        }
    }
    if (const Handler& content = request.location->content; content) {
        co_return content.run != nullptr ? content.run(request) : co_await content.wait(request);
    }
    for (const Handler& handler : request.location->handlers.of(Phase::Content)) {
        const Action action =
            handler.run != nullptr ? handler.run(request) : co_await handler.wait(request);
        if (action.kind != Action::Kind::Next) {
            co_return action;
        }
    }
    if (request.uri.ends_with('/')) {
        const auto path = map_uri_to_path(request);
        request.log_error(LogLevel::Error, "directory index of \"{}\" is forbidden",
                          path ? path->text() : request.uri);
        co_return Action::finish(403);
    }
    co_return Action::finish(404);
}

// Sees to what the handlers left open: a redirect, a status, or a response without an end.
async::Task<void> run_to_end(Request& request, Action action) {
    for (;;) {
        if (action.kind == Action::Kind::Redirect) {
            if (request.uri_changes_left-- <= 1) {
                request.uri_changes_left = 0;
                request.response.forced_status = 0;
                action = too_many_redirects(request, "internally redirecting to");
                continue;
            }
            request.internal = true;
            request.clear_contexts();
            action = co_await UntilClientCloses(request, run_phases(request));
        } else if (action.kind == Action::Kind::Finish &&
                   !(action.status == 0 || action.status == 200)) {
            action = co_await finish_with_status(request, action.status);
        } else {
            break;
        }
    }
    if (!request.response.head_sent && !request.exchange.response_started() &&
        request.response.status != kCloseWithoutResponse &&
        request.response.status != kClientClosedRequest &&
        (request.response.status != 408 || request.main == &request)) {
        static_cast<void>(
            co_await request.send(request.response.status == 0 ? 200 : request.response.status,
                                  request.response.content_type, ""));
    } else if (request.response.head_sent && !request.response.ended) {
        static_cast<void>(co_await request.send_body({{}, {.last = true}}));
    }
}

}  // namespace

async::Task<void> run(Request& request, http::HeadFailure failure) {
    const bool is_main = request.main == &request;
    if (is_main) {
        ++request.worker.counters.requests;
    }
    Action action;
    if (failure.status != 0) {
        request.write_log(LogLevel::Info, failure.log_text);
        action = Action::finish(failure.status);
    } else {
        action = co_await UntilClientCloses(request, run_phases(request));
    }
    if (action.kind == Action::Kind::Redirect || !request.response.ended) {
        if (request.filter_status != 0 && !request.response.head_sent) [[unlikely]] {
            action = Action::finish(std::exchange(request.filter_status, 0));
        }
        co_await run_to_end(request, action);
    }
    if (request.streaming != nullptr) [[unlikely]] {
        co_await request.streaming->tasks().drained();
    }
    if (!is_main && !request.get<CoreLocationSettings>().log_subrequest) {
        co_return;
    }
    for (const Handler& handler : request.location->handlers.of(Phase::Log)) {
        if (handler.run != nullptr) {
            handler.run(request);
        } else {
            co_await handler.wait(request);
        }
    }
}

}  // namespace moongate::engine
