// Core directives about what is served: root and alias, types, error pages, redirects, logging.
#include <fmt/format.h>

#include "base/strings.h"
#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/core_directives.h"
#include "engine/core_settings.h"
#include "engine/error_log_directive.h"

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

// root and alias exclude each other at a level.
Applied apply_root(Compiler& compiler, const Statement& statement, Core& settings,
                   const conf::Directive& row) {
    static constexpr char kKey = 0;
    const bool alias = row.name == "alias";
    if (!compiler.level().first(&kKey)) {
        if (settings.root_is_alias == alias) {
            return reject_directive(row.name, "is duplicate");
        }
        return reject(
            fmt::format("\"{}\" directive is duplicate, \"{}\" directive was specified earlier",
                        row.name, settings.root_is_alias ? "alias" : "root"));
    }
    const Location* location = current_location(compiler);
    if (alias && location->kind == LocationKind::Named) {
        return reject("the \"alias\" directive cannot be used inside the named location");
    }
    std::string text(statement.arg(1));
    for (const std::string_view name : {"document_root", "realpath_root"}) {
        if (text.find(fmt::format("${}", name)) != std::string::npos ||
            text.find(fmt::format("${{{}}}", name)) != std::string::npos) {
            return reject(fmt::format("the ${} variable cannot be used in the \"{}\" directive",
                                      name, row.name));
        }
    }
    const bool from_variable = text.starts_with('$');
    if (!from_variable) {
        text = compiler.full_path(text);
    }
    if (!alias && text.ends_with('/')) {
        text.pop_back();
    }
    auto compiled = compiler.compile_string(text);
    if (!compiled) {
        return std::unexpected(std::move(compiled.error()));
    }
    settings.root = std::move(*compiled);
    settings.root_is_alias = alias;
    settings.alias_prefix = 0;
    if (alias) {
        settings.alias_prefix =
            location->kind == LocationKind::Regex ? Core::kWholeUri : location->name.size();
    }
    return {};
}

Applied apply_types(Compiler& compiler, const Statement& statement, Core& settings) {
    auto types = settings.types == nullptr ? std::make_shared<TypesMap>()
                                           : std::make_shared<TypesMap>(*settings.types);
    for (const Statement& line : statement.body) {
        for (const std::string& extension : line.args) {
            const auto [at, added] = types->try_emplace(to_lower(extension), line.name);
            if (!added) {
                compiler.warn(fmt::format(
                    "duplicate extension \"{}\", content type: \"{}\", previous content type: "
                    "\"{}\"",
                    at->first, line.name, at->second));
                at->second = line.name;
            }
        }
    }
    settings.types = std::move(types);
    return {};
}

Applied apply_error_page(Compiler& compiler, const Statement& statement, Core& settings) {
    const std::size_t count = statement.args.size();
    const std::string_view before_last = statement.arg(count - 1);
    std::size_t statuses = count - 1;
    int answer = -1;
    if (before_last.starts_with('=')) {
        if (count == 2) {
            return conf::reject_value(before_last);
        }
        answer = 0;
        if (before_last.size() > 1) {
            const auto status = conf::parse_integer(before_last.substr(1));
            if (!status || *status > 999) {
                return conf::reject_value(before_last);
            }
            answer = static_cast<int>(*status);
        }
        --statuses;
    }
    auto target = compiler.compile_string(statement.arg(count));
    if (!target) {
        return std::unexpected(std::move(target.error()));
    }
    for (std::size_t n = 1; n <= statuses; ++n) {
        const std::string_view text = statement.arg(n);
        const auto status = conf::parse_integer(text);
        if (!status || *status == 499) {
            return conf::reject_value(text);
        }
        if (*status < 300 || *status > 599) {
            return reject(fmt::format("value \"{}\" must be between 300 and 599", text));
        }
        ErrorPage page{static_cast<int>(*status), answer, *target};
        // nginx's own statuses for what went wrong before the request: clients see 400.
        if (answer == -1 && page.status >= 494 && page.status <= 497) {
            page.answer = 400;
        }
        settings.error_pages.push_back(std::move(page));
    }
    return {};
}

Applied apply_error_log(Compiler& compiler, const Statement& statement, Core& settings) {
    return add_error_log(compiler, statement, settings.error_log);
}

Applied apply_early_hints(Compiler& compiler, const Statement& statement, Core& settings) {
    settings.early_hints.clear();
    for (const std::string& text : statement.args) {
        auto value = compiler.compile_string(text);
        if (!value) {
            return std::unexpected(std::move(value.error()));
        }
        settings.early_hints.push_back(std::move(*value));
    }
    return {};
}

constexpr conf::EnumValue kServerTokens[] = {{"off", static_cast<int>(ServerTokens::Off)},
                                             {"on", static_cast<int>(ServerTokens::On)},
                                             {"build", static_cast<int>(ServerTokens::Build)}};
constexpr conf::EnumValue kIfModifiedSince[] = {
    {"off", static_cast<int>(IfModifiedSince::Off)},
    {"exact", static_cast<int>(IfModifiedSince::Exact)},
    {"before", static_cast<int>(IfModifiedSince::Before)}};

constexpr conf::Contexts kWithIf = kHttpLevels | kLocationIf;

constexpr conf::Directive kRows[] = {
    conf::custom<apply_types>("types", kHttpLevels, conf::kNoArgs | conf::kBlock | conf::kFreeForm,
                              "text/html html; image/gif gif; image/jpeg jpg;",
                              "The content types of file name extensions.")
        .syntax("{ type extension ...; ... }")
        .clears<&Core::types>(),
    conf::string<&Core::default_type>("default_type", kHttpLevels, "text/plain",
                                      "The content type of all other extensions."),
    conf::custom<apply_root>("root", kWithIf, conf::kTake1, "html",
                             "The directory that URIs are looked up in.")
        .syntax("path")
        .with_default_applied(),
    conf::custom<apply_root>("alias", conf::kLocation, conf::kTake1, "",
                             "What replaces the location's part of the URI in file names.")
        .syntax("path"),
    conf::enumeration<&Core::if_modified_since>(
        "if_modified_since", kHttpLevels, kIfModifiedSince, "exact",
        "How If-Modified-Since is compared with a response's time."),
    conf::number<&Core::max_ranges>("max_ranges", kHttpLevels, "2147483647",
                                    "How many ranges of a response a client may ask for."),
    conf::flag<&Core::chunked_transfer_encoding>(
        "chunked_transfer_encoding", kHttpLevels, "on",
        "Whether HTTP/1.1 responses of unknown length are sent in chunks."),
    conf::flag<&Core::etag>("etag", kHttpLevels, "on", "Whether files get an ETag."),
    conf::custom<apply_early_hints>(
        "early_hints", kHttpLevels, conf::kOneOrMore, "",
        "Conditions on which 103 responses of upstreams are passed on; accepted, read by the "
        "proxy modules.")
        .syntax("condition ...")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_error_page>("error_page", kWithIf, conf::kTwoOrMore, "",
                                   "What is answered instead of the built-in page of a status.")
        .syntax("code ... [=[response]] uri")
        .clears<&Core::error_pages>(),
    conf::string<&Core::post_action>("post_action", kWithIf, "",
                                     "A location that a subrequest is made to when a response has "
                                     "been sent; accepted, without effect yet."),
    conf::custom<apply_error_log>("error_log", kHttpLevels, conf::kOneOrMore, "",
                                  "Where errors go, and from which level on.")
        .syntax("file | stderr | syslog:server=address[,parameter=value] [level]")
        .clears<&Core::error_log>(),
    conf::flag<&Core::absolute_redirect>("absolute_redirect", kHttpLevels, "on",
                                         "Whether redirects name scheme and host."),
    conf::flag<&Core::server_name_in_redirect>(
        "server_name_in_redirect", kHttpLevels, "off",
        "Whether that host is the first server_name instead of the client's."),
    conf::flag<&Core::port_in_redirect>("port_in_redirect", kHttpLevels, "on",
                                        "Whether redirects name the port."),
    conf::flag<&Core::msie_padding>("msie_padding", kHttpLevels, "on",
                                    "Whether short error pages are padded for old browsers."),
    conf::flag<&Core::msie_refresh>("msie_refresh", kHttpLevels, "off",
                                    "Accepted for compatibility, without effect."),
    conf::flag<&Core::log_not_found>("log_not_found", kHttpLevels, "on",
                                     "Whether files that do not exist are logged."),
    conf::flag<&Core::log_subrequest>("log_subrequest", kHttpLevels, "off",
                                      "Whether subrequests appear in the access log."),
    conf::flag<&Core::recursive_error_pages>(
        "recursive_error_pages", kHttpLevels, "off",
        "Whether an error of an error page is answered by error_page again."),
    conf::enumeration<&Core::server_tokens>("server_tokens", kHttpLevels, kServerTokens, "on",
                                            "What the Server header and error pages tell."),
};

}  // namespace

std::span<const conf::Directive> core_response_rows() {
    return kRows;
}

}  // namespace moongate::engine
