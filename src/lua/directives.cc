#include "lua/directives.h"

#include "conf/compiler.h"
#include "conf/values.h"
#include "engine/builder.h"
#include "lua/directives_code.h"

namespace moongate::lua {
namespace {

using conf::kHttp;
using conf::kLocation;
using conf::kLocationIf;
using conf::kLuaBlock;
using conf::kNoArgs;
using conf::kServer;
using conf::kServerIf;
using conf::kTake1;
using conf::kTake2;
using conf::kTwoOrMore;
using conf::kUpstream;

constexpr Contexts kAll = kHttp | kServer | kLocation | kLocationIf;

Applied apply_shared_dict(Compiler&, const Statement& statement, LuaMainSettings& settings) {
    const std::string_view name = statement.arg(1);
    if (name.empty()) {
        return conf::reject(fmt::format("invalid lua shared dict name \"{}\"", name));
    }
    const auto bytes = conf::parse_size(statement.arg(2));
    if (!bytes || *bytes <= 8191) {
        return conf::reject(fmt::format("invalid lua shared dict size \"{}\"", statement.arg(2)));
    }
    for (const SharedDictSettings& dict : settings.shared_dicts) {
        if (dict.name == name) {
            return conf::reject(
                fmt::format("lua_shared_dict \"{}\" is already defined as \"{}\"", name, name));
        }
    }
    settings.shared_dicts.push_back({std::string(name), static_cast<std::size_t>(*bytes)});
    return {};
}

Applied apply_load_resty_core(Compiler& compiler, const Statement&, LuaMainSettings&) {
    compiler.warn(
        "lua_load_resty_core is deprecated (the lua-resty-core library is required since ngx_lua "
        "v0.10.16)");
    return {};
}

// The flag, and a warning where it is off.
Applied apply_code_cache(Compiler& compiler, const Statement& statement, void* settings,
                         const conf::Directive& row) {
    const auto on = conf::read_flag(statement, row);
    if (!on) {
        return std::unexpected(on.error());
    }
    static_cast<LuaSettings*>(settings)->code_cache = *on != 0;
    if (*on == 0) {
        compiler.warn("lua_code_cache is off; this will hurt performance", LogLevel::Alert);
    }
    return {};
}

constexpr conf::Directive code_cache_row() {
    conf::Directive row = conf::flag<&LuaSettings::code_cache>(
        "lua_code_cache", kAll, "on", "off: every request gets a VM of its own, for development.");
    row.apply = &apply_code_cache;
    return row;
}

Applied apply_capture_error_log(Compiler&, const Statement& statement, LuaMainSettings& settings) {
    const auto bytes = conf::parse_size(statement.arg(1));
    if (!bytes || *bytes < 4096) {
        return conf::reject(fmt::format(
            "invalid capture error log size \"{}\", minimum size is 4096", statement.arg(1)));
    }
    settings.capture_error_log = static_cast<std::size_t>(*bytes);
    return {};
}

// The three forms of one directive.
template <auto Apply>
constexpr Directive block_form(std::string_view name, Contexts contexts, std::string_view doc) {
    return conf::custom<Apply>(name, contexts, kNoArgs | kLuaBlock, "", doc);
}
template <auto Apply>
constexpr Directive text_form(std::string_view name, Contexts contexts, std::string_view doc) {
    return conf::custom<Apply>(name, contexts, kTake1, "", doc)
        .syntax(name.ends_with("_file") ? "path" : "code");
}

constexpr auto kInit = &apply_code<LuaMainSettings, &LuaMainSettings::init, false>;
constexpr auto kInitWorker = &apply_code<LuaMainSettings, &LuaMainSettings::init_worker, false>;
constexpr auto kExitWorker = &apply_code<LuaMainSettings, &LuaMainSettings::exit_worker, false>;
constexpr auto kPostRead = &apply_code<LuaSettings, &LuaSettings::post_read>;
constexpr auto kFindConfig = &apply_code<LuaSettings, &LuaSettings::find_config>;
constexpr auto kPostRewrite = &apply_code<LuaSettings, &LuaSettings::post_rewrite>;
constexpr auto kPreaccess = &apply_code<LuaSettings, &LuaSettings::preaccess>;
constexpr auto kPostAccess = &apply_code<LuaSettings, &LuaSettings::post_access>;
constexpr auto kPrecontent = &apply_code<LuaSettings, &LuaSettings::precontent>;
constexpr auto kServerRewrite = &apply_code<LuaSettings, &LuaSettings::server_rewrite>;
constexpr auto kRewrite = &apply_code<LuaSettings, &LuaSettings::rewrite>;
constexpr auto kAccess = &apply_code<LuaSettings, &LuaSettings::access>;
constexpr auto kHeaderFilter = &apply_code<LuaSettings, &LuaSettings::header_filter>;
constexpr auto kBodyFilter = &apply_code<LuaSettings, &LuaSettings::body_filter>;
constexpr auto kLog = &apply_code<LuaSettings, &LuaSettings::log>;

constexpr std::string_view kInitDoc =
    "Lua code run in each worker's VM when a configuration is loaded.";
constexpr std::string_view kInitWorkerDoc =
    "Lua code run in each worker after its start; it may wait.";
constexpr std::string_view kExitWorkerDoc = "Lua code run in each worker before its end.";
constexpr std::string_view kSetDoc =
    "Sets a variable to what Lua code returns, in the order of the "
    "rewrite module's directives; it may wait.";
constexpr std::string_view kPostReadDoc =
    "Lua code run when a request's head was read, before all other phases and once a request; it "
    "may wait.";
constexpr std::string_view kFindConfigDoc =
    "Lua code run where the location is chosen: a path that it returns is searched for instead of "
    "the URI, \"@name\" names a named location, nothing leaves the choice to the URI; it may wait.";
constexpr std::string_view kPostRewriteDoc =
    "Lua code run behind the rewrite phase, before a changed URI is looked up again; it may wait.";
constexpr std::string_view kPreaccessDoc =
    "Lua code run at the end of the preaccess phase, behind limits and before access control; it "
    "may wait.";
constexpr std::string_view kPostAccessDoc =
    "Lua code run for requests that access control let in; it may wait.";
constexpr std::string_view kPrecontentDoc =
    "Lua code run at the end of the precontent phase, behind try_files; it may wait.";
constexpr std::string_view kBalancerDoc =
    "Lua code that chooses the server of each try with ngx.balancer; it may wait. Where it chooses "
    "none, the group's servers are taken in turn.";
constexpr std::string_view kServerRewriteDoc = "Lua code run in the server_rewrite phase.";
constexpr std::string_view kRewriteDoc = "Lua code run at the end of the rewrite phase.";
constexpr std::string_view kAccessDoc = "Lua code run at the end of the access phase.";
constexpr std::string_view kContentDoc = "Lua code that makes the response.";
constexpr std::string_view kHeaderDoc = "Lua code run on the response's head; it may wait.";
constexpr std::string_view kBodyDoc =
    "Lua code run on every piece of the response's body; it may wait.";
constexpr std::string_view kLogDoc = "Lua code run when the request is over; it may wait.";

constexpr Directive kRows[] = {
    block_form<kInit>("init_by_lua_block", kHttp, kInitDoc),
    text_form<kInit>("init_by_lua", kHttp, kInitDoc),
    text_form<kInit>("init_by_lua_file", kHttp, kInitDoc),
    block_form<kInitWorker>("init_worker_by_lua_block", kHttp, kInitWorkerDoc),
    text_form<kInitWorker>("init_worker_by_lua", kHttp, kInitWorkerDoc),
    text_form<kInitWorker>("init_worker_by_lua_file", kHttp, kInitWorkerDoc),
    block_form<kExitWorker>("exit_worker_by_lua_block", kHttp, kExitWorkerDoc),
    text_form<kExitWorker>("exit_worker_by_lua_file", kHttp, kExitWorkerDoc),
    conf::custom<apply_set>("set_by_lua_block", kServer | kServerIf | kLocation | kLocationIf,
                            kTake1 | kLuaBlock, "", kSetDoc)
        .syntax("$variable { code }"),
    conf::custom<apply_set>("set_by_lua", kServer | kServerIf | kLocation | kLocationIf, kTwoOrMore,
                            "", kSetDoc)
        .syntax("$variable code [$argument ...]"),
    conf::custom<apply_set>("set_by_lua_file", kServer | kServerIf | kLocation | kLocationIf,
                            kTwoOrMore, "", kSetDoc)
        .syntax("$variable path [$argument ...]"),
    block_form<kPostRead>("post_read_by_lua_block", kHttp | kServer, kPostReadDoc),
    text_form<kPostRead>("post_read_by_lua", kHttp | kServer, kPostReadDoc),
    text_form<kPostRead>("post_read_by_lua_file", kHttp | kServer, kPostReadDoc),
    block_form<kServerRewrite>("server_rewrite_by_lua_block", kHttp | kServer, kServerRewriteDoc),
    text_form<kServerRewrite>("server_rewrite_by_lua_file", kHttp | kServer, kServerRewriteDoc),
    block_form<kFindConfig>("find_config_by_lua_block", kHttp | kServer, kFindConfigDoc),
    text_form<kFindConfig>("find_config_by_lua", kHttp | kServer, kFindConfigDoc),
    text_form<kFindConfig>("find_config_by_lua_file", kHttp | kServer, kFindConfigDoc),
    block_form<kRewrite>("rewrite_by_lua_block", kAll, kRewriteDoc),
    text_form<kRewrite>("rewrite_by_lua", kAll, kRewriteDoc),
    text_form<kRewrite>("rewrite_by_lua_file", kAll, kRewriteDoc),
    block_form<kPostRewrite>("post_rewrite_by_lua_block", kAll, kPostRewriteDoc),
    text_form<kPostRewrite>("post_rewrite_by_lua", kAll, kPostRewriteDoc),
    text_form<kPostRewrite>("post_rewrite_by_lua_file", kAll, kPostRewriteDoc),
    block_form<kPreaccess>("preaccess_by_lua_block", kAll, kPreaccessDoc),
    text_form<kPreaccess>("preaccess_by_lua", kAll, kPreaccessDoc),
    text_form<kPreaccess>("preaccess_by_lua_file", kAll, kPreaccessDoc),
    block_form<kAccess>("access_by_lua_block", kAll, kAccessDoc),
    text_form<kAccess>("access_by_lua", kAll, kAccessDoc),
    text_form<kAccess>("access_by_lua_file", kAll, kAccessDoc),
    block_form<kPostAccess>("post_access_by_lua_block", kAll, kPostAccessDoc),
    text_form<kPostAccess>("post_access_by_lua", kAll, kPostAccessDoc),
    text_form<kPostAccess>("post_access_by_lua_file", kAll, kPostAccessDoc),
    block_form<kPrecontent>("precontent_by_lua_block", kAll, kPrecontentDoc),
    text_form<kPrecontent>("precontent_by_lua", kAll, kPrecontentDoc),
    text_form<kPrecontent>("precontent_by_lua_file", kAll, kPrecontentDoc),
    block_form<apply_content>("content_by_lua_block", kLocation | kLocationIf, kContentDoc),
    text_form<apply_content>("content_by_lua", kLocation | kLocationIf, kContentDoc),
    text_form<apply_content>("content_by_lua_file", kLocation | kLocationIf, kContentDoc),
    block_form<kHeaderFilter>("header_filter_by_lua_block", kAll, kHeaderDoc),
    text_form<kHeaderFilter>("header_filter_by_lua", kAll, kHeaderDoc),
    text_form<kHeaderFilter>("header_filter_by_lua_file", kAll, kHeaderDoc),
    block_form<kBodyFilter>("body_filter_by_lua_block", kAll, kBodyDoc),
    text_form<kBodyFilter>("body_filter_by_lua", kAll, kBodyDoc),
    text_form<kBodyFilter>("body_filter_by_lua_file", kAll, kBodyDoc),
    block_form<apply_balancer>("balancer_by_lua_block", kUpstream, kBalancerDoc),
    text_form<apply_balancer>("balancer_by_lua_file", kUpstream, kBalancerDoc),
    conf::custom<apply_balancer_keepalive>(
        "balancer_keepalive", kUpstream, kTake1, "32",
        "Idle connections of each pool that ngx.balancer.enable_keepalive keeps, where "
        "set_current_peer names no pool_size.")
        .syntax("connections"),
    block_form<kLog>("log_by_lua_block", kAll, kLogDoc),
    text_form<kLog>("log_by_lua", kAll, kLogDoc),
    text_form<kLog>("log_by_lua_file", kAll, kLogDoc),

    conf::string<&LuaMainSettings::package_path>("lua_package_path", kHttp, "",
                                                 "Where require looks for Lua modules; ;; is the "
                                                 "built-in path, $prefix the server's prefix."),
    conf::string<&LuaMainSettings::package_cpath>(
        "lua_package_cpath", kHttp, "",
        "Where require looks for C modules; ;; is the built-in path, $prefix the server's prefix."),
    conf::custom<apply_load_resty_core>("lua_load_resty_core", kHttp, kTake1, "on",
                                        "Kept for compatibility: lua-resty-core is always loaded.")
        .syntax("on | off"),
    conf::flag<&LuaMainSettings::rewrite_no_postpone>(
        "rewrite_by_lua_no_postpone", kHttp, "off",
        "Whether rewrite_by_lua runs before the other handlers of its phase."),
    conf::flag<&LuaMainSettings::access_no_postpone>(
        "access_by_lua_no_postpone", kHttp, "off",
        "Whether access_by_lua runs before the other handlers of its phase."),
    conf::flag<&LuaMainSettings::precontent_no_postpone>(
        "precontent_by_lua_no_postpone", kHttp, "off",
        "Whether precontent_by_lua runs before the other handlers of its phase."),
    conf::flag<&LuaMainSettings::sa_restart>(
        "lua_sa_restart", kHttp, "on",
        "Whether system calls of Lua code go on after the signal of lua_max_run_time."),
    conf::number<&LuaMainSettings::thread_cache_max_entries>(
        "lua_thread_cache_max_entries", kHttp, "1024",
        "Idle Lua threads that a worker keeps for reuse."),
    conf::number<&LuaMainSettings::max_running_timers>(
        "lua_max_running_timers", kHttp, "256", "Timers of one worker that may run at once."),
    conf::number<&LuaMainSettings::max_pending_timers>(
        "lua_max_pending_timers", kHttp, "1024", "Timers of one worker that may wait at once."),
    conf::number<&LuaMainSettings::regex_cache_max_entries>(
        "lua_regex_cache_max_entries", kHttp, "1024",
        "Regular expressions that a worker keeps compiled for ngx.re with the option o."),
    conf::number<&LuaMainSettings::regex_match_limit>(
        "lua_regex_match_limit", kHttp, "0",
        "Bound on the work of one ngx.re match; 0: PCRE's own."),
    conf::number<&LuaMainSettings::malloc_trim>("lua_malloc_trim", kHttp, "0",
                                                "After so many requests a worker returns free "
                                                "memory to the system at once. 0: the allocator "
                                                "returns it in its own time."),
    conf::number<&LuaMainSettings::worker_thread_vm_pool_size>(
        "lua_worker_thread_vm_pool_size", kHttp, "10", "VMs kept for ngx.run_worker_thread."),
    conf::size<&LuaMainSettings::max_memory>(
        "lua_max_memory", kHttp, "0",
        "Memory that the Lua VM of one worker may have: what would go beyond it ends the request "
        "that asks for it. 0: no bound.")
        .within(0, std::int64_t{1} << 46),
    conf::custom<apply_capture_error_log>(
        "lua_capture_error_log", kHttp, kTake1, "",
        "Keeps error log lines in a buffer of that size for ngx.errlog.get_logs.")
        .syntax("size"),
    conf::custom<apply_shared_dict>("lua_shared_dict", kHttp, kTake2, "",
                                    "A dictionary in ngx.shared that all workers share.")
        .syntax("name size"),

    code_cache_row(),
    conf::msec<&LuaSettings::max_run_time>(
        "lua_max_run_time", kAll, "5s",
        "How long Lua code may hold its worker without waiting; then it is ended with an error. "
        "0: for ever.")
        .within(0, 1000LL * 3600 * 24 * 24),
    conf::flag<&LuaSettings::need_request_body>(
        "lua_need_request_body", kAll, "off",
        "Whether the request's body is read before rewrite, access and content code."),
    conf::flag<&LuaSettings::transform_underscores>(
        "lua_transform_underscores_in_response_headers", kAll, "on",
        "Whether _ in names given to ngx.header stands for -."),
    conf::flag<&LuaSettings::http10_buffering>(
        "lua_http10_buffering", kAll, "on",
        "Whether responses to HTTP/1.0 are held until their length is known."),
    conf::flag<&LuaSettings::check_client_abort>(
        "lua_check_client_abort", kAll, "off",
        "Whether a client that leaves ends the Lua code of its request."),
    conf::flag<&LuaSettings::ctx_keep>(
        "lua_ctx_keep", kAll, "off",
        "Whether a request that leaves this location by an internal redirect, for a named location "
        "or an error page, keeps its ngx.ctx."),
    conf::flag<&LuaSettings::use_default_type>(
        "lua_use_default_type", kAll, "on",
        "Whether Lua responses get the type of default_type and types."),
    conf::flag<&LuaSettings::socket_log_errors>("lua_socket_log_errors", kAll, "on",
                                                "Whether cosocket errors are logged."),
    conf::msec<&LuaSettings::socket_connect_timeout>("lua_socket_connect_timeout", kAll, "60s",
                                                     "Time for a cosocket's connect."),
    conf::msec<&LuaSettings::socket_send_timeout>("lua_socket_send_timeout", kAll, "60s",
                                                  "Time for a cosocket's send."),
    conf::msec<&LuaSettings::socket_read_timeout>("lua_socket_read_timeout", kAll, "60s",
                                                  "Time for a cosocket's receive."),
    conf::msec<&LuaSettings::socket_keepalive_timeout>(
        "lua_socket_keepalive_timeout", kAll, "60s",
        "How long an idle cosocket stays in its pool."),
    conf::number<&LuaSettings::socket_pool_size>("lua_socket_pool_size", kAll, "30",
                                                 "Idle cosockets kept in one pool."),
    conf::size<&LuaSettings::socket_buffer_size>("lua_socket_buffer_size", kAll, "4k",
                                                 "Bytes that a cosocket reads at once."),
    conf::size<&LuaSettings::socket_send_lowat>("lua_socket_send_lowat", kAll, "0",
                                                "Kept for compatibility: Linux has no such "
                                                "setting."),
};

}  // namespace

std::span<const Directive> lua_directives() {
    static const std::vector<Directive> all = [] {
        std::vector<Directive> rows(std::begin(kRows), std::end(kRows));
        for (const auto more : {lua_tls_directives()}) {
            rows.insert(rows.end(), more.begin(), more.end());
        }
        return rows;
    }();
    return all;
}

Applied finish_lua_settings(Compiler& compiler, conf::Level& level) {
    if (level.get<LuaMainSettings>().prefix.empty()) {
        LuaMainSettings& settings = level.edit<LuaMainSettings>();
        settings.prefix = compiler.prefix();
        settings.configure_arguments =
            compiler.extension<engine::SnapshotBuilder>().configure_arguments;
    }
    return {};
}

}  // namespace moongate::lua
