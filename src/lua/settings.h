// What the lua_* and *_by_lua* directives set. Frozen with the configuration's levels; read by the
// phases on every worker. Source: the "Directives" chapter of lua-nginx-module's documentation.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "conf/compiled_string.h"

namespace moongate::lua {

// A piece of Lua code of the configuration. Equal code is one object, also across snapshots, so
// that its number can index each VM's table of compiled functions.
struct LuaCode {
    std::uint32_t number = 0;
    std::string text;        // the source, or the absolute path of a file without variables
    std::string chunk_name;  // "=content_by_lua(nginx.conf:12)", "@/path"
    bool is_file = false;
    conf::CompiledString path;  // of a file whose name has variables; then `text` is empty
    std::string prefix;         // what such a name is relative to
};
using CodeRef = std::shared_ptr<const LuaCode>;

// Equal source, name and kind give the same object for as long as somebody holds it. Any thread.
CodeRef intern_code(std::string_view text, std::string_view chunk_name, bool is_file);

struct SharedDictSettings {
    std::string name;
    std::size_t bytes = 0;
};

// http {} only.
struct LuaMainSettings {
    std::string prefix;               // the server's; ends in /
    std::string configure_arguments;  // ngx.config.nginx_configure()
    std::string package_path;
    std::string package_cpath;
    CodeRef init;
    CodeRef init_worker;
    CodeRef exit_worker;
    bool rewrite_no_postpone = false;
    bool access_no_postpone = false;
    bool precontent_no_postpone = false;
    bool sa_restart = true;
    std::int64_t thread_cache_max_entries = 1024;
    std::int64_t max_running_timers = 256;
    std::int64_t max_pending_timers = 1024;
    std::int64_t regex_cache_max_entries = 1024;
    std::int64_t regex_match_limit = 0;
    std::int64_t malloc_trim = 0;
    std::int64_t worker_thread_vm_pool_size = 10;
    std::size_t max_memory = 0;
    std::size_t capture_error_log = 0;
    std::vector<SharedDictSettings> shared_dicts;
};

struct LuaSettings {
    CodeRef post_read;
    CodeRef server_rewrite;
    CodeRef find_config;
    CodeRef rewrite;
    CodeRef post_rewrite;
    CodeRef preaccess;
    CodeRef access;
    CodeRef post_access;
    CodeRef precontent;
    CodeRef content;
    CodeRef header_filter;
    CodeRef body_filter;
    CodeRef log;
    bool code_cache = true;
    bool need_request_body = false;
    bool transform_underscores = true;
    bool http10_buffering = true;
    bool check_client_abort = false;
    bool ctx_keep = false;
    bool use_default_type = true;
    bool socket_log_errors = true;
    Milliseconds max_run_time{5000};
    Milliseconds socket_connect_timeout{60000};
    Milliseconds socket_send_timeout{60000};
    Milliseconds socket_read_timeout{60000};
    Milliseconds socket_keepalive_timeout{60000};
    std::int64_t socket_pool_size = 30;
    std::size_t socket_buffer_size = 4096;
    std::size_t socket_send_lowat = 0;
};

}  // namespace moongate::lua
