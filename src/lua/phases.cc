// How each phase runs its code, and what its end means to the engine. The rules for exit codes are
// those of ngx_lua's documentation of ngx.exit and of each *_by_lua directive.
#include "lua/phases.h"

#include <unistd.h>

#include "engine/location.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "engine/worker_state.h"
#include "lua/context.h"
#include "lua/worker_lua.h"

namespace moongate::lua {
namespace {

using engine::Action;
using engine::Request;

constexpr int kOk = 0;
constexpr int kError = -1;

Action close_connection(Request& request) {
    if (request.response.head_sent) {
        request.exchange.abort();
        request.exchange.disable_keep_alive();
        return Action::done();
    }
    if (request.status_only) {
        return Action::finish(500);
    }
    return Action::finish(engine::kCloseWithoutResponse);
}

bool ends_abruptly(int code) {
    return code == kError || code == 408 || code == engine::kClientClosedRequest ||
           code == engine::kCloseWithoutResponse;
}

Action redirect_by_exec(Context& context) {
    Request& request = *context.request;
    request.clear_response();
    if (context.exec_uri.starts_with('@')) {
        if (!context.exec_args.empty()) {
            context.log_line(LogLevel::Warn,
                             fmt::format("query strings {} ignored when exec'ing named location {}",
                                         context.exec_args, context.exec_uri));
        }
        request.named_location = context.exec_uri;
    } else {
        request.set_internal_uri(context.exec_uri, context.exec_args);
    }
    return Action::redirect();
}

// What a filter wants to be sent instead of the output, if anything.
std::optional<Action> refused(const Context& context) {
    const int status = context.output.refusal();
    if (status == 0 || context.request->response.head_sent) {
        return std::nullopt;
    }
    return Action::finish(status);
}

// What ngx.exit(code) means; nothing: the phase goes on as if its code had ended.
async::Task<std::optional<Action>> settle_exit(Context& context, int code, bool content) {
    Request& request = *context.request;
    Output& output = context.output;
    if (!output.head_started() && !request.response.head_sent && request.response.status == 0 &&
        code >= 200) {
        request.response.status = code;
    }
    if (output.buffering() && request.response.status != 0 && !ends_abruptly(code)) {
        static_cast<void>(co_await output.finish(context));
        co_return content ? Action::done() : Action::finish(200);
    }
    if ((code == kOk && content) || (code >= 200 && code < 300)) {
        if (!output.eof()) {
            static_cast<void>(co_await output.finish(context));
        }
        co_return content ? Action::done() : Action::finish(200);
    }
    if ((output.head_started() || request.response.head_sent) && code > kOk &&
        !ends_abruptly(code)) {
        if (!output.eof()) {
            static_cast<void>(co_await output.finish(context));
        }
        co_return content ? Action::done() : Action::finish(200);
    }
    if (code == kError || (content && code < 0)) {
        co_return close_connection(request);
    }
    if (code >= 300 || code == 100 || code == 101) {
        if (output.head_started()) {
            co_return close_connection(request);
        }
        co_return Action::finish(code);
    }
    co_return std::nullopt;
}

Action choose_location(Run& run);

// The end of all phases before content.
async::Task<Action> settle(Run& run, Phase phase) {
    Context& context = run.context();
    Request& request = *context.request;
    if (std::optional<Action> instead = refused(context)) [[unlikely]] {
        co_return *instead;
    }
    switch (run.end()) {
        case Run::End::Exec:
            co_return redirect_by_exec(context);
        case Run::End::Jump:
            // As at other redirects: ngx.ctx begins anew.
            if (context.ctx_ref >= 0 && !request.get<LuaSettings>().ctx_keep) {
                context.vm.free_ctx(std::exchange(context.ctx_ref, -1), context.ctx_epoch);
            }
            co_return Action::next();
        case Run::End::Error:
            if (context.output.head_started()) {
                co_return close_connection(request);
            }
            co_return Action::finish(run.code());
        case Run::End::Exit:
            if (std::optional<Action> action = co_await settle_exit(context, run.code(), false)) {
                co_return *action;
            }
            break;
        case Run::End::Done:
        case Run::End::Waiting:
            break;
    }
    if (context.output.head_started() || context.output.buffering()) {
        if (!context.output.eof()) {
            static_cast<void>(co_await context.output.finish(context));
        }
        co_return Action::finish(200);
    }
    if (phase == Phase::FindConfig && run.end() == Run::End::Done) {
        co_return choose_location(run);
    }
    // In access, falling off the end or exit(ngx.OK) grants; ngx.DECLINED has no opinion.
    const bool declined = run.end() == Run::End::Exit && run.code() != kOk;
    co_return phase == Phase::Access && !declined ? Action::done() : Action::next();
}

// find_config_by_lua's result: "@name" goes to a named location, other text is what the location
// is searched for in place of the URI, nothing leaves it to the URI.
Action choose_location(Run& run) {
    lua_State* L = run.results();
    Request& request = *run.context().request;
    if (lua_gettop(L) == 0 || lua_toboolean(L, 1) == 0) {
        return Action::next();
    }
    std::size_t size = 0;
    const char* text = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &size) : nullptr;
    if (text == nullptr || size == 0 || (*text != '/' && *text != '@')) {
        run.context().log_line(
            LogLevel::Error,
            fmt::format("find_config_by_lua* returned {}: a path or the name of a named location "
                        "expected",
                        text != nullptr ? fmt::format("\"{}\"", std::string_view(text, size))
                                        : std::string(luaL_typename(L, 1))));
        return Action::finish(500);
    }
    const std::string_view chosen = request.arena().copy(std::string_view(text, size));
    (chosen.front() == '@' ? request.named_location : request.location_key) = chosen;
    return Action::next();
}

bool client_left(Request& request) {
    const Context* context = existing_context(request);
    return context != nullptr && context->abortable != nullptr && context->abortable->client_left();
}

// lua_check_client_abort, for the code that begins.
void watch_client(Request& request, Run& run) {
    request.abort_on_client_close = true;
    request.on_client_close = client_left;
    run.context().abortable = &run;
}

// The client had closed before its leaving was watched, and the code would wait now: true where
// nothing but the code's end is left to do.
bool left_before(Run& run) {
    Context& context = run.context();
    if (context.abortable != &run || !context.request->exchange.peer_closed() || run.client_left())
        [[likely]] {
        return false;
    }
    context.request->log_error(LogLevel::Info, "client prematurely closed connection");
    return true;
}

async::Task<Action> run_phase(Request& request, Phase phase, const LuaCode& code) {
    if (request.get<LuaSettings>().need_request_body && request.body == nullptr) {
        const Status read = co_await engine::read_request_body(request);
        if (!read) {
            co_return Action::finish(read.error().code != 0 ? read.error().code : 500);
        }
    }
    Context* context = context_of(request);
    if (context == nullptr) {
        co_return Action::finish(500);
    }
    Run run(*context, phase);
    if (!run.load(code)) {
        co_return Action::finish(run.code());
    }
    if (request.get<LuaSettings>().check_client_abort) {
        watch_client(request, run);
    }
    while (!run.progress()) {
        if (left_before(run)) {
            co_return Action::finish(engine::kClientClosedRequest);
        }
        co_await run.wakeup();
    }
    const Action action = co_await settle(run, phase);
    co_return refused(*context).value_or(action);
}

template <Phase On, CodeRef LuaSettings::* Code>
async::Task<Action> phase_by_lua(Request& request) {
    if constexpr (On == Phase::Rewrite || On == Phase::ServerRewrite) {
        if (request.uri_changed) {
            return async::Task<Action>::ready(
                Action::next());  // `rewrite … last`: the new location's
        }
    }
    return run_phase(request, On, *(request.get<LuaSettings>().*Code));
}
template <Phase On, CodeRef LuaSettings::* Code>
constexpr engine::Handler handler(std::string_view name) {
    return {name, nullptr, phase_by_lua<On, Code>};
}

constexpr auto kPostRead = handler<Phase::PostRead, &LuaSettings::post_read>("post_read_by_lua");
constexpr auto kServerRewrite =
    handler<Phase::ServerRewrite, &LuaSettings::server_rewrite>("server_rewrite_by_lua");
constexpr auto kFindConfig =
    handler<Phase::FindConfig, &LuaSettings::find_config>("find_config_by_lua");
constexpr auto kRewrite = handler<Phase::Rewrite, &LuaSettings::rewrite>("rewrite_by_lua");
constexpr auto kPostRewrite =
    handler<Phase::PostRewrite, &LuaSettings::post_rewrite>("post_rewrite_by_lua");
constexpr auto kPreaccess = handler<Phase::Preaccess, &LuaSettings::preaccess>("preaccess_by_lua");
constexpr auto kAccess = handler<Phase::Access, &LuaSettings::access>("access_by_lua");
constexpr auto kPostAccess =
    handler<Phase::PostAccess, &LuaSettings::post_access>("post_access_by_lua");
constexpr auto kPrecontent =
    handler<Phase::Precontent, &LuaSettings::precontent>("precontent_by_lua");

Action malloc_trim(Request& request) {
    WorkerLua* lua = request.worker.get<WorkerLua>(lua_worker_slot);
    if (lua != nullptr && lua->current() != nullptr) {
        lua->count_request();
    }
    return Action::next();
}

}  // namespace

void add_phase_handlers(engine::Location& location, const LuaSettings& settings,
                        const LuaMainSettings& main) {
    using enum engine::LocationKind;
    const auto add = [&](engine::Phase phase, const CodeRef& code, engine::Handler handler,
                         bool no_postpone = false) {
        if (code == nullptr) {
            return;
        }
        if (!no_postpone) {
            location.handlers.add(phase, handler);
        } else if (location.kind != If || phase != engine::Phase::Rewrite) {
            // An `if` is entered from the location's rewrite phase, where the code has run already.
            location.handlers.add_first(phase, handler);
        }
    };
    if (location.kind == Server) {
        add(engine::Phase::PostRead, settings.post_read, kPostRead);
        // Before the server's own rewrite directives, unlike the code of a location.
        add(engine::Phase::ServerRewrite, settings.server_rewrite, kServerRewrite, true);
        add(engine::Phase::FindConfig, settings.find_config, kFindConfig);
    }
    add(engine::Phase::Rewrite, settings.rewrite, kRewrite, main.rewrite_no_postpone);
    add(engine::Phase::PostRewrite, settings.post_rewrite, kPostRewrite);
    add(engine::Phase::Preaccess, settings.preaccess, kPreaccess);
    add(engine::Phase::Access, settings.access, kAccess, main.access_no_postpone);
    add(engine::Phase::PostAccess, settings.post_access, kPostAccess);
    add(engine::Phase::Precontent, settings.precontent, kPrecontent, main.precontent_no_postpone);
    if (main.malloc_trim > 0) {
        location.handlers.add(engine::Phase::Log, {"lua_malloc_trim", malloc_trim, nullptr});
    }
    add(engine::Phase::Log, settings.log, {"log_by_lua", nullptr, log_by_lua});
}

async::Task<Action> content_by_lua(Request& request) {
    const LuaSettings& settings = request.get<LuaSettings>();
    if (settings.need_request_body && request.body == nullptr) {
        const Status read = co_await engine::read_request_body(request);
        if (!read) {
            co_return Action::finish(read.error().code != 0 ? read.error().code : 500);
        }
    }
    Context* context = context_of(request);
    if (context == nullptr) {
        co_return Action::finish(500);
    }
    Run run(*context, Phase::Content);
    if (!run.load(*settings.content)) {
        co_return Action::finish(run.code());
    }
    if (settings.check_client_abort) {
        watch_client(request, run);
    }
    while (!run.progress()) {
        if (left_before(run)) {
            co_return Action::finish(engine::kClientClosedRequest);
        }
        co_await run.wakeup();
    }
    Output& output = context->output;
    if (std::optional<Action> instead = refused(*context)) [[unlikely]] {
        co_return *instead;
    }
    switch (run.end()) {
        case Run::End::Done:
            break;
        case Run::End::Exec:
            co_return redirect_by_exec(*context);
        case Run::End::Exit:
            if (std::optional<Action> action = co_await settle_exit(*context, run.code(), true)) {
                co_return refused(*context).value_or(*action);
            }
            break;
        default:
            if (output.head_started()) {
                co_return close_connection(request);
            }
            co_return Action::finish(run.code());
    }
    if (!output.eof()) [[likely]] {
        static_cast<void>(co_await output.finish(*context));
    } else {
        while (output.busy()) {
            co_await output.idle(*context).wait();
        }
    }
    if (output.failed() && !request.response.ended) {
        co_return refused(*context).value_or(close_connection(request));
    }
    co_return Action::done();
}

async::Task<Action> log_by_lua(Request& request) {
    Context* context = context_of(request);
    if (context == nullptr) {
        co_return Action::next();
    }
    Run run(*context, Phase::Log);
    if (run.load(*request.get<LuaSettings>().log)) {
        while (!run.progress()) {
            co_await run.wakeup();
        }
    }
    co_return Action::next();
}

namespace {

Error filter_failed(int status) {
    return {ErrorKind::Denied, ErrorSide::Internal, false, status, "header_filter_by_lua"};
}

async::Task<Status> header_filter(Request& request, engine::FilterPosition next) {
    Context* context = context_of(request);
    if (context == nullptr) {
        co_return filter_failed(500);
    }
    {
        Run run(*context, Phase::HeaderFilter);
        if (!run.load(*request.get<LuaSettings>().header_filter)) {
            co_return filter_failed(500);
        }
        while (!run.progress()) {
            co_await run.wakeup();
        }
        if (run.end() == Run::End::Error) {
            co_return filter_failed(500);
        }
        // The page that is sent instead passes this filter again: the same code lets it go.
        if (run.exited() && run.code() != context->filter_exit) {
            context->filter_exit = run.code();
            if (run.code() >= 200) {
                request.clear_response();
                request.filter_status = run.code();
            }
            if (run.code() == kError || run.code() >= 200) {
                co_return filter_failed(run.code() == kError ? engine::kCloseWithoutResponse
                                                             : run.code());
            }
        }
    }
    co_return co_await engine::next_head(request, next);
}

// A chunk's bytes in one piece; files are read, since Lua sees all of the body.
Result<std::string_view> gather(Request& request, const engine::BodyChunk& chunk) {
    if (chunk.parts.empty()) {
        return std::string_view();
    }
    if (chunk.parts.size() == 1 && chunk.parts[0].file < 0) {
        return chunk.parts[0].bytes;
    }
    const std::size_t bytes = chunk.size();
    char* to = request.arena().allocate_chars(bytes);
    char* at = to;
    for (const http::BodyPart& part : chunk.parts) {
        if (part.file < 0) {
            if (!part.bytes.empty()) {
                std::memcpy(at, part.bytes.data(), part.bytes.size());
                at += part.bytes.size();
            }
            continue;
        }
        std::size_t done = 0;
        while (done < part.file_size) {
            const ssize_t got = ::pread(part.file, at, part.file_size - done,
                                        part.offset + static_cast<off_t>(done));
            if (got <= 0) {
                return errno_error(errno, "pread()");
            }
            at += got;
            done += static_cast<std::size_t>(got);
        }
    }
    return std::string_view(to, static_cast<std::size_t>(at - to));
}

async::Task<Status> body_filter(Request& request, engine::BodyChunk chunk,
                                engine::FilterPosition next) {
    Context* context = context_of(request);
    if (context == nullptr) {
        co_return filter_failed(500);
    }
    if (context->body_ended) {
        co_return Status{};  // Lua ended the body before the handler did
    }
    const Result<std::string_view> bytes = gather(request, chunk);
    if (!bytes) {
        co_return Status(bytes.error());
    }
    const std::string_view outer_chunk = std::exchange(context->chunk, *bytes);
    const bool outer_last = std::exchange(context->chunk_last, chunk.flags.last);
    bool failed = false;
    {
        Run run(*context, Phase::BodyFilter);
        failed = !run.load(*request.get<LuaSettings>().body_filter);
        if (!failed) {
            while (!run.progress()) {
                co_await run.wakeup();
            }
            failed = run.end() == Run::End::Error || (run.exited() && run.code() == kError);
        }
    }
    const http::BodyPart part{context->chunk, -1, 0, 0};
    engine::BodyChunk changed{{}, chunk.flags};
    if (!part.bytes.empty()) {
        changed.parts = {&part, 1};
    }
    changed.flags.last = context->chunk_last;
    context->body_ended = context->chunk_last;
    context->chunk = outer_chunk;
    context->chunk_last = outer_last;
    if (failed) {
        request.exchange.abort();
        co_return filter_failed(500);
    }
    if (changed.parts.empty() && !changed.flags.last && !changed.flags.flush) {
        co_return Status{};
    }
    co_return co_await engine::next_body(request, changed, next);
}

}  // namespace

const engine::Filter header_filter_by_lua{
    .name = "header_filter_by_lua", .adjust_head = nullptr, .head = header_filter, .body = nullptr};
const engine::Filter body_filter_by_lua{
    .name = "body_filter_by_lua", .adjust_head = nullptr, .head = nullptr, .body = body_filter};

async::Task<Result<std::string_view>> set_by_lua(Request& request, void* set_code) {
    const auto& set = *static_cast<const SetCode*>(set_code);
    Context* context = context_of(request);
    if (context == nullptr) {
        co_return Error{ErrorKind::Invalid, ErrorSide::Internal, false, 500, "no Lua VM"};
    }
    const auto arguments = request.arena().make_array<std::string_view>(set.arguments.size());
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        arguments[i] = set.arguments[i].evaluate(request);
    }
    Run run(*context, Phase::Set);
    const auto outer =
        std::exchange(context->set_arguments, std::span<const std::string_view>(arguments));
    std::string_view value;
    bool failed = !run.load(*set.code);
    if (!failed) {
        while (!run.progress()) {
            co_await run.wakeup();
        }
        failed = run.end() == Run::End::Error;
        if (run.end() == Run::End::Done && lua_gettop(run.results()) > 0) {
            lua_State* L = run.results();
            lua_settop(L, 1);
            std::size_t size = 0;
            if (lua_isboolean(L, 1)) {
                value = lua_toboolean(L, 1) != 0 ? "true" : "false";
            } else if (const char* text = lua_tolstring(L, 1, &size)) {
                value = request.arena().copy({text, size});
            }
        }
    }
    context->set_arguments = outer;
    if (failed) {
        co_return Error{ErrorKind::Invalid, ErrorSide::Internal, false, 500, "set_by_lua failed"};
    }
    co_return value;
}

}  // namespace moongate::lua
