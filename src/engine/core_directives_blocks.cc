// http {}, server {}, location {} and limit_except {}: blocks become Server and Location objects.
// Messages and rules of nesting are nginx's (ngx_http_core_location and its neighbours).
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <climits>

#include "base/strings.h"
#include "engine/builder.h"
#include "engine/core_directives.h"
#include "engine/core_settings.h"
#include "engine/listen_directive.h"
#include "http/method.h"

namespace moongate::engine {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::Expected;
using conf::reject;
using conf::reject_directive;
using conf::Statement;

Applied enter_http(Compiler& compiler, const Statement& statement) {
    auto& builder = compiler.extension<SnapshotBuilder>();
    if (builder.has_http) {
        return reject_directive("http", "is duplicate");
    }
    builder.has_http = true;
    auto level = compiler.child_level();
    return compiler.walk(statement, conf::kHttp, *level, typeid(void), nullptr, [&] {
        builder.http = level->freeze();
        return Applied();
    });
}

// --- server --------------------------------------------------------------------------------------

std::string host_name() {
    char name[HOST_NAME_MAX + 1] = {};
    gethostname(name, sizeof(name) - 1);
    return to_lower(name);
}

Applied add_regex_name(Compiler& compiler, std::string_view text, Server& server) {
    const std::string_view pattern = text.substr(1);
    if (pattern.empty()) {
        return reject(fmt::format("empty regex in server name \"{}\"", text));
    }
    // Host names come in lower case: a pattern with upper case can only be meant without it.
    bool upper = false;
    for (const char c : pattern) {
        upper = upper || (c >= 'A' && c <= 'Z');
    }
    auto regex = compiler.compile_regex(
        pattern, upper ? conf::RegexFlags::Caseless : conf::RegexFlags::None);
    if (!regex) {
        return std::unexpected(std::move(regex.error()));
    }
    server.names.push_back({std::string(text), std::move(*regex)});
    return {};
}

Applied apply_server_name(Compiler& compiler, const Statement& statement) {
    Server& server = *compiler.scope_object<ServerBuilder>()->server;
    for (const std::string& name : statement.args) {
        if ((name.starts_with('*') && (name.size() < 3 || name[1] != '.')) || name == ".") {
            return reject(fmt::format("server name \"{}\" is invalid", name));
        }
        if (name.find('/') != std::string::npos) {
            compiler.warn(fmt::format("server name \"{}\" has suspicious symbols", name));
        }
        if (name.starts_with('~')) {
            if (auto done = add_regex_name(compiler, name, server); !done) {
                return done;
            }
        } else if (equals_ignore_case(name, "$hostname")) {
            server.names.push_back({host_name(), {}});
        } else {
            server.names.push_back({to_lower(name), {}});
        }
    }
    return {};
}

void finish_names(Server& server) {
    if (server.names.empty()) {
        server.names.emplace_back();
    }
    server.names.shrink_to_fit();
    server.first_name = server.names.front().text;
    if (server.first_name.starts_with('.')) {
        server.first_name.erase(0, 1);
    }
}

Applied enter_server(Compiler& compiler, const Statement& statement) {
    auto& builder = compiler.extension<SnapshotBuilder>();
    ServerBuilder server;
    server.server = std::make_shared<Server>();
    server.server->outer = std::make_unique<Location>();
    server.server->outer->kind = LocationKind::Server;
    auto level = compiler.child_level();
    auto done = compiler.walk(
        statement, conf::kServer, *level, typeid(ServerBuilder), &server, [&]() -> Applied {
            if (server.listens.empty()) {
                if (auto added = add_default_listen(compiler, server); !added) {
                    return added;
                }
            }
            finish_names(*server.server);
            builder.finish_location(*server.server->outer, *level);
            return {};
        });
    if (done) {
        server.server->owned.shrink_to_fit();
        builder.add_server(std::move(server.server));
    }
    return done;
}

// --- location ------------------------------------------------------------------------------------

struct LocationName {
    LocationKind kind = LocationKind::Prefix;
    bool caseless = false;
    std::string_view text;
};

Expected<LocationName> parse_name(const Statement& statement) {
    if (statement.args.size() == 2) {
        const std::string_view modifier = statement.arg(1);
        const std::string_view text = statement.arg(2);
        if (modifier == "=") {
            return LocationName{LocationKind::Exact, false, text};
        }
        if (modifier == "^~") {
            return LocationName{LocationKind::PrefixNoRegex, false, text};
        }
        if (modifier == "~" || modifier == "~*") {
            return LocationName{LocationKind::Regex, modifier == "~*", text};
        }
        return reject(fmt::format("invalid location modifier \"{}\"", modifier));
    }
    const std::string_view text = statement.arg(1);
    if (text.starts_with('=')) {
        return LocationName{LocationKind::Exact, false, text.substr(1)};
    }
    if (text.starts_with("^~")) {
        return LocationName{LocationKind::PrefixNoRegex, false, text.substr(2)};
    }
    if (text.starts_with("~*")) {
        return LocationName{LocationKind::Regex, true, text.substr(2)};
    }
    if (text.starts_with('~')) {
        return LocationName{LocationKind::Regex, false, text.substr(1)};
    }
    if (text.starts_with('@')) {
        return LocationName{LocationKind::Named, false, text};
    }
    return LocationName{LocationKind::Prefix, false, text};
}

Applied check_nesting(const LocationName& name, const Location& parent) {
    if (parent.kind == LocationKind::Exact || parent.kind == LocationKind::Named) {
        return reject(fmt::format("location \"{}\" cannot be inside the {} location \"{}\"",
                                  name.text, parent.kind == LocationKind::Exact ? "exact" : "named",
                                  parent.name));
    }
    if (name.kind == LocationKind::Named) {
        return reject(
            fmt::format("named location \"{}\" can be on the server level only", name.text));
    }
    if (name.kind != LocationKind::Regex && !name.text.starts_with(parent.name)) {
        return reject(
            fmt::format("location \"{}\" is outside location \"{}\"", name.text, parent.name));
    }
    return {};
}

// False where there is such a location already.
bool add_to_tree(Location& location, LocationTree& tree, Server& server) {
    switch (location.kind) {
        case LocationKind::Exact:
            return tree.add_exact(location.name, location);
        case LocationKind::Regex:
            tree.add_regex(location);
            return true;
        case LocationKind::Named:
            server.named.emplace(location.name, &location);  // of equal ones the first is found
            return true;
        default:
            return tree.add_prefix(location.name, location);
    }
}

Applied enter_location(Compiler& compiler, const Statement& statement) {
    const auto name = parse_name(statement);
    if (!name) {
        return std::unexpected(name.error());
    }
    conf::BoundRegex regex;
    if (name->kind == LocationKind::Regex) {
        auto compiled = compiler.compile_regex(
            name->text, name->caseless ? conf::RegexFlags::Caseless : conf::RegexFlags::None);
        if (!compiled) {
            return std::unexpected(std::move(compiled.error()));
        }
        regex = std::move(*compiled);
    }
    Location& parent = *current_location(compiler);
    const bool nested = parent.kind != LocationKind::Server;
    if (nested) {
        if (auto done = check_nesting(*name, parent); !done) {
            return done;
        }
    }
    Location& location = add_child_location(compiler, name->kind, std::string(name->text));
    location.regex = std::move(regex);
    Server& server = *compiler.scope_object<ServerBuilder>()->server;
    if (!add_to_tree(location, nested ? parent.nested : server.locations, server)) {
        return reject(fmt::format("duplicate location \"{}\"", name->text));
    }
    return compile_location(compiler, statement, conf::kLocation, location);
}

// --- limit_except --------------------------------------------------------------------------------

constexpr std::array kLimitMethods{
    http::Method::Get,     http::Method::Head,     http::Method::Post,      http::Method::Put,
    http::Method::Delete,  http::Method::Mkcol,    http::Method::Copy,      http::Method::Move,
    http::Method::Options, http::Method::Propfind, http::Method::Proppatch, http::Method::Lock,
    http::Method::Unlock,  http::Method::Patch,
};

Applied enter_limit_except(Compiler& compiler, const Statement& statement) {
    Location& parent = *current_location(compiler);
    if (parent.limit_except_location != nullptr) {
        return reject_directive("limit_except", "is duplicate");
    }
    std::uint32_t mask = 0xffffffff;
    for (const std::string& word : statement.args) {
        bool known = false;
        for (const http::Method method : kLimitMethods) {
            if (equals_ignore_case(word, http::method_name(method))) {
                mask &= ~http::method_bit(method);
                known = true;
            }
        }
        if (!known) {
            return reject(fmt::format("invalid method \"{}\"", word));
        }
    }
    if ((mask & http::method_bit(http::Method::Get)) == 0) {
        mask &= ~http::method_bit(http::Method::Head);
    }
    Location& location =
        add_child_location(compiler, LocationKind::LimitExcept, std::string(parent.name));
    parent.limit_except = mask;
    parent.limit_except_location = &location;
    return compile_location(compiler, statement, conf::kLimitExcept, location);
}

Applied apply_internal(Compiler& compiler, const Statement&, CoreLocationSettings& settings) {
    static constexpr char kKey = 0;
    if (!compiler.level().first(&kKey)) {
        return reject_directive("internal", "is duplicate");
    }
    settings.internal = true;
    return {};
}

constexpr conf::Directive kRows[] = {
    conf::block<enter_http>("http", conf::kMain, conf::kNoArgs, "All about HTTP."),
    conf::block<enter_server>("server", conf::kHttp, conf::kNoArgs,
                              "A virtual server, chosen by address and host name."),
    conf::custom<apply_listen>("listen", conf::kServer, conf::kOneOrMore, "*:80",
                               "An address that the server accepts connections on.")
        .syntax("address[:port] [default_server] [proxy_protocol] [backlog=number] [bind] ..."),
    conf::custom<apply_server_name>("server_name", conf::kServer, conf::kOneOrMore, "\"\"",
                                    "The host names that the server answers for.")
        .syntax("name ..."),
    conf::block<enter_location>("location", conf::kServer | conf::kLocation, conf::kTake12,
                                "Settings for a part of the URIs.")
        .syntax("[= | ~ | ~* | ^~] uri | @name"),
    conf::block<enter_limit_except>("limit_except", conf::kLocation, conf::kOneOrMore,
                                    "Settings for all methods but those named.")
        .syntax("method ..."),
    conf::custom<apply_internal>("internal", conf::kLocation, conf::kNoArgs, "",
                                 "Only requests that the engine itself redirects here are served."),
    conf::number<&CoreHttpSettings::variables_hash_max_size>(
        "variables_hash_max_size", conf::kHttp, "1024",
        "Accepted for compatibility: the table grows by itself."),
    conf::number<&CoreHttpSettings::variables_hash_bucket_size>(
        "variables_hash_bucket_size", conf::kHttp, "64",
        "Accepted for compatibility: the table grows by itself."),
    conf::number<&CoreHttpSettings::server_names_hash_max_size>(
        "server_names_hash_max_size", conf::kHttp, "512",
        "Accepted for compatibility: the table grows by itself."),
    conf::number<&CoreHttpSettings::server_names_hash_bucket_size>(
        "server_names_hash_bucket_size", conf::kHttp, "64",
        "Accepted for compatibility: the table grows by itself."),
};

}  // namespace

std::span<const conf::Directive> core_block_rows() {
    return kRows;
}

}  // namespace moongate::engine
