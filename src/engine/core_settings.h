// The settings of the http core directives (nginx's ngx_http_core_module), in three structs by
// where they may be set. Rows and parsing: core_directives*.cc. Sizes are bytes, times milliseconds
// unless the name says otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "conf/compiled_string.h"
#include "conf/directive.h"

namespace moongate::engine {

// server {} and http {} only: used before a location is known.
struct CoreServerSettings {
    Milliseconds client_header_timeout{60000};
    std::size_t client_header_buffer_size = 1024;
    conf::Buffers large_client_header_buffers{4, 8192};
    std::int64_t max_headers = 1000;
    bool ignore_invalid_headers = true;
    bool merge_slashes = true;
    bool underscores_in_headers = false;
    std::size_t connection_pool_size = 512;
    std::size_t request_pool_size = 4096;
};

struct ErrorPage {
    int status = 0;
    int answer = -1;              // `=200`; 0: `=`, the target's own status; -1: the status stays
    conf::CompiledString target;  // a URI, "@named", or an absolute URL
};

enum class Lingering : std::uint8_t { Off, On, Always };
enum class ServerTokens : std::uint8_t { Off, On, Build };
enum class IfModifiedSince : std::uint8_t { Off, Exact, Before };

using TypesMap = std::unordered_map<std::string, std::string, StringHash,
                                    std::equal_to<>>;  // "html" → "text/html"

struct CoreLocationSettings {
    conf::CompiledString root;     // absolute unless it begins with a variable
    bool root_is_alias = false;    // `alias`
    std::size_t alias_prefix = 0;  // bytes of the URI that the alias replaces
    std::shared_ptr<const TypesMap> types;
    std::string default_type = "text/plain";
    std::uint64_t client_max_body_size = 1024 * 1024;  // 0: no limit
    std::size_t client_body_buffer_size = 16384;
    Milliseconds client_body_timeout{60000};
    std::string client_body_temp_path;
    int client_body_in_file_only = 0;  // 0 off, 1 on, 2 clean
    bool client_body_in_single_buffer = false;
    bool sendfile = false;
    std::size_t sendfile_max_chunk = 2 * 1024 * 1024;
    bool tcp_nopush = false;
    bool tcp_nodelay = true;
    Milliseconds send_timeout{60000};
    std::size_t postpone_output = 1460;
    conf::CompiledString limit_rate;
    conf::CompiledString limit_rate_after;
    Milliseconds keepalive_time{3600000};
    Milliseconds keepalive_timeout{75000};
    std::int64_t keepalive_header_s = 0;
    std::int64_t keepalive_requests = 1000;
    bool satisfy_any = false;
    Milliseconds auth_delay{0};
    Lingering lingering_close = Lingering::On;
    Milliseconds lingering_time{30000};
    Milliseconds lingering_timeout{5000};
    bool reset_timedout_connection = false;
    bool absolute_redirect = true;
    bool server_name_in_redirect = false;
    bool port_in_redirect = true;
    bool msie_padding = true;
    bool msie_refresh = false;
    bool log_not_found = true;
    bool log_subrequest = false;
    bool recursive_error_pages = false;
    ServerTokens server_tokens = ServerTokens::On;
    IfModifiedSince if_modified_since = IfModifiedSince::Exact;
    std::int64_t max_ranges = -1;  // -1: no limit
    bool chunked_transfer_encoding = true;
    bool etag = true;
    std::vector<ErrorPage> error_pages;
    std::vector<std::string> resolver;  // as written: addresses and parameters
    Milliseconds resolver_timeout{30000};
    std::shared_ptr<const Log>
        error_log;  // set at every level: the main level's where none is given
    std::string post_action;
};

}  // namespace moongate::engine
