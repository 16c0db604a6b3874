// A small module and an in-memory file system for this folder's tests: http, server, location,
// upstream and one directive of each type. What the directives set can be read back as plain
// members.
#pragma once

#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conf/compiler.h"

namespace moongate::conf::testing {

class MemoryReader : public FileReader {
public:
    std::map<std::string, std::string> files;

    std::expected<std::string, Failure> read(const std::string& path) override {
        const auto found = files.find(path);
        if (found == files.end()) {
            return std::unexpected(Failure{ENOENT, "open()"});
        }
        return found->second;
    }
    // Only a trailing `*` is a pattern here.
    std::expected<std::vector<std::string>, Failure> glob(const std::string& pattern) override {
        std::vector<std::string> names;
        for (const auto& [path, text] : files) {
            if (path.starts_with(pattern.substr(0, pattern.find('*')))) {
                names.push_back(path);
            }
        }
        return names;
    }
};

enum class Protocol { Http10, Http11 };
inline constexpr EnumValue kProtocols[] = {{"1.0", 0}, {"1.1", 1}};
inline constexpr EnumValue kRetries[] = {{"error", 1}, {"timeout", 2}, {"off", 4}};

struct ProxySettings {
    bool buffering = false;
    std::size_t header_buffer = 0;
    std::int64_t body_size = 0;
    std::uint16_t retries = 0;
    std::chrono::milliseconds timeout{};
    std::chrono::seconds expires{};
    Protocol protocol = Protocol::Http10;
    unsigned next = 0;
    Buffers buffers;
    std::optional<std::size_t> rate;
    CompiledString title;
    std::vector<KeyValue> headers;
    std::size_t derived = 0;  // by finish: the bytes of all buffers
};

struct CoreSettings {
    std::string type;
    std::string root;
    std::vector<std::string> names;
    std::vector<std::string> rules;
    std::map<std::string, std::string> types;
    std::string lua;
};

// What the block rows collect.
struct Server {
    std::vector<std::string> order;
    SettingsRef settings;
    std::vector<std::pair<std::string, SettingsRef>> locations;
};
struct Built {
    SettingsRef http;
    std::vector<std::unique_ptr<Server>> servers;
    std::vector<std::string> events;
};

inline Applied enter_http(Compiler& compiler, const Statement& statement) {
    auto level = compiler.child_level();
    auto done = compiler.walk(statement, kHttp, *level);
    compiler.extension<Built>().http = level->freeze();
    return done;
}
inline Applied enter_server(Compiler& compiler, const Statement& statement) {
    auto& built = compiler.extension<Built>();
    Server* server = built.servers.emplace_back(std::make_unique<Server>()).get();
    auto level = compiler.child_level();
    auto done = compiler.walk(statement, kServer, *level, server);
    server->settings = level->freeze();
    return done;
}
inline Applied note_location(Compiler& compiler, const Statement& statement) {
    compiler.scope_object<Server>()->order.push_back("location " + statement.args[0]);
    return {};
}
inline Applied enter_location(Compiler& compiler, const Statement& statement) {
    auto level = compiler.child_level();
    auto done = compiler.walk(statement, kLocation, *level);
    compiler.scope_object<Server>()->locations.emplace_back(statement.args[0], level->freeze());
    return done;
}
inline Applied apply_mark(Compiler& compiler, const Statement& statement) {
    compiler.scope_object<Server>()->order.push_back("mark " + statement.args[0]);
    return {};
}
inline Applied enter_upstream(Compiler& compiler, const Statement& statement) {
    compiler.extension<Built>().events.push_back("upstream " + statement.args[0]);
    auto level = compiler.child_level();
    return compiler.walk(statement, kUpstream, *level);
}
inline Applied apply_peer(Compiler& compiler, const Statement& statement) {
    compiler.extension<Built>().events.push_back("peer " + statement.args[0]);
    return {};
}
inline Applied apply_rule(Compiler&, const Statement& statement, CoreSettings& settings) {
    settings.rules.push_back(statement.name + " " + statement.args[0]);
    return {};
}
inline Applied apply_types(Compiler&, const Statement& statement, CoreSettings& settings) {
    for (const Statement& entry : statement.body) {
        for (const auto& extension : entry.args) {
            settings.types[extension] = entry.name;
        }
    }
    return {};
}
inline Applied apply_set(Compiler& compiler, const Statement& statement) {
    auto variable =
        compiler.variables().define(statement.arg(1).substr(1), VariableFlags::Changeable);
    if (!variable) {
        return std::unexpected(variable.error());
    }
    auto value = compiler.compile_string(statement.arg(2));
    return value ? Applied() : std::unexpected(value.error());
}
inline Applied apply_lua(Compiler&, const Statement& statement, CoreSettings& settings) {
    settings.lua = statement.lua_block;
    return {};
}
inline Applied apply_later(Compiler& compiler, const Statement& statement) {
    compiler.at_end([name = std::string(statement.arg(1))]() -> Applied {
        return reject("host not found in upstream \"" + name + "\"");
    });
    return {};
}
inline Applied finish_proxy(Compiler&, Level& level) {
    auto& settings = level.edit<ProxySettings>();
    settings.derived = settings.buffers.count * settings.buffers.size;
    if (settings.header_buffer > settings.derived) {
        return reject("\"header_buffer\" must be less than the size of all \"buffers\"");
    }
    return {};
}
inline Applied apply_regex(Compiler& compiler, const Statement& statement) {
    auto regex = compiler.compile_regex(statement.arg(1));
    return regex ? Applied() : std::unexpected(regex.error());
}

inline constexpr Directive kCoreRows[] = {
    block<enter_http>("http", kMain, kNoArgs, "HTTP."),
    block<enter_server>("server", kHttp, kNoArgs, "A server."),
    block<enter_location>("location", kServer, kTake12, "A location.").in_order<note_location>(),
    block<enter_upstream>("upstream", kHttp, kTake1, "Peers.").immediate(),
    custom<apply_peer>("server", kUpstream, kOneOrMore, "", "A peer."),
    custom<apply_mark>("mark", kServer, kTake1, "", "Notes its place."),
    custom<apply_rule>("allow", kHttpLevels, kTake1, "", "Allows.")
        .clears<&CoreSettings::rules>()
        .group("access"),
    custom<apply_rule>("deny", kHttpLevels, kTake1, "", "Denies.")
        .clears<&CoreSettings::rules>()
        .group("access"),
    custom<apply_types>("types", kHttpLevels, kBlock | kFreeForm, "", "Types."),
    custom<apply_set>("set", kServer | kLocation, kTake2, "", "Sets."),
    custom<apply_lua>("content_by_lua_block", kLocation, kLuaBlock, "", "Lua."),
    custom<apply_later>("pass", kLocation, kTake1, "", "Fails at the end."),
    custom<apply_regex>("match", kServer, kTake1, "", "A pattern."),
    moongate::conf::string<&CoreSettings::type>("default_type", kHttpLevels, "text/plain",
                                                "A type."),
    path<&CoreSettings::root>("root", kHttpLevels, "html", "A directory."),
    string_list<&CoreSettings::names>("name", kHttpLevels, "", "Names."),
};
inline constexpr Directive kProxyRows[] = {
    flag<&ProxySettings::buffering>("buffering", kHttpLevels, "on", "Whether to buffer."),
    size<&ProxySettings::header_buffer>("header_buffer", kHttpLevels, "4k", "A size.")
        .within(1024, 1 << 20),
    offset<&ProxySettings::body_size>("body_size", kHttpLevels, "1g", "A big size."),
    number<&ProxySettings::retries>("retries", kHttpLevels, "3", "A number."),
    msec<&ProxySettings::timeout>("timeout", kHttpLevels, "1m", "A time."),
    seconds<&ProxySettings::expires>("expires", kHttpLevels, "1y", "A long time."),
    enumeration<&ProxySettings::protocol>("protocol", kHttpLevels, kProtocols, "1.1", "A word."),
    bitmask<&ProxySettings::next>("next", kHttpLevels, kRetries, "error timeout", "Words."),
    buffers<&ProxySettings::buffers>("buffers", kHttpLevels, "8 4k", "Buffers."),
    size<&ProxySettings::rate>("rate", kHttpLevels, "", "An optional size."),
    complex<&ProxySettings::title>("title", kHttpLevels, "", "A text."),
    key_values<&ProxySettings::headers>("header", kHttpLevels, "", "Headers."),
};
inline constexpr ModuleDirectives kModules[] = {
    {"core", kCoreRows},
    {"proxy", kProxyRows, {}, finish_proxy},
};

// Parses and compiles `text` as the file /etc/test.conf.
struct Trial {
    Registry registry{kModules};
    VariableTable variables;
    MemoryReader reader;
    std::vector<std::string> warnings;
    std::unique_ptr<Compiler> compiler;
    SettingsRef root;

    // Empty on success.
    std::string compile(const std::string& text) {
        reader.files["/etc/test.conf"] = text;
        auto tree = parse_file("/etc/test.conf", {.reader = &reader, .conf_prefix = "/etc/"});
        if (!tree) {
            return tree.error().message;
        }
        compiler = std::make_unique<Compiler>(
            registry, variables,
            CompilerOptions{.prefix = "/srv/",
                            .conf_prefix = "/etc/",
                            .reader = &reader,
                            .report = [this](LogLevel, std::string_view text) {
                                warnings.emplace_back(text);
                            }});
        auto done = compiler->compile(tree->statements);
        if (!done) {
            return done.error().message;
        }
        root = *done;
        return {};
    }
    Built& built() { return compiler->extension<Built>(); }
};

}  // namespace moongate::conf::testing
