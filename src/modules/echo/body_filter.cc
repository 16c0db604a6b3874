// echo_before_body and echo_after_body. They change the length, so that the response has none
// beforehand. See commands.h.
#include "engine/request.h"
#include "modules/echo/commands.h"

namespace moongate::modules {

namespace {

using engine::BodyChunk;
using engine::FilterPosition;
using engine::Request;

// As with nginx, what Lua captures is the response without these.
bool applies(const Request& request) {
    return !request.header_only && !request.status_only;
}

Status adjust_head(Request& request) {
    if (!applies(request)) {
        return {};
    }
    request.response.content_length = -1;
    request.response.allow_ranges = false;
    return {};
}

async::Task<Status> send_all(Request& request, const std::vector<EchoCommand>& commands,
                             http::WriteFlags flags, FilterPosition next) {
    std::string text;
    for (const EchoCommand& command : commands) {
        text += echo_text(request, command);
    }
    const http::BodyPart part{.bytes = text};
    BodyChunk chunk{{}, flags};
    if (!text.empty()) {
        chunk.parts = {&part, 1};
    }
    co_return co_await engine::next_body(request, chunk, next);
}

async::Task<Status> filter_body(Request& request, BodyChunk chunk, FilterPosition next) {
    const EchoSettings& settings = request.get<EchoSettings>();
    EchoContext& context = echo_context(request);
    if (!applies(request)) {
        co_return co_await engine::next_body(request, chunk, next);
    }
    if (!context.before_sent) {
        context.before_sent = true;
        if (!settings.before_body.empty()) {
            if (Status sent = co_await send_all(request, settings.before_body, {}, next); !sent) {
                co_return sent;
            }
        }
    }
    if (!chunk.flags.last || settings.after_body.empty()) {
        co_return co_await engine::next_body(request, chunk, next);
    }
    http::WriteFlags flags = chunk.flags;
    chunk.flags.last = false;
    if (Status sent = co_await engine::next_body(request, chunk, next); !sent) {
        co_return sent;
    }
    co_return co_await send_all(request, settings.after_body, flags, next);
}

}  // namespace

const engine::Filter echo_body_filter{
    .name = "echo", .adjust_head = &adjust_head, .body = &filter_body};

}  // namespace moongate::modules
