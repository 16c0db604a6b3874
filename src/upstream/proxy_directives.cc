// The directives of the proxy module: what a location says about how it is proxied. See
// proxy_module.h.
#include <fmt/format.h>

#include <algorithm>

#include "conf/values.h"
#include "engine/location.h"
#include "http/h1_writer.h"
#include "upstream/proxy_settings.h"
#include "upstream/upstream_module.h"

namespace moongate::upstream {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::reject;
using conf::Statement;
using P = ProxySettings;

constexpr conf::Contexts kLevels = conf::kHttpLevels;

Applied propagate(conf::ConfError& error) {
    return std::unexpected(std::move(error));
}

Applied apply_pass(Compiler& compiler, const Statement& statement, P& settings) {
    auto* location = compiler.scope_object<engine::Location>();
    if (settings.pass != nullptr && settings.pass->owner == location) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    auto target = std::make_shared<PassTarget>();
    target->owner = location;
    target->url = std::string(statement.arg(1));
    settings.pass = target;
    if (conf::has_variables(target->url)) {
        auto dynamic = compiler.compile_string(target->url);
        if (!dynamic) {
            return propagate(dynamic.error());
        }
        target->dynamic = std::move(*dynamic);
        return {};
    }
    if (starts_with_ignore_case(target->url, "https://")) {
        return reject("https protocol requires SSL support");
    }
    if (!starts_with_ignore_case(target->url, "http://")) {
        return reject("invalid URL prefix");
    }
    const std::string_view rest = std::string_view(target->url).substr(7);
    const auto url = net::parse_host_url(rest, {.default_port = 80, .allow_uri = true});
    if (!url) {
        return reject(fmt::format("{} in upstream \"{}\"", url.error(), rest));
    }
    target->scheme = target->url.substr(0, 7);
    if (url->is_unix) {
        target->host_header = "localhost";
    } else if (url->no_port || url->port == 80) {
        target->host_header = std::string(url->host);
        target->port = "80";
    } else {
        target->host_header = fmt::format("{}:{}", url->host, url->port_text);
        target->port = std::string(url->port_text);
    }
    target->uri = std::string(url->uri);
    const bool without_name = location == nullptr ||
                              location->kind == engine::LocationKind::Named ||
                              location->kind == engine::LocationKind::Regex ||
                              location->kind == engine::LocationKind::If ||
                              location->kind == engine::LocationKind::LimitExcept;
    if (without_name && !target->uri.empty()) {
        return reject(
            "\"proxy_pass\" cannot have URI part in location given by regular expression, or "
            "inside named location, or inside \"if\" statement, or inside \"limit_except\" block");
    }
    if (!without_name) {
        target->location = location->name;
    }
    return compiler.extension<UpstreamSet>().refer(
        compiler, *url, [target](std::shared_ptr<const Upstream> upstream) {
            target->upstream = std::move(upstream);
        });
}

Applied apply_set_header(Compiler& compiler, const Statement& statement, P& settings) {
    SetHeader header;
    header.name = std::string(statement.arg(1));
    if (!http::valid_header_name(header.name)) {
        return reject(fmt::format("invalid header name \"{}\"", header.name));
    }
    auto value = compiler.compile_string(statement.arg(2));
    if (!value) {
        return propagate(value.error());
    }
    header.value = std::move(*value);
    header.hash = http::header_hash(header.name);
    header.id = http::header_id(header.name, header.hash);
    settings.set_headers.push_back(std::move(header));
    return {};
}

// A pattern that begins with '~' is a regular expression.
Applied read_rule(Compiler& compiler, const Statement& statement, bool domain, bool always_caseless,
                  RewriteRule& rule) {
    std::string_view pattern = statement.arg(1);
    std::string_view replacement = statement.arg(2);
    if (pattern.starts_with('~')) {
        pattern.remove_prefix(1);
        bool caseless = always_caseless;
        if (!always_caseless && pattern.starts_with('*')) {
            pattern.remove_prefix(1);
            caseless = true;
        }
        auto regex = compiler.compile_regex(
            pattern, caseless ? conf::RegexFlags::Caseless : conf::RegexFlags::None);
        if (!regex) {
            return propagate(regex.error());
        }
        rule.regex = std::move(*regex);
    } else {
        if (domain) {
            pattern.remove_prefix(pattern.starts_with('.') ? 1 : 0);
            replacement.remove_prefix(replacement.starts_with('.') ? 1 : 0);
        }
        auto compiled = compiler.compile_string(pattern);
        if (!compiled) {
            return propagate(compiled.error());
        }
        rule.pattern = std::move(*compiled);
    }
    auto compiled = compiler.compile_string(replacement);
    if (!compiled) {
        return propagate(compiled.error());
    }
    rule.replacement = std::move(*compiled);
    return {};
}

// The first statement of a level clears what it inherited.
template <class Rules>
Applied begin_rules(Compiler& compiler, const Statement& statement, const conf::Directive& row,
                    RewriteMode& mode, Rules& rules) {
    if (compiler.level().first(&row)) {
        mode = RewriteMode::Default;
        rules.clear();
    } else if (mode == RewriteMode::Off) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    if (statement.args.size() == 1 && statement.arg(1) == "off") {
        if (!rules.empty()) {
            return conf::reject_directive(statement.name, "is duplicate");
        }
        mode = RewriteMode::Off;
        return {};
    }
    mode = RewriteMode::Rules;
    return {};
}

Applied invalid_parameter(const Statement& statement) {
    return reject(fmt::format("invalid parameter \"{}\"", statement.arg(1)));
}

Applied apply_redirect(Compiler& compiler, const Statement& statement, P& settings,
                       const conf::Directive& row) {
    if (Applied begun =
            begin_rules(compiler, statement, row, settings.redirect_mode, settings.redirects);
        !begun || settings.redirect_mode == RewriteMode::Off) {
        return begun;
    }
    RewriteRule rule;
    if (statement.args.size() == 1) {
        if (statement.arg(1) != "default") {
            return invalid_parameter(statement);
        }
        const auto* location = compiler.scope_object<engine::Location>();
        if (settings.pass == nullptr || settings.pass->owner != location || location == nullptr) {
            return reject(
                "\"proxy_redirect default\" should be placed after the \"proxy_pass\" directive");
        }
        if (settings.pass->dynamic) {
            return reject(
                "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive "
                "with variables");
        }
        rule.is_default = true;
    } else if (Applied read = read_rule(compiler, statement, false, false, rule); !read) {
        return read;
    }
    settings.redirects.push_back(std::move(rule));
    return {};
}

template <RewriteMode P::* Mode, std::vector<RewriteRule> P::* Rules, bool Domain>
Applied apply_cookie_rule(Compiler& compiler, const Statement& statement, P& settings,
                          const conf::Directive& row) {
    if (Applied begun = begin_rules(compiler, statement, row, settings.*Mode, settings.*Rules);
        !begun || settings.*Mode == RewriteMode::Off) {
        return begun;
    }
    if (statement.args.size() == 1) {
        return invalid_parameter(statement);
    }
    RewriteRule rule;
    if (Applied read = read_rule(compiler, statement, Domain, Domain, rule); !read) {
        return read;
    }
    (settings.*Rules).push_back(std::move(rule));
    return {};
}

Applied apply_cookie_flags(Compiler& compiler, const Statement& statement, P& settings,
                           const conf::Directive& row) {
    if (Applied begun = begin_rules(compiler, statement, row, settings.cookie_flags_mode,
                                    settings.cookie_flags);
        !begun || settings.cookie_flags_mode == RewriteMode::Off) {
        return begun;
    }
    if (statement.args.size() == 1) {
        return invalid_parameter(statement);
    }
    CookieFlagsRule rule;
    const std::string_view cookie = statement.arg(1);
    if (cookie.starts_with('~')) {
        auto regex = compiler.compile_regex(cookie.substr(1), conf::RegexFlags::Caseless);
        if (!regex) {
            return propagate(regex.error());
        }
        rule.regex = std::move(*regex);
    } else {
        auto name = compiler.compile_string(cookie);
        if (!name) {
            return propagate(name.error());
        }
        rule.name = std::move(*name);
    }
    for (std::size_t i = 2; i <= statement.args.size(); ++i) {
        auto flag = compiler.compile_string(statement.arg(i));
        if (!flag) {
            return propagate(flag.error());
        }
        rule.flags.push_back(std::move(*flag));
    }
    settings.cookie_flags.push_back(std::move(rule));
    return {};
}

Applied apply_bind(Compiler& compiler, const Statement& statement, P& settings,
                   const conf::Directive& row) {
    return read_bind(compiler, statement, row, settings.bind, settings.bind_transparent);
}

Applied apply_temp_path(Compiler& compiler, const Statement& statement, P& settings) {
    // The levels of sub-directories are for files with names; ours have none.
    settings.temp_path = conf::prefixed_path(compiler, statement.arg(1));
    return {};
}

constexpr conf::EnumValue kNextValues[] = {
    {"error", kNextError},
    {"timeout", kNextTimeout},
    {"invalid_header", kNextInvalidHeader},
    {"http_500", kNext500},
    {"http_502", kNext502},
    {"http_503", kNext503},
    {"http_504", kNext504},
    {"http_403", kNext403},
    {"http_404", kNext404},
    {"http_429", kNext429},
    {"non_idempotent", kNextNonIdempotent},
    {"off", kNextOff},
};
constexpr conf::EnumValue kIgnoreValues[] = {
    {"X-Accel-Redirect", kIgnoreRedirect},
    {"X-Accel-Expires", kIgnoreExpires},
    {"X-Accel-Limit-Rate", kIgnoreLimitRate},
    {"X-Accel-Buffering", kIgnoreBuffering},
    {"X-Accel-Charset", kIgnoreCharset},
    {"Expires", kIgnoreCacheExpires},
    {"Cache-Control", kIgnoreCacheControl},
    {"Set-Cookie", kIgnoreSetCookie},
    {"Vary", kIgnoreVary},
};
constexpr conf::EnumValue kVersions[] = {{"1.0", 0}, {"1.1", 1}};

constexpr conf::Directive kRows[] = {
    conf::custom<apply_pass>("proxy_pass", conf::kLocation | conf::kLocationIf | conf::kLimitExcept,
                             conf::kTake1, "", "Answers with the response of another server.")
        .syntax("URL"),
    conf::custom<apply_set_header>(
        "proxy_set_header", kLevels, conf::kTake2, "Host $proxy_host",
        "A header of the request to the server; an empty value leaves it "
        "out.")
        .syntax("name value")
        .clears<&P::set_headers>(),
    conf::custom<apply_redirect>("proxy_redirect", kLevels, conf::kTake12, "default",
                                 "How Location and Refresh of the response are rewritten.")
        .syntax("default | off | redirect replacement"),
    conf::custom<apply_cookie_rule<&P::cookie_domain_mode, &P::cookie_domains, true>>(
        "proxy_cookie_domain", kLevels, conf::kTake12, "off",
        "Rewrites the Domain attribute of Set-Cookie.")
        .syntax("off | domain replacement"),
    conf::custom<apply_cookie_rule<&P::cookie_path_mode, &P::cookie_paths, false>>(
        "proxy_cookie_path", kLevels, conf::kTake12, "off",
        "Rewrites the Path attribute of Set-Cookie.")
        .syntax("off | path replacement"),
    conf::custom<apply_cookie_flags>("proxy_cookie_flags", kLevels, conf::kTake1234, "off",
                                     "Adds and removes flags of cookies.")
        .syntax("off | cookie [flag ...]"),
    conf::flag<&P::buffering>("proxy_buffering", kLevels, "on",
                              "Reads the response on while the client takes its time."),
    conf::flag<&P::request_buffering>("proxy_request_buffering", kLevels, "on",
                                      "Reads the whole request body before a server is asked."),
    conf::flag<&P::ignore_client_abort>("proxy_ignore_client_abort", kLevels, "off",
                                        "Goes on where the client left."),
    conf::custom<apply_bind>("proxy_bind", kLevels, conf::kTake12, "off",
                             "The local address of connections to servers.")
        .syntax("address [transparent] | off"),
    conf::flag<&P::socket_keepalive>("proxy_socket_keepalive", kLevels, "off",
                                     "TCP keepalive on connections to servers."),
    conf::size<&P::socket_rcvbuf>("proxy_socket_rcvbuf", kLevels, "0",
                                  "Receive buffer of the socket; 0: the system's."),
    conf::size<&P::socket_sndbuf>("proxy_socket_sndbuf", kLevels, "0",
                                  "Send buffer of the socket; 0: the system's."),
    conf::msec<&P::connect_timeout>("proxy_connect_timeout", kLevels, "60s",
                                    "How long a connection may take to be made."),
    conf::msec<&P::send_timeout>("proxy_send_timeout", kLevels, "60s",
                                 "Between two writes to the server."),
    conf::msec<&P::read_timeout>("proxy_read_timeout", kLevels, "60s",
                                 "Between two reads from the server."),
    conf::flag<&P::intercept_errors>("proxy_intercept_errors", kLevels, "off",
                                     "Statuses from 300 on that error_page names are answered by "
                                     "it."),
    conf::number<&P::headers_hash_max_size>("proxy_headers_hash_max_size", kLevels, "512",
                                            "Accepted; the tables size themselves."),
    conf::number<&P::headers_hash_bucket_size>("proxy_headers_hash_bucket_size", kLevels, "64",
                                               "Accepted; the tables size themselves."),
    conf::complex<&P::set_body>("proxy_set_body", kLevels, "", "Replaces the request's body."),
    conf::complex<&P::method>("proxy_method", kLevels, "", "Replaces the request's method."),
    conf::flag<&P::pass_request_headers>("proxy_pass_request_headers", kLevels, "on",
                                         "Passes the client's headers on."),
    conf::flag<&P::pass_request_body>("proxy_pass_request_body", kLevels, "on",
                                      "Passes the client's body on."),
    conf::flag<&P::pass_trailers>("proxy_pass_trailers", kLevels, "off",
                                  "Passes the response's trailers on."),
    conf::size<&P::buffer_size>("proxy_buffer_size", kLevels, "4k",
                                "For the response's head; a longer one is an error.")
        .within(512, 64 * 1024 * 1024),
    conf::buffers<&P::buffers>("proxy_buffers", kLevels, "8 4k",
                               "Memory for a response that the client has not taken yet."),
    conf::size<&P::busy_buffers_size>("proxy_busy_buffers_size", kLevels, "",
                                      "How much of them may be on its way to the client."),
    conf::flag<&P::force_ranges>("proxy_force_ranges", kLevels, "off",
                                 "Byte ranges whatever the server says of them."),
    conf::complex<&P::limit_rate>("proxy_limit_rate", kLevels, "",
                                  "Bytes a second read from the server; 0: no limit."),
    conf::custom<apply_temp_path>("proxy_temp_path", kLevels, conf::kTake1234, "proxy_temp",
                                  "Where responses are buffered in files.")
        .syntax("path [level1 [level2 [level3]]]")
        .with_default_applied(),
    conf::size<&P::max_temp_file_size>("proxy_max_temp_file_size", kLevels, "1024m",
                                       "The longest such file; 0: none are used."),
    conf::size<&P::temp_file_write_size>("proxy_temp_file_write_size", kLevels, "",
                                         "Accepted: how much is written at once."),
    conf::bitmask<&P::next_upstream>("proxy_next_upstream", kLevels, kNextValues, "error timeout",
                                     "When the next server is asked."),
    conf::number<&P::next_upstream_tries>("proxy_next_upstream_tries", kLevels, "0",
                                          "At most so many servers are asked; 0: all."),
    conf::msec<&P::next_upstream_timeout>("proxy_next_upstream_timeout", kLevels, "0",
                                          "No further server is asked after this time; 0: no "
                                          "limit."),
    conf::string_list<&P::pass_headers>("proxy_pass_header", kLevels, "",
                                        "Passes a response header on that is hidden by default."),
    conf::string_list<&P::hide_headers>("proxy_hide_header", kLevels, "",
                                        "Hides a header of the response."),
    conf::bitmask<&P::ignore_headers>("proxy_ignore_headers", kLevels, kIgnoreValues, "",
                                      "Response headers that are not acted on."),
    conf::enumeration<&P::http_minor>("proxy_http_version", kLevels, kVersions, "1.1",
                                      "The protocol version spoken to servers."),
};

constexpr std::string_view kHiddenByDefault[] = {"Date",
                                                 "Server",
                                                 "X-Pad",
                                                 "X-Accel-Expires",
                                                 "X-Accel-Redirect",
                                                 "X-Accel-Limit-Rate",
                                                 "X-Accel-Buffering",
                                                 "X-Accel-Charset"};
constexpr std::string_view kReplacedByDefault[] = {
    "Host", "Connection", "Proxy-Connection", "Content-Length", "Transfer-Encoding",
    "TE",   "Keep-Alive", "Expect",           "Upgrade"};

Applied check_buffers(P& settings) {
    const std::size_t largest = std::max(settings.buffer_size, settings.buffers.size);
    if (settings.buffers.count < 2) {
        return reject("there must be at least 2 \"proxy_buffers\"");
    }
    const std::size_t busy = settings.busy_buffers_size.value_or(2 * largest);
    if (busy < largest) {
        return reject(
            "\"proxy_busy_buffers_size\" must be equal to or greater than the maximum of "
            "the value of \"proxy_buffer_size\" and one of the \"proxy_buffers\"");
    }
    if (busy > (settings.buffers.count - 1) * settings.buffers.size) {
        return reject(
            "\"proxy_busy_buffers_size\" must be less than the size of all "
            "\"proxy_buffers\" minus one buffer");
    }
    if (settings.temp_file_write_size && *settings.temp_file_write_size < largest) {
        return reject(
            "\"proxy_temp_file_write_size\" must be equal to or greater than the maximum "
            "of the value of \"proxy_buffer_size\" and one of the \"proxy_buffers\"");
    }
    if (settings.max_temp_file_size != 0 && settings.max_temp_file_size < largest) {
        return reject(
            "\"proxy_max_temp_file_size\" must be equal to zero to disable temporary "
            "files usage or must be equal to or greater than the maximum of the value of "
            "\"proxy_buffer_size\" and one of the \"proxy_buffers\"");
    }
    return {};
}

}  // namespace

conf::Applied read_bind(Compiler& compiler, const Statement& statement, const conf::Directive& row,
                        conf::CompiledString& bind, bool& transparent) {
    if (!compiler.level().first(&row)) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    bind = {};
    transparent = false;
    if (statement.arg(1) == "off" && statement.args.size() == 1) {
        return {};
    }
    if (statement.args.size() == 2) {
        if (statement.arg(2) != "transparent") {
            return reject(fmt::format("invalid parameter \"{}\"", statement.arg(2)));
        }
        transparent = true;
    }
    auto value = compiler.compile_string(statement.arg(1));
    if (!value) {
        return propagate(value.error());
    }
    if (value->is_constant()) {
        const std::string_view text = statement.arg(1);
        const std::size_t colon = text.rfind(':');
        if (!net::parse_ip(text, 0) &&
            !(colon != std::string_view::npos && net::parse_ip(text.substr(0, colon), 0))) {
            return reject(fmt::format("invalid address \"{}\"", text));
        }
    }
    bind = std::move(*value);
    return {};
}

void NameSet::insert(std::string_view name) {
    const std::uint32_t hash = http::header_hash(name);
    const http::HeaderId id = http::header_id(name, hash);
    if (id != http::HeaderId::Other) {
        ids.insert(id);
    } else {
        others.emplace_back(hash, std::string(name));
    }
}

bool NameSet::contains(http::HeaderId id, std::uint32_t hash, std::string_view name) const {
    if (id != http::HeaderId::Other) {
        return ids.contains(id);
    }
    for (const auto& [other_hash, other] : others) {
        if (other_hash == hash && equals_ignore_case(other, name)) {
            return true;
        }
    }
    return false;
}

conf::Applied finish_proxy(conf::Compiler& compiler, conf::Level& level) {
    P& settings = level.edit<P>();
    if (Applied checked = check_buffers(settings); !checked) {
        return checked;
    }
    settings.overridden = {};
    settings.host_value = {};
    settings.sets_connection = false;
    for (const std::string_view name : kReplacedByDefault) {
        settings.overridden.insert(name);
    }
    for (const SetHeader& header : settings.set_headers) {
        settings.overridden.insert(header.name);
        if (header.id == http::HeaderId::Host) {
            settings.host_value = header.value;
        }
        settings.sets_connection =
            settings.sets_connection || header.id == http::HeaderId::Connection;
    }
    settings.hidden = {};
    const auto passed = [&](std::string_view name) {
        return std::ranges::any_of(settings.pass_headers, [&](const std::string& one) {
            return equals_ignore_case(one, name);
        });
    };
    for (const std::string_view name : kHiddenByDefault) {
        if (!passed(name)) {
            settings.hidden.insert(name);
        }
    }
    for (const std::string& name : settings.hide_headers) {
        if (!passed(name)) {
            settings.hidden.insert(name);
        }
    }
    FlowOptions& flow = settings.flow;
    flow.connect_timeout = settings.connect_timeout;
    flow.send_timeout = settings.send_timeout;
    flow.read_timeout = settings.read_timeout;
    flow.next_upstream_timeout = settings.next_upstream_timeout;
    flow.next_upstream = settings.next_upstream;
    flow.next_upstream_tries = static_cast<std::uint64_t>(settings.next_upstream_tries);
    flow.buffer_size = settings.buffer_size;
    flow.buffers = settings.buffers;
    flow.max_temp_file_size = settings.max_temp_file_size;
    flow.temp_path = settings.temp_path;
    flow.buffering = settings.buffering;
    flow.request_buffering = settings.request_buffering;
    flow.ignore_client_abort = settings.ignore_client_abort;
    flow.intercept_errors = settings.intercept_errors;
    flow.socket_keepalive = settings.socket_keepalive;
    flow.socket_rcvbuf = static_cast<int>(settings.socket_rcvbuf);
    flow.socket_sndbuf = static_cast<int>(settings.socket_sndbuf);
    flow.limit_rate = settings.limit_rate;
    flow.bind = settings.bind;
    flow.bind_transparent = settings.bind_transparent;
    return {};
}

std::span<const conf::Directive> proxy_rows() {
    return kRows;
}

}  // namespace moongate::upstream
