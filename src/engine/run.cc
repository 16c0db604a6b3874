// The order of phases is nginx's. A handler's Action decides how it goes on: to the next handler,
// to another location (an internal redirect starts again at server_rewrite, a named location at
// rewrite), or to the end. While a request runs, its client may leave: where
// request.abort_on_client_close is set, that destroys the phases' task.
#include "engine/run.h"

#include <utility>

#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/phase_walk.h"
#include "engine/request.h"
#include "engine/special_response.h"
#include "engine/subrequest.h"
#include "engine/worker_state.h"

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
            PhaseWalk walk(request);
            for (auto waiting = walk.next(); waiting; waiting = walk.next()) {
                walk.took(co_await UntilClientCloses(request, std::move(waiting)));
            }
            action = walk.action();
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

namespace {

void count(Request& request) {
    if (request.main == &request) {
        ++request.worker.counters.requests;
    }
}

bool left_open(const Request& request, Action action) {
    return action.kind == Action::Kind::Redirect || !request.response.ended;
}

std::span<const Handler> log_handlers(Request& request) {
    if (request.main != &request && !request.get<CoreLocationSettings>().log_subrequest) {
        return {};
    }
    return request.location->handlers.of(Phase::Log);
}

// From where `walk` stands, with `waiting` the handler that it waits for.
async::Task<void> run_on(Request& request, PhaseWalk walk, async::Task<Action> waiting) {
    for (; waiting; waiting = walk.next()) {
        walk.took(co_await UntilClientCloses(request, std::move(waiting)));
    }
    if (Action action = walk.action(); left_open(request, action)) {
        if (request.filter_status != 0 && !request.response.head_sent) [[unlikely]] {
            action = Action::finish(std::exchange(request.filter_status, 0));
        }
        co_await run_to_end(request, action);
    }
    if (request.streaming != nullptr) [[unlikely]] {
        co_await request.streaming->tasks().drained();
    }
    for (const Handler& handler : log_handlers(request)) {
        if (handler.run != nullptr) {
            handler.run(request);
        } else {
            co_await handler.wait(request);
        }
    }
}

async::Task<void> run_failed(Request& request, http::HeadFailure failure) {
    request.write_log(LogLevel::Info, failure.log_text);
    if (Action action = Action::finish(failure.status); left_open(request, action)) {
        co_await run_to_end(request, action);
    }
    for (const Handler& handler : log_handlers(request)) {
        if (handler.run != nullptr) {
            handler.run(request);
        } else {
            co_await handler.wait(request);
        }
    }
}

}  // namespace

async::Task<void> run_now(Request& request, http::HeadFailure failure) {
    count(request);
    if (failure.status != 0) [[unlikely]] {
        return run_failed(request, failure);
    }
    PhaseWalk walk(request);
    async::Task<Action> waiting = walk.next();
    if (waiting || left_open(request, walk.action()) || request.streaming != nullptr) {
        return run_on(request, walk, std::move(waiting));
    }
    for (const Handler& handler : log_handlers(request)) {
        if (handler.run == nullptr) {
            return run_on(request, walk, {});
        }
    }
    for (const Handler& handler : log_handlers(request)) {
        handler.run(request);
    }
    return async::Task<void>::ready();
}

async::Task<void> run(Request& request, http::HeadFailure failure) {
    co_await run_now(request, failure);
}

}  // namespace moongate::engine
