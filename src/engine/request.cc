#include "engine/request.h"

#include <utility>

#include "base/clock.h"
#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/module.h"
#include "engine/server.h"
#include "engine/snapshot.h"
#include "engine/subrequest.h"
#include "engine/worker_state.h"
#include "http/uri.h"

namespace moongate::engine {

Request::Request(WorkerState& on_worker, const Snapshot& with, http::Exchange& on,
                 const Server& chosen)
    : VariableSource(on.arena(), with.variables(), this),
      worker(on_worker),
      snapshot(with),
      exchange(on),
      server(&chosen),
      location(chosen.outer.get()),
      method(on.head().method),
      method_text(on.head().method_text),
      headers(on.head().headers),
      start_ms(Clock::current().unix_ms()),
      start_mono_ms(Clock::current().monotonic_ms()) {
    response.headers.bind(arena());
    header_only = method == http::Method::Head;
    contexts_ = arena().make_array<void*>(with.modules().size());
}

Request::~Request() = default;

async::Reactor& Request::reactor() const {
    return worker.reactor();
}

const conf::SettingsSet& Request::settings() const {
    return *location->settings;
}

void Request::clear_contexts() {
    const std::span<const Module* const> modules = snapshot.modules();
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
        void* const context = std::exchange(contexts_[i], nullptr);
        if (context != nullptr && modules[i]->carry_context != nullptr) {
            contexts_[i] = modules[i]->carry_context(*this, context);
        }
    }
}

const Log& Request::log() const {
    return *get<CoreLocationSettings>().error_log;
}

void Request::set_extension() {
    extension = {};
    const std::size_t slash = uri.rfind('/');
    const std::string_view name = slash == std::string_view::npos ? uri : uri.substr(slash + 1);
    const std::size_t dot = name.rfind('.');
    if (dot != std::string_view::npos && dot != 0) {
        extension = name.substr(dot + 1);
    }
}

void Request::set_internal_uri(std::string_view new_uri, std::string_view new_args) {
    uri = new_uri;
    args = new_args;
    internal = true;
    valid_unparsed_uri = false;
    valid_location = true;
    add_uri_to_alias = false;
    uri_changed = false;
    set_extension();
}

void Request::clear_response() {
    const int forced = response.forced_status;
    response = Response{};
    response.forced_status = forced;
    response.headers.bind(arena());
}

std::string Request::one_line(std::string message) {
    for (std::size_t at = 0; (at = message.find('\n', at)) != std::string::npos; at += 4) {
        message.replace(at, 1, "\\x0A");
    }
    return message;
}

void Request::write_log(LogLevel level, std::string_view message) const {
    std::string line(message);
    const auto to = std::back_inserter(line);
    if (!log_action.empty()) {
        fmt::format_to(to, " while {}", log_action);
    }
    const http::ConnectionInfo& connection = exchange.connection();
    fmt::format_to(to, ", client: {}, server: {}", connection.remote_ip, server->first_name);
    const http::RequestHead& head = exchange.head();
    if (!head.request_line.empty()) {
        fmt::format_to(to, ", request: \"{}\"", head.request_line);
    }
    if (main != this) {
        fmt::format_to(to, ", subrequest: \"{}\"", uri);
    }
    if (!log_upstream.empty()) {
        fmt::format_to(to, ", upstream: \"{}\"", log_upstream);
    }
    if (const http::Header* name = headers.find(http::HeaderId::Host); name != nullptr) {
        fmt::format_to(to, ", host: \"{}\"", name->value);
    }
    if (const http::Header* referrer = headers.find(http::HeaderId::Referer); referrer != nullptr) {
        fmt::format_to(to, ", referrer: \"{}\"", referrer->value);
    }
    log().write(level, connection.number, line);
}

async::Task<Status> Request::send_head() {
    if (response.head_sent) {
        return async::Task<Status>::ready(Status{});
    }
    if (response.status == 0) {
        response.status = 200;
    }
    if (response.forced_status != 0) {
        response.status = response.forced_status;
        response.status_text = {};
    }
    return next_head(*this, 0);
}

async::Task<Status> Request::send_body(BodyChunk chunk) {
    return next_body(*this, chunk, 0);
}

namespace {

async::Task<Status> send_both(Request& request, async::Task<Status> head, BodyChunk body) {
    if (Status sent = co_await std::move(head); !sent) {
        co_return sent;
    }
    co_return co_await request.send_body(body);
}

}  // namespace

async::Task<Status> Request::send(int status, std::string_view content_type,
                                  std::string_view body) {
    response.status = status;
    response.content_type = content_type;
    response.content_length = static_cast<std::int64_t>(body.size());
    const auto* part = arena().make<http::BodyPart>(http::BodyPart{.bytes = body});
    const BodyChunk chunk{{part, 1}, {.last = true}};
    async::Task<Status> head = send_head();
    if (!head.is_ready()) {
        return send_both(*this, std::move(head), chunk);
    }
    if (Status sent = head.take_result(); !sent) {
        return async::Task<Status>::ready(sent);
    }
    return send_body(chunk);
}

}  // namespace moongate::engine
