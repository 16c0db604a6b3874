#include "engine/phase_walk.h"

#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "engine/server.h"
#include "http/uri.h"

namespace moongate::engine {
namespace {

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

constexpr Phase kServerPhases[] = {Phase::PostRead, Phase::ServerRewrite};
constexpr Phase kLocationPhases[] = {Phase::Rewrite, Phase::PostRewrite, Phase::Preaccess,
                                     Phase::Access,  Phase::PostAccess,  Phase::Precontent};

}  // namespace

Action too_many_redirects(Request& request, std::string_view while_doing) {
    request.log_error(LogLevel::Error, "rewrite or internal redirection cycle while {} \"{}\"",
                      while_doing, request.uri);
    return Action::finish(500);
}

PhaseWalk::PhaseWalk(Request& request) : request_(request) {
    if (request.named_location.empty()) {
        request.location = request.server->outer.get();
    } else {
        stage_ = Stage::Rewritten;  // goes on with the choice of the location
    }
}

async::Task<Action> PhaseWalk::next() {
    while (!ended_) {
        if (at_ == handlers_.size()) {
            ended_ = !next_list();
            continue;
        }
        const Handler& handler = handlers_[at_++];
        if (handler.run != nullptr) {
            took(handler.run(request_));
            continue;
        }
        async::Task<Action> task = handler.wait(request_);
        if (!task.is_ready()) {
            return task;
        }
        took(task.take_result());
    }
    return {};
}

void PhaseWalk::took(Action action) {
    switch (stage_) {
        case Stage::Server:
        case Stage::FindConfig:
            if (action.kind == Action::Kind::Done) {
                at_ = handlers_.size();
                return;
            }
            break;
        case Stage::Location:
            if (phase_ == Phase::Access && settles_access(request_, action, denied_, granted_)) {
                if (granted_) {
                    at_ = handlers_.size();
                }
                return;
            }
            if (action.kind == Action::Kind::Done) {
                if (phase_ != Phase::Access) {
                    at_ = handlers_.size();
                }
                return;
            }
            break;
        case Stage::Rewritten:
        case Stage::Content:
            break;
        case Stage::ContentHandler:
            end(action);
            return;
    }
    if (action.kind != Action::Kind::Next) {
        end(action);
    } else if (stage_ == Stage::Location && request_.location != in_) {
        // An `if` was entered: its own handlers of this phase follow (it has no script).
        in_ = request_.location;
        begin(in_->handlers.of(phase_));
    }
}

bool PhaseWalk::next_list() {
    switch (stage_) {
        case Stage::Server:
            while (step_ < std::size(kServerPhases)) {
                const Phase phase = kServerPhases[step_++];
                if (phase == Phase::PostRead && request_.internal) {
                    continue;  // nginx: internal redirects begin at server_rewrite
                }
                if (request_.location->handlers.has(phase)) {
                    begin(request_.location->handlers.of(phase));
                    return true;
                }
            }
            request_.uri_changed = false;
            return choose_location();
        case Stage::Rewritten:
            return choose_location();
        case Stage::FindConfig:
            return enter();
        case Stage::Location:
            return next_location_phase();
        case Stage::ContentHandler:
            break;  // its action was the end
        case Stage::Content:
            return nothing_found();
    }
    return false;
}

bool PhaseWalk::choose_location() {
    if (request_.named_location.empty()) {
        const auto handlers = request_.server->outer->handlers.of(Phase::FindConfig);
        if (!handlers.empty()) [[unlikely]] {
            request_.location = request_.server->outer.get();
            stage_ = Stage::FindConfig;
            begin(handlers);
            return true;
        }
    }
    return enter();
}

bool PhaseWalk::enter() {
    const Action found =
        request_.named_location.empty() ? find_location(request_) : find_named(request_);
    if (found.kind != Action::Kind::Next) {
        return end(found);
    }
    stage_ = Stage::Location;
    step_ = 0;
    denied_ = 0;
    granted_ = false;
    return begin_location_phase();
}

// The phase's handlers are behind: what it leaves to be done, then the next one.
bool PhaseWalk::next_location_phase() {
    if (phase_ == Phase::PostRewrite && request_.uri_changed) {
        request_.uri_changed = false;
        if (--request_.uri_changes_left == 0) {
            return end(too_many_redirects(request_, "processing"));
        }
        return choose_location();
    }
    if (phase_ == Phase::Access && denied_ != 0) {
        if (denied_ == 403) {
            request_.log_error(LogLevel::Error, "access forbidden by rule");
        }
        return end(Action::finish(denied_));
    }
    return begin_location_phase();
}

bool PhaseWalk::begin_location_phase() {
    in_ = request_.location;
    while (step_ < std::size(kLocationPhases)) {
        const Phase phase = kLocationPhases[step_++];
        // Even without handlers, a changed URI is looked at behind PostRewrite.
        if (!in_->handlers.has(phase) && !(phase == Phase::PostRewrite && request_.uri_changed)) {
            continue;
        }
        if ((phase == Phase::Access || phase == Phase::PostAccess) && request_.main != &request_) {
            continue;  // nginx: access was granted to the main request
        }
        phase_ = phase;
        begin(in_->handlers.of(phase));
        return true;
    }
    if (const Handler& content = in_->content; content) {
        stage_ = Stage::ContentHandler;
        begin({&content, 1});
    } else {
        stage_ = Stage::Content;
        begin(in_->handlers.of(Phase::Content));
    }
    return true;
}

bool PhaseWalk::nothing_found() {
    if (request_.uri.ends_with('/')) {
        const auto path = map_uri_to_path(request_);
        request_.log_error(LogLevel::Error, "directory index of \"{}\" is forbidden",
                           path ? path->text() : request_.uri);
        return end(Action::finish(403));
    }
    return end(Action::finish(404));
}

}  // namespace moongate::engine
