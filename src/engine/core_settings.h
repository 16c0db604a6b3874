// The settings of the http core directives (nginx's ngx_http_core_module), in three structs by
// where they may be set. Rows and parsing: core_directives*.cc. Sizes are bytes, times milliseconds
// unless the name says otherwise.
#pragma once

#include <array>
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
#include "conf/regex.h"
#include "http/server_handler.h"

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
    http::HeadPolicy
        head_policy;  // the above as sessions take them; derived when the level is complete
    std::vector<conf::CompiledString> client_body_early_read;
};

// http {} only; the tables grow by themselves, so these have no effect.
struct CoreHttpSettings {
    std::int64_t variables_hash_max_size = 1024;
    std::int64_t variables_hash_bucket_size = 64;
    std::int64_t server_names_hash_max_size = 512;
    std::int64_t server_names_hash_bucket_size = 64;
};

struct ErrorPage {
    int status = 0;
    int answer = -1;              // `=200`; 0: `=`, the target's own status; -1: the status stays
    conf::CompiledString target;  // a URI (arguments included), "@named", or an absolute URL
};

// The bits of keepalive_disable.
inline constexpr std::uint32_t kKeepaliveDisableNone = 1;
inline constexpr std::uint32_t kKeepaliveDisableMsie6 = 2;
inline constexpr std::uint32_t kKeepaliveDisableSafari = 4;

// How many characters of the file's number each level of directories takes; 0: no such level.
using TempLevels = std::array<std::uint8_t, 3>;

enum class Lingering : std::uint8_t { Off, On, Always };
enum class ServerTokens : std::uint8_t { Off, On, Build };
enum class IfModifiedSince : std::uint8_t { Off, Exact, Before };

using TypesMap = std::unordered_map<std::string, std::string, StringHash,
                                    std::equal_to<>>;  // "html" → "text/html"

struct CoreLocationSettings {
    conf::CompiledString root;     // absolute unless it begins with a variable
    bool root_is_alias = false;    // `alias`
    std::size_t alias_prefix = 0;  // bytes of the URI that the alias replaces; kWholeUri: all of it
    static constexpr std::size_t kWholeUri = static_cast<std::size_t>(-1);  // in a regex location
    bool internal = false;
    std::shared_ptr<const TypesMap> types;
    std::string default_type = "text/plain";
    std::uint64_t client_max_body_size = 1024 * 1024;  // 0: no limit
    std::size_t client_body_buffer_size = 16384;
    Milliseconds client_body_timeout{60000};
    std::string client_body_temp_path;  // absolute
    TempLevels client_body_temp_levels{};
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
    Milliseconds keepalive_min_timeout{0};
    std::uint32_t keepalive_disable = 0;  // kKeepaliveDisable…; 0 stands for msie6
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
    std::int64_t max_ranges = 2147483647;
    bool chunked_transfer_encoding = true;
    bool etag = true;
    std::vector<ErrorPage> error_pages;
    std::vector<std::string> resolver;  // as written: addresses and parameters
    Milliseconds resolver_timeout{30000};
    std::shared_ptr<const Log>
        error_log;  // set at every level: the main level's where none is given
    std::string post_action;
    std::vector<conf::CompiledString> early_hints;
};

enum class DisableSymlinks : std::uint8_t { Off, On, IfNotOwner };

// How files are opened and sent: read where files are served.
struct CoreFileSettings {
    bool open_file_cache = false;
    std::int64_t open_file_cache_max = 0;
    std::int64_t open_file_cache_inactive_s = 60;
    std::int64_t open_file_cache_valid_s = 60;
    std::int64_t open_file_cache_min_uses = 1;
    bool open_file_cache_errors = false;
    bool open_file_cache_events = false;
    DisableSymlinks disable_symlinks = DisableSymlinks::Off;
    conf::CompiledString disable_symlinks_from;
    std::string aio = "off";
    bool aio_write = false;
    std::size_t read_ahead = 0;
    std::int64_t directio = -1;  // -1: off
    std::int64_t directio_alignment = 512;
    std::size_t send_lowat = 0;
    std::size_t subrequest_output_buffer_size = 4096;
    std::int64_t types_hash_max_size = 1024;
    std::int64_t types_hash_bucket_size = 64;
};

// The bits of gzip_proxied.
inline constexpr std::uint32_t kGzipProxiedOff = 0x02;
inline constexpr std::uint32_t kGzipProxiedExpired = 0x04;
inline constexpr std::uint32_t kGzipProxiedNoCache = 0x08;
inline constexpr std::uint32_t kGzipProxiedNoStore = 0x10;
inline constexpr std::uint32_t kGzipProxiedPrivate = 0x20;
inline constexpr std::uint32_t kGzipProxiedNoLastModified = 0x40;
inline constexpr std::uint32_t kGzipProxiedNoEtag = 0x80;
inline constexpr std::uint32_t kGzipProxiedAuth = 0x100;
inline constexpr std::uint32_t kGzipProxiedAny = 0x200;

// Whether a client may get compressed bytes: the part of the gzip directives that nginx's core
// holds, shared by gzip and gzip_static.
struct GzipClientSettings {
    bool vary = false;
    int http_version = 1001;    // 1000 or 1001
    std::uint32_t proxied = 0;  // kGzipProxied…; 0 stands for off
    std::vector<conf::Regex> disable;
    bool disable_msie6 = false;
};

}  // namespace moongate::engine
