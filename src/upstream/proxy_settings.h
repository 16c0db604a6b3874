// The settings of the proxy_* directives (nginx's ngx_http_proxy_module). What requests use is
// derived once a level in the module's finish hook. Compiling thread, then read by all workers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conf/compiled_string.h"
#include "conf/compiler.h"
#include "conf/directive.h"
#include "conf/regex.h"
#include "http/header_id.h"
#include "upstream/flow.h"
#include "upstream/upstream.h"

namespace moongate::engine {
struct Location;
}

namespace moongate::upstream {

// Where `proxy_pass` leads.
struct PassTarget {
    std::string url;               // as written
    conf::CompiledString dynamic;  // set where it holds variables; all below is evaluated then
    std::string scheme = "http://";
    std::string host_header;  // $proxy_host: with the port where it is not 80
    std::string port;         // $proxy_port
    std::string uri;          // what replaces the location's name; empty: none was given
    std::string location;     // the location's name, where a URI may replace it
    const engine::Location* owner = nullptr;
    std::shared_ptr<const Upstream> upstream;  // filled in when the configuration is complete
};

struct SetHeader {
    std::string name;
    conf::CompiledString value;
    http::HeaderId id = http::HeaderId::Other;
    std::uint32_t hash = 0;
};

// proxy_redirect, proxy_cookie_domain, proxy_cookie_path.
struct RewriteRule {
    conf::BoundRegex regex;  // or
    conf::CompiledString pattern;
    conf::CompiledString replacement;
    bool is_default = false;  // of the level's own proxy_pass
};

struct CookieFlagsRule {
    conf::BoundRegex regex;  // or
    conf::CompiledString name;
    std::vector<conf::CompiledString> flags;
};

enum class RewriteMode : std::uint8_t { Default, Off, Rules };

enum IgnoredHeader : std::uint32_t {
    kIgnoreRedirect = 1,
    kIgnoreExpires = 2,
    kIgnoreLimitRate = 4,
    kIgnoreBuffering = 8,
    kIgnoreCharset = 16,
    kIgnoreCacheExpires = 32,
    kIgnoreCacheControl = 64,
    kIgnoreSetCookie = 128,
    kIgnoreVary = 256,
};

// Names in a set: known ones by number, others by hash and text.
struct NameSet {
    http::HeaderIdSet ids;
    std::vector<std::pair<std::uint32_t, std::string>> others;

    void insert(std::string_view name);
    bool contains(http::HeaderId id, std::uint32_t hash, std::string_view name) const;
};

struct ProxySettings {
    std::shared_ptr<PassTarget> pass;
    bool buffering = true;
    bool request_buffering = true;
    bool ignore_client_abort = false;
    bool socket_keepalive = false;
    bool intercept_errors = false;
    bool pass_request_headers = true;
    bool pass_request_body = true;
    bool pass_trailers = false;
    bool force_ranges = false;
    std::size_t socket_rcvbuf = 0;
    std::size_t socket_sndbuf = 0;
    std::size_t send_lowat = 0;
    Milliseconds connect_timeout{60000};
    Milliseconds send_timeout{60000};
    Milliseconds read_timeout{60000};
    Milliseconds next_upstream_timeout{0};
    std::int64_t next_upstream_tries = 0;
    std::uint32_t next_upstream = 0;
    std::uint32_t ignore_headers = 0;
    std::size_t buffer_size = 4096;
    conf::Buffers buffers{8, 4096};
    std::optional<std::size_t> busy_buffers_size;
    std::optional<std::size_t> temp_file_write_size;
    std::size_t max_temp_file_size = 1024UL * 1024 * 1024;
    std::string temp_path;
    std::int64_t http_minor = 1;
    std::int64_t headers_hash_max_size = 512;
    std::int64_t headers_hash_bucket_size = 64;
    conf::CompiledString limit_rate;
    conf::CompiledString method;
    conf::CompiledString set_body;
    conf::CompiledString bind;
    bool bind_transparent = false;
    std::vector<SetHeader> set_headers;
    std::vector<std::string> hide_headers;
    std::vector<std::string> pass_headers;
    RewriteMode redirect_mode = RewriteMode::Default;
    std::vector<RewriteRule> redirects;
    RewriteMode cookie_domain_mode = RewriteMode::Default;
    std::vector<RewriteRule> cookie_domains;
    RewriteMode cookie_path_mode = RewriteMode::Default;
    std::vector<RewriteRule> cookie_paths;
    RewriteMode cookie_flags_mode = RewriteMode::Default;
    std::vector<CookieFlagsRule> cookie_flags;

    // Derived.
    FlowOptions flow;
    NameSet overridden;  // request headers that proxy_set_header or its defaults replace
    NameSet hidden;      // response headers that are not passed on
    conf::CompiledString host_value;  // unset: $proxy_host
    bool sets_connection = false;
};

// Derives the above from what the level's directives say.
conf::Applied finish_proxy(conf::Compiler& compiler, conf::Level& level);

std::span<const conf::Directive> proxy_rows();

// The values of proxy_bind and its relatives: `address [transparent] | off`, once a level.
conf::Applied read_bind(conf::Compiler& compiler, const conf::Statement& statement,
                        const conf::Directive& row, conf::CompiledString& bind, bool& transparent);

}  // namespace moongate::upstream
