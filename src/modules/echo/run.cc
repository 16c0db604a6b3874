// The content handler: carries out a location's echo commands. See commands.h.
#include <algorithm>

#include "base/clock.h"
#include "conf/values.h"
#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "engine/subrequest.h"
#include "http/uri.h"
#include "modules/answer.h"
#include "modules/echo/commands.h"

namespace moongate::modules {

namespace {

using engine::Action;
using engine::Request;

// Where a command leads: Next is the following one.
struct Step {
    Action action = Action::next();
    std::size_t next = 0;
};

// Digits, with '_' between them where one likes; nothing beyond 2^62.
std::optional<std::uint64_t> parse_count(std::string_view text) {
    std::uint64_t count = 0;
    for (const char c : text) {
        if (c == '_') {
            continue;
        }
        if (!is_digit(c) || count > (std::uint64_t{1} << 58)) {
            return std::nullopt;
        }
        count = count * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return text.empty() ? std::nullopt : std::optional(count);
}

async::Task<Action> send_text(Request& request, std::string_view text) {
    Status sent = co_await send_echo_head(request);
    if (sent && !request.header_only && !text.empty()) {
        const http::BodyPart part{.bytes = text};
        sent = co_await request.send_body({{&part, 1}, {}});
    }
    co_return sent ? Action::next() : after_send(sent);
}

async::Task<Action> duplicate(Request& request, const EchoCommand& command) {
    const auto args = echo_arguments(request, command);
    const auto count = parse_count(args.empty() ? std::string_view() : args[0]);
    if (!count) {
        request.log_error(LogLevel::Error, "invalid size specified: \"{}\"",
                          args.empty() ? std::string_view() : args[0]);
        co_return Action::finish(500);
    }
    const std::string_view text = args.size() > 1 ? args[1] : std::string_view();
    Status sent = co_await send_echo_head(request);
    if (!sent || request.header_only || *count == 0 || text.empty()) {
        co_return sent ? Action::next() : after_send(sent);
    }
    // In blocks, so that a large count costs no memory.
    constexpr std::size_t kBlock = 16384;
    const auto in_block = static_cast<std::size_t>(
        std::min<std::uint64_t>(*count, std::max<std::size_t>(kBlock / text.size(), 1)));
    std::string block;
    for (std::size_t i = 0; i < in_block; ++i) {
        block += text;
    }
    for (std::uint64_t left = *count; sent && left > 0;) {
        const std::uint64_t now = std::min<std::uint64_t>(left, in_block);
        const http::BodyPart part{.bytes = std::string_view(block).substr(
                                      0, static_cast<std::size_t>(now) * text.size())};
        sent = co_await request.send_body({{&part, 1}, {}});
        left -= now;
    }
    co_return sent ? Action::next() : after_send(sent);
}

async::Task<Action> flush(Request& request) {
    Status sent = co_await send_echo_head(request);
    if (sent && !request.header_only) {
        sent = co_await request.send_body({{}, {.flush = true}});
    }
    co_return sent ? Action::next() : after_send(sent);
}

async::Task<Action> sleep(Request& request, const EchoCommand& command) {
    const auto args = echo_arguments(request, command);
    const std::string_view text = args.empty() ? std::string_view() : args[0];
    const auto delay = conf::parse_fixed(text, 3);
    if (!delay) {
        request.log_error(LogLevel::Error, "invalid sleep duration \"{}\"", text);
        co_return Action::finish(400);
    }
    co_await async::sleep(request.reactor(), Milliseconds(*delay));
    co_return Action::next();
}

async::Task<Action> read_body(Request& request) {
    const Status read = co_await engine::read_request_body(request);
    if (!read) {
        co_return Action::finish(read.error().code >= 400 ? read.error().code : 500);
    }
    co_return Action::next();
}

async::Task<Action> send_request_body(Request& request) {
    if (request.body == nullptr || request.body->size == 0) {
        co_return Action::next();
    }
    Status sent = co_await send_echo_head(request);
    if (sent && !request.header_only) {
        const http::BodyPart part = request.body->part();
        sent = co_await request.send_body({{&part, 1}, {}});
    }
    co_return sent ? Action::next() : after_send(sent);
}

Step foreach_split(Request& request, EchoContext& context, const EchoCommand& command,
                   std::size_t at) {
    if (context.in_loop) {
        request.log_error(LogLevel::Error, "Nested echo_foreach not supported yet.");
        return {Action::finish(500)};
    }
    const auto args = echo_arguments(request, command);
    if (args.size() < 2) {
        request.log_error(LogLevel::Error,
                          "echo_foreach should take at least two arguments. (if your delimiter "
                          "starts with \"-\", preceding it with a \"--\".)");
        return {Action::finish(500)};
    }
    const std::string_view delimiter = args[0];
    std::string_view rest = args[1];
    std::vector<std::string_view> parts;
    while (!rest.empty()) {
        const std::size_t end = delimiter.empty() ? rest.npos : rest.find(delimiter);
        if (end != 0) {
            parts.push_back(rest.substr(0, end));
        }
        rest = end == rest.npos ? std::string_view() : rest.substr(end + delimiter.size());
    }
    const auto choices = request.arena().make_array<std::string_view>(parts.size());
    std::ranges::copy(parts, choices.begin());
    context.choices = choices;
    context.choice = 0;
    context.loop_start = at;
    context.in_loop = true;
    if (!parts.empty()) {
        return {Action::next(), at + 1};
    }
    const auto& commands = request.get<EchoSettings>().commands;
    while (++at < commands.size() && commands[at].op != EchoOp::End) {
    }
    return {Action::next(), at};
}

Step end_of_loop(Request& request, EchoContext& context, std::size_t at) {
    if (!context.in_loop) {
        request.log_error(LogLevel::Error,
                          "Found a echo_end that has no corresponding echo_foreach before it.");
        return {echo_failed(request)};
    }
    if (++context.choice >= context.choices.size()) {
        context.in_loop = false;
        return {Action::next(), at + 1};
    }
    return {Action::next(), context.loop_start + 1};
}

Action exec(Request& request, const EchoCommand& command) {
    const auto args = echo_arguments(request, command);
    if (args.empty() || args[0].empty()) {
        return Action::finish(400);
    }
    const auto target = http::parse_unsafe_uri(request.arena().copy(args[0]), request.arena());
    if (!target) {
        return echo_failed(request);
    }
    const std::string_view more = args.size() > 1 ? args[1] : target->args;
    if (target->path.starts_with('@')) {
        if (!more.empty()) {
            request.log_error(LogLevel::Warn,
                              "querystring {} ignored when exec'ing named location {}", more,
                              target->path);
        }
        request.named_location = target->path;
    } else {
        request.set_internal_uri(target->path, more);
    }
    return Action::redirect();
}

// The response ends behind what this subrequest has sent; its siblings that come later are gone.
Action abort_parent(Request& request) {
    if (auto* streamed = dynamic_cast<engine::StreamedSubrequest*>(&request.exchange)) {
        streamed->end_response();
    }
    return Action::next();
}

// All commands that are neither loops nor waited for by themselves.
async::Task<Action> run_command(Request& request, EchoContext& context,
                                const EchoCommand& command) {
    switch (command.op) {
        case EchoOp::Echo:
            co_return co_await send_text(request, echo_text(request, command));
        case EchoOp::Duplicate:
            co_return co_await duplicate(request, command);
        case EchoOp::Flush:
            co_return co_await flush(request);
        case EchoOp::Sleep:
            co_return co_await sleep(request, command);
        case EchoOp::ResetTimer:
            context.timer_start_ms = Clock::current().unix_ms();
            co_return Action::next();
        case EchoOp::ReadRequestBody:
            co_return co_await read_body(request);
        case EchoOp::RequestBody:
            co_return co_await send_request_body(request);
        case EchoOp::Location:
        case EchoOp::LocationAsync:
        case EchoOp::Subrequest:
        case EchoOp::SubrequestAsync: {
            const Action read = co_await read_body(request);
            co_return read.kind != Action::Kind::Next ? read
                                                      : co_await echo_subrequest(request, command);
        }
        case EchoOp::Exec:
            co_return exec(request, command);
        case EchoOp::AbortParent:
            co_return abort_parent(request);
        case EchoOp::ForeachSplit:
        case EchoOp::End:
            break;
    }
    co_return Action::next();
}

}  // namespace

EchoContext& echo_context(Request& request) {
    EchoContext*& slot = request.context<EchoContext>(echo_context_slot);
    if (slot == nullptr) {
        slot = request.arena().make<EchoContext>();
    }
    return *slot;
}

Action echo_failed(Request& request) {
    if (request.response.head_sent) {
        request.exchange.disable_keep_alive();
        request.exchange.abort();
        return Action::done();
    }
    return Action::finish(request.status_only ? 500 : engine::kCloseWithoutResponse);
}

std::span<const std::string_view> echo_arguments(Request& request, const EchoCommand& command) {
    const auto values = request.arena().make_array<std::string_view>(command.args.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = command.args[i].evaluate(request);
    }
    return values;
}

std::string_view echo_text(Request& request, const EchoCommand& command) {
    std::string text;
    bool first = true;
    for (const conf::CompiledString& arg : command.args) {
        if (!first) {
            text += ' ';
        }
        first = false;
        arg.append_to(request, text);
    }
    if (!command.no_newline) {
        text += '\n';
    }
    return request.arena().copy(text);
}

async::Task<Status> send_echo_head(Request& request) {
    if (request.response.head_sent) {
        return async::Task<Status>::ready(Status{});
    }
    request.response.status = static_cast<int>(request.get<EchoSettings>().status);
    if (request.response.content_type.empty()) {
        request.response.content_type = media_type(request);
    }
    request.response.content_length = -1;
    request.response.allow_ranges = false;
    return request.send_head();
}

async::Task<Action> run_echo(Request& request) {
    const auto& commands = request.get<EchoSettings>().commands;
    EchoContext& context = echo_context(request);
    for (std::size_t at = 0; at < commands.size();) {
        const EchoCommand& command = commands[at];
        Step step;
        if (command.op == EchoOp::ForeachSplit) {
            step = foreach_split(request, context, command, at);
        } else if (command.op == EchoOp::End) {
            step = end_of_loop(request, context, at);
        } else {
            step = {co_await run_command(request, context, command), at + 1};
        }
        if (step.action.kind == Action::Kind::Finish && request.response.head_sent) {
            co_return echo_failed(request);
        }
        if (step.action.kind != Action::Kind::Next) {
            co_return step.action;
        }
        at = step.next;
    }
    Status sent = co_await send_echo_head(request);
    if (sent) {
        sent = co_await request.send_body({{}, {.last = true}});
    }
    co_return after_send(sent);
}

}  // namespace moongate::modules
