// Core directives about opening and sending files, the conditions that gzip and gzip_static share,
// and the resolver.
#include <fmt/format.h>

#include "conf/compiler.h"
#include "engine/core_directives.h"
#include "engine/core_settings.h"
#include "engine/resolver_settings.h"

namespace moongate::engine {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::kHttpLevels;
using conf::kLocationIf;
using conf::reject;
using conf::reject_directive;
using conf::Statement;
using Core = CoreLocationSettings;
using Files = CoreFileSettings;
using Gzip = GzipClientSettings;

Applied apply_open_file_cache(Compiler&, const Statement& statement, Files& settings) {
    bool off = false;
    std::int64_t most = 0;
    std::int64_t inactive = 60;
    for (const std::string_view arg : statement.args) {
        std::optional<std::int64_t> value;
        if (arg.starts_with("max=")) {
            value = conf::parse_integer(arg.substr(4));
            most = value && *value > 0 ? *value : 0;
            value = most == 0 ? std::nullopt : value;
        } else if (arg.starts_with("inactive=")) {
            value = conf::parse_seconds(arg.substr(9));
            inactive = value.value_or(0);
        } else if (arg == "off") {
            off = true;
            value = 0;
        }
        if (!value) {
            return reject(fmt::format("invalid \"open_file_cache\" parameter \"{}\"", arg));
        }
    }
    if (!off && most == 0) {
        return reject("\"open_file_cache\" must have the \"max\" parameter");
    }
    settings.open_file_cache = !off;
    settings.open_file_cache_max = most;
    settings.open_file_cache_inactive_s = inactive;
    return {};
}

Applied apply_aio(Compiler&, const Statement& statement, Files& settings) {
    const std::string_view value = statement.arg(1);
    if (value != "on" && value != "off" && value != "threads" && !value.starts_with("threads=")) {
        return reject_directive("aio", "invalid value");
    }
    settings.aio = value;
    return {};
}

// Files that name a folder for a protocol which is not spoken yet are read all the same: generators
// of configuration and test suites write these lines into every file.
Applied ignore_path(Compiler&, const Statement&, Files&) {
    return {};
}

Applied apply_directio(Compiler&, const Statement& statement, Files& settings) {
    if (statement.arg(1) == "off") {
        settings.directio = -1;
        return {};
    }
    const auto size = conf::parse_offset(statement.arg(1));
    if (!size) {
        return reject_directive("directio", "invalid value");
    }
    settings.directio = *size;
    return {};
}

Applied apply_disable_symlinks(Compiler& compiler, const Statement& statement, Files& settings) {
    std::optional<DisableSymlinks> mode;
    bool from = false;
    for (const std::string_view arg : statement.args) {
        if (arg == "off") {
            mode = DisableSymlinks::Off;
        } else if (arg == "if_not_owner") {
            mode = DisableSymlinks::IfNotOwner;
        } else if (arg == "on") {
            mode = DisableSymlinks::On;
        } else if (arg.starts_with("from=")) {
            auto value = compiler.compile_string(arg.substr(5));
            if (!value) {
                return std::unexpected(std::move(value.error()));
            }
            settings.disable_symlinks_from = std::move(*value);
            from = true;
        } else {
            return reject(fmt::format("invalid parameter \"{}\"", arg));
        }
    }
    if (!mode) {
        return reject(
            "\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter");
    }
    if (statement.args.size() == 2 && !from) {
        return reject(
            fmt::format("duplicate parameters \"{} {}\"", statement.arg(1), statement.arg(2)));
    }
    if (from && *mode == DisableSymlinks::Off) {
        return reject("\"from=\" cannot be used with \"off\" parameter");
    }
    if (*mode != DisableSymlinks::Off) {
        return reject("\"disable_symlinks\" other than \"off\" is not built yet");
    }
    if (!from) {
        settings.disable_symlinks_from = {};
    }
    settings.disable_symlinks = *mode;
    return {};
}

// `msie6` is short for a test that regular expressions are too slow for; "degradation" is none of
// Linux's.
Applied apply_gzip_disable(Compiler&, const Statement& statement, Gzip& settings) {
    for (const std::string_view arg : statement.args) {
        if (arg == "msie6") {
            settings.disable_msie6 = true;
            continue;
        }
        auto regex = conf::Regex::compile(arg, conf::RegexFlags::Caseless);
        if (!regex) {
            return std::unexpected(std::move(regex.error()));
        }
        settings.disable.push_back(std::move(*regex));
    }
    return {};
}

Applied apply_resolver(Compiler&, const Statement& statement, Core& settings) {
    if (auto parsed = parse_resolver(statement.args); !parsed) {
        return std::unexpected(std::move(parsed.error()));
    }
    settings.resolver = statement.args;
    return {};
}

constexpr conf::EnumValue kHttpVersions[] = {{"1.0", 1000}, {"1.1", 1001}};
constexpr conf::EnumValue kGzipProxied[] = {
    {"off", kGzipProxiedOff},          {"expired", kGzipProxiedExpired},
    {"no-cache", kGzipProxiedNoCache}, {"no-store", kGzipProxiedNoStore},
    {"private", kGzipProxiedPrivate},  {"no_last_modified", kGzipProxiedNoLastModified},
    {"no_etag", kGzipProxiedNoEtag},   {"auth", kGzipProxiedAuth},
    {"any", kGzipProxiedAny}};

constexpr conf::Directive kRows[] = {
    conf::flag<&Core::sendfile>("sendfile", kHttpLevels | kLocationIf, "off",
                                "Whether files are sent by the kernel without passing through "
                                "this process."),
    conf::size<&Core::sendfile_max_chunk>("sendfile_max_chunk", kHttpLevels, "2m",
                                          "The most that one such call sends."),
    conf::size<&Files::subrequest_output_buffer_size>(
        "subrequest_output_buffer_size", kHttpLevels, "4k",
        "The buffer for a subrequest whose response is kept in memory."),
    conf::custom<apply_aio>("aio", kHttpLevels, conf::kTake1, "off",
                            "Accepted for compatibility: files are read without a thread pool.")
        .syntax("on | off | threads[=pool]")
        .merged(conf::Merge::Inherit),
    conf::flag<&Files::aio_write>("aio_write", kHttpLevels, "off",
                                  "Accepted for compatibility, without effect."),
    conf::size<&Files::read_ahead>("read_ahead", kHttpLevels, "0",
                                   "Accepted for compatibility, without effect."),
    conf::custom<apply_directio>("directio", kHttpLevels, conf::kTake1, "off",
                                 "Accepted for compatibility, without effect yet.")
        .syntax("size | off")
        .merged(conf::Merge::Inherit),
    conf::offset<&Files::directio_alignment>("directio_alignment", kHttpLevels, "512",
                                             "Accepted for compatibility, without effect yet."),
    conf::size<&Files::send_lowat>("send_lowat", kHttpLevels, "0",
                                   "Accepted for compatibility: Linux has no such option."),
    conf::custom<apply_open_file_cache>("open_file_cache", kHttpLevels, conf::kTake12, "off",
                                        "How many open files are remembered, and how long "
                                        "without use; accepted, without effect yet.")
        .syntax("off | max=number [inactive=time]")
        .merged(conf::Merge::Inherit),
    conf::seconds<&Files::open_file_cache_valid_s>(
        "open_file_cache_valid", kHttpLevels, "60s",
        "After which time a remembered file is checked; accepted, without effect yet."),
    conf::number<&Files::open_file_cache_min_uses>(
        "open_file_cache_min_uses", kHttpLevels, "1",
        "How often a file must be used to be remembered; accepted, without effect yet."),
    conf::flag<&Files::open_file_cache_errors>(
        "open_file_cache_errors", kHttpLevels, "off",
        "Whether failures are remembered too; accepted, without effect yet."),
    conf::flag<&Files::open_file_cache_events>("open_file_cache_events", kHttpLevels, "off",
                                               "Accepted for compatibility, without effect."),
    conf::custom<apply_disable_symlinks>("disable_symlinks", kHttpLevels, conf::kTake12, "off",
                                         "How symbolic links on the way to a file are treated.")
        .syntax("off | on | if_not_owner [from=part]")
        .merged(conf::Merge::Inherit),
    conf::number<&Files::types_hash_max_size>(
        "types_hash_max_size", kHttpLevels, "1024",
        "Accepted for compatibility: the table grows by itself."),
    conf::number<&Files::types_hash_bucket_size>(
        "types_hash_bucket_size", kHttpLevels, "64",
        "Accepted for compatibility: the table grows by itself."),
    conf::flag<&Gzip::vary>("gzip_vary", kHttpLevels, "off",
                            "Whether \"Vary: Accept-Encoding\" is added where gzip may apply."),
    conf::enumeration<&Gzip::http_version>("gzip_http_version", kHttpLevels, kHttpVersions, "1.1",
                                           "The least HTTP version of requests that are "
                                           "answered with gzip."),
    conf::bitmask<&Gzip::proxied>("gzip_proxied", kHttpLevels, kGzipProxied, "off",
                                  "Which responses to requests of proxies are compressed."),
    conf::custom<apply_gzip_disable>("gzip_disable", kHttpLevels, conf::kOneOrMore, "",
                                     "User agents whose responses are not compressed.")
        .syntax("regex ..."),
    conf::custom<ignore_path>("fastcgi_temp_path", kHttpLevels, conf::kTake1234, "",
                              "Accepted for compatibility: this protocol is not spoken yet.")
        .syntax("path [level1 [level2 [level3]]]"),
    conf::custom<ignore_path>("scgi_temp_path", kHttpLevels, conf::kTake1234, "",
                              "Accepted for compatibility: this protocol is not spoken yet.")
        .syntax("path [level1 [level2 [level3]]]"),
    conf::custom<ignore_path>("uwsgi_temp_path", kHttpLevels, conf::kTake1234, "",
                              "Accepted for compatibility: this protocol is not spoken yet.")
        .syntax("path [level1 [level2 [level3]]]"),
    conf::custom<apply_resolver>("resolver", kHttpLevels, conf::kOneOrMore, "",
                                 "The name servers for names that are only known at run time.")
        .syntax("address ... [valid=time] [ipv4=on|off] [ipv6=on|off]")
        .merged(conf::Merge::Inherit),
    conf::msec<&Core::resolver_timeout>("resolver_timeout", kHttpLevels, "30s",
                                        "How long a name may take to be resolved."),
};

}  // namespace

std::span<const conf::Directive> core_file_rows() {
    return kRows;
}

}  // namespace moongate::engine
