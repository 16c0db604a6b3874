// Core directives about connections, requests, bodies and time-outs.
#include <fmt/format.h>

#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/core_directives.h"
#include "engine/core_settings.h"

namespace moongate::engine {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::kHttp;
using conf::kHttpLevels;
using conf::kLocationIf;
using conf::kServer;
using conf::reject_directive;
using conf::Statement;
using Core = CoreLocationSettings;
using ServerSettings = CoreServerSettings;

// nginx's allocator asks for these; the arenas here do not, but a file that nginx refuses is
// refused.
Applied check_pool_size(std::int64_t bytes) {
    constexpr std::int64_t kSmallest = 112;
    constexpr std::int64_t kAlignment = 16;
    if (bytes < kSmallest) {
        return conf::reject(fmt::format("the pool size must be no less than {}", kSmallest));
    }
    if (bytes % kAlignment != 0) {
        return conf::reject(fmt::format("the pool size must be a multiple of {}", kAlignment));
    }
    return {};
}

template <auto Member>
Applied apply_pool_size(Compiler&, const Statement& statement, ServerSettings& settings,
                        const conf::Directive& row) {
    const auto bytes = conf::read_size(statement, row);
    if (!bytes) {
        return std::unexpected(bytes.error());
    }
    settings.*Member = static_cast<std::size_t>(*bytes);
    return check_pool_size(*bytes);
}

Applied apply_keepalive_timeout(Compiler&, const Statement& statement, Core& settings) {
    const auto timeout = conf::parse_msec(statement.arg(1));
    if (!timeout) {
        return reject_directive("keepalive_timeout", "invalid value");
    }
    settings.keepalive_timeout = Milliseconds(*timeout);
    settings.keepalive_header_s = 0;
    if (statement.args.size() == 2) {
        const auto header = conf::parse_seconds(statement.arg(2));
        if (!header) {
            return reject_directive("keepalive_timeout", "invalid value");
        }
        settings.keepalive_header_s = *header;
    }
    return {};
}

// A directory, and how many characters of the file's number each level of directories below takes.
Applied apply_temp_path(Compiler& compiler, const Statement& statement, Core& settings) {
    std::string path = compiler.full_path(statement.arg(1));
    if (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    TempLevels levels{};
    std::int64_t characters = 0;
    for (std::size_t n = 2; n <= statement.args.size(); ++n) {
        const auto level = conf::parse_integer(statement.arg(n));
        if (!level || *level == 0) {
            return reject_directive("client_body_temp_path", "invalid value");
        }
        characters += *level;
        // File numbers have ten digits.
        if (*level > 10 || characters > 10) {
            return reject_directive("client_body_temp_path", "invalid value");
        }
        levels[n - 2] = static_cast<std::uint8_t>(*level);
    }
    settings.client_body_temp_path = path;
    settings.client_body_temp_levels = levels;
    if (current_location(compiler) != nullptr || compiler.context() == kHttp) {
        compiler.extension<SnapshotBuilder>().temp_directories.push_back(std::move(path));
    }
    return {};
}

// A size that may hold variables; one without is checked now.
template <auto Member>
Applied apply_complex_size(Compiler& compiler, const Statement& statement, Core& settings,
                           const conf::Directive& row) {
    auto value = compiler.compile_string(statement.arg(1));
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    if (value->is_constant() && !conf::parse_size(statement.arg(1))) {
        return reject_directive(row.name, "invalid value");
    }
    settings.*Member = std::move(*value);
    return {};
}

// Conditions: true where any of the values is neither empty nor "0".
template <auto Member>
Applied apply_predicate(Compiler& compiler, const Statement& statement,
                        typename conf::detail::MemberOf<decltype(Member)>::Struct& settings) {
    (settings.*Member).clear();
    for (const std::string& text : statement.args) {
        auto value = compiler.compile_string(text);
        if (!value) {
            return std::unexpected(std::move(value.error()));
        }
        (settings.*Member).push_back(std::move(*value));
    }
    return {};
}

constexpr conf::EnumValue kInFileOnly[] = {{"off", 0}, {"on", 1}, {"clean", 2}};
constexpr conf::EnumValue kSatisfy[] = {{"all", 0}, {"any", 1}};
constexpr conf::EnumValue kLingering[] = {{"off", static_cast<int>(Lingering::Off)},
                                          {"on", static_cast<int>(Lingering::On)},
                                          {"always", static_cast<int>(Lingering::Always)}};
constexpr conf::EnumValue kKeepaliveDisable[] = {{"none", kKeepaliveDisableNone},
                                                 {"msie6", kKeepaliveDisableMsie6},
                                                 {"safari", kKeepaliveDisableSafari}};

constexpr conf::Directive with_arity(conf::Directive row, conf::Arity arity) {
    row.arity = arity;
    return row;
}

constexpr conf::Contexts kServerLevels = kHttp | kServer;
constexpr conf::Contexts kWithIf = kHttpLevels | kLocationIf;

constexpr conf::Directive kRows[] = {
    conf::custom<apply_pool_size<&ServerSettings::connection_pool_size>>(
        "connection_pool_size", kServerLevels, conf::kTake1, "512",
        "Accepted for compatibility: connections take memory as they need it.")
        .syntax("size")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_pool_size<&ServerSettings::request_pool_size>>(
        "request_pool_size", kServerLevels, conf::kTake1, "4k",
        "Accepted for compatibility: requests take memory as they need it.")
        .syntax("size")
        .merged(conf::Merge::Inherit),
    conf::msec<&ServerSettings::client_header_timeout>(
        "client_header_timeout", kServerLevels, "60s",
        "How long a client may take to send the head of a request (408)."),
    conf::size<&ServerSettings::client_header_buffer_size>(
        "client_header_buffer_size", kServerLevels, "1k",
        "The first buffer for the head of a request."),
    conf::buffers<&ServerSettings::large_client_header_buffers>(
        "large_client_header_buffers", kServerLevels, "4 8k",
        "Number and size of the buffers for heads that do not fit the first one; a line must fit "
        "one (414, 400)."),
    conf::number<&ServerSettings::max_headers>("max_headers", kServerLevels, "1000",
                                               "The most header fields a request may have."),
    conf::flag<&ServerSettings::ignore_invalid_headers>(
        "ignore_invalid_headers", kServerLevels, "on",
        "Whether header fields with unusual names are left out instead of refused."),
    conf::flag<&ServerSettings::merge_slashes>("merge_slashes", kServerLevels, "on",
                                               "Whether adjacent slashes of a URI become one."),
    conf::flag<&ServerSettings::underscores_in_headers>(
        "underscores_in_headers", kServerLevels, "off",
        "Whether names of header fields may hold underscores."),
    conf::custom<apply_predicate<&ServerSettings::client_body_early_read>>(
        "client_body_early_read", kServerLevels, conf::kOneOrMore, "",
        "Conditions on which the body is read before the phases run; accepted, without effect "
        "yet.")
        .syntax("condition ...")
        .merged(conf::Merge::Inherit),
    conf::offset<&Core::client_max_body_size>(
        "client_max_body_size", kHttpLevels, "1m",
        "The largest body a client may send (413); 0: no limit."),
    conf::size<&Core::client_body_buffer_size>(
        "client_body_buffer_size", kHttpLevels, "16k",
        "How much of a body is held in memory before it goes to a file."),
    conf::msec<&Core::client_body_timeout>(
        "client_body_timeout", kHttpLevels, "60s",
        "How long a client may pause between two pieces of a body (408)."),
    conf::custom<apply_temp_path>("client_body_temp_path", kHttpLevels, conf::kTake1234,
                                  "client_body_temp", "Where bodies that do not fit the memory go.")
        .syntax("path [level1 [level2 [level3]]]")
        .merged(conf::Merge::Inherit)
        .with_default_applied(),
    conf::enumeration<&Core::client_body_in_file_only>(
        "client_body_in_file_only", kHttpLevels, kInFileOnly, "off",
        "Whether every body goes to a file, which stays (on) or is removed (clean)."),
    conf::flag<&Core::client_body_in_single_buffer>(
        "client_body_in_single_buffer", kHttpLevels, "off",
        "Accepted for compatibility: a body in memory is always in one piece."),
    conf::flag<&Core::tcp_nopush>("tcp_nopush", kHttpLevels, "off",
                                  "Accepted for compatibility: heads and the beginning of bodies "
                                  "are always sent together."),
    conf::flag<&Core::tcp_nodelay>("tcp_nodelay", kHttpLevels, "on",
                                   "Whether small packets are sent at once (TCP_NODELAY)."),
    conf::msec<&Core::send_timeout>("send_timeout", kHttpLevels, "60s",
                                    "How long a client may pause between two reads of a response."),
    conf::size<&Core::postpone_output>(
        "postpone_output", kHttpLevels, "1460",
        "How many bytes are gathered before they are sent, unless a flush is asked for."),
    conf::custom<apply_complex_size<&Core::limit_rate>>(
        "limit_rate", kWithIf, conf::kTake1, "0",
        "The bytes a second that a response is sent with; 0: no limit.")
        .syntax("rate")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_complex_size<&Core::limit_rate_after>>(
        "limit_rate_after", kWithIf, conf::kTake1, "0",
        "How many bytes of a response are sent before limit_rate holds.")
        .syntax("size")
        .merged(conf::Merge::Inherit),
    conf::msec<&Core::keepalive_time>("keepalive_time", kHttpLevels, "3600s",
                                      "How long a connection takes requests in all."),
    conf::custom<apply_keepalive_timeout>(
        "keepalive_timeout", kHttpLevels,
        conf::kTake12, "75s",
        "How long an idle connection stays open, and what Keep-Alive tells the client.")
        .syntax("timeout [header_timeout]")
        .merged(conf::Merge::Inherit),
    conf::msec<&Core::keepalive_min_timeout>(
        "keepalive_min_timeout", kHttpLevels, "0",
        "How long an idle connection stays open at least while the engine ends."),
    conf::number<&Core::keepalive_requests>("keepalive_requests", kHttpLevels, "1000",
                                            "How many requests a connection takes."),
    with_arity(conf::bitmask<&Core::keepalive_disable>(
                   "keepalive_disable", kHttpLevels, kKeepaliveDisable, "msie6",
                   "Browsers whose connections are not kept open; accepted, without effect yet."),
               conf::kTake12),
    conf::enumeration<&Core::satisfy_any>(
        "satisfy", kHttpLevels, kSatisfy,
        "all", "Whether all of the access rules must allow a request, or any."),
    conf::msec<&Core::auth_delay>("auth_delay", kHttpLevels, "0", "How long a 401 is held back."),
    conf::enumeration<&Core::lingering_close>(
        "lingering_close", kHttpLevels, kLingering, "on",
        "Whether the rest of a body is read and dropped before the connection is closed."),
    conf::msec<&Core::lingering_time>("lingering_time", kHttpLevels, "30s",
                                      "How long that may take in all."),
    conf::msec<&Core::lingering_timeout>("lingering_timeout", kHttpLevels, "5s",
                                         "How long it waits for more."),
    conf::flag<&Core::reset_timedout_connection>(
        "reset_timedout_connection", kHttpLevels, "off",
        "Whether connections that timed out are closed with a reset."),
};

}  // namespace

std::span<const conf::Directive> core_request_rows() {
    return kRows;
}

}  // namespace moongate::engine
