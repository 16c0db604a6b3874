// See map.h. A map is a variable that computes itself when it is first used; its table hangs at the
// variable's definition and lives with the snapshot.
#include "modules/map.h"

#include <array>
#include <memory>

#include "conf/compiler.h"
#include "engine/request.h"
#include "modules/map_table.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;

struct MapSettings {
    std::int64_t hash_max_size = 2048;
    std::int64_t hash_bucket_size = 64;
};

struct Map {
    conf::CompiledString source;
    MapTable table;
    conf::CompiledString default_value;
    bool has_default = false;
    bool hostnames = false;
    bool is_volatile = false;
};

void get_map(engine::Request& request, std::uintptr_t data, conf::VariableValue& value) {
    const Map& map = *reinterpret_cast<const Map*>(data);
    std::string_view key = map.source.evaluate(request);
    if (map.hostnames && key.ends_with('.')) {
        key.remove_suffix(1);
    }
    const conf::CompiledString* found = map.table.find(request, key);
    value.set((found == nullptr ? map.default_value : *found).evaluate(request));
}

Applied add_value(Compiler& compiler, Map& map, const Statement& entry) {
    auto value = compiler.compile_string(entry.arg(1));
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    std::string_view key = entry.name;
    if (key == "default") {
        if (map.has_default) {
            return conf::reject("duplicate default map parameter");
        }
        map.has_default = true;
        map.default_value = std::move(*value);
        return {};
    }
    if (key.starts_with('~')) {
        const bool caseless = key.starts_with("~*");
        auto regex =
            compiler.compile_regex(key.substr(caseless ? 2 : 1),
                                   caseless ? conf::RegexFlags::Caseless : conf::RegexFlags::None);
        if (!regex) {
            return std::unexpected(std::move(regex.error()));
        }
        map.table.add_regex(std::move(*regex), std::move(*value));
        return {};
    }
    if (key.starts_with('\\')) {
        key.remove_prefix(1);
    }
    switch (map.table.add(key, std::move(*value), map.hostnames)) {
        case MapTable::Added::Conflict:
            return conf::reject(fmt::format("conflicting parameter \"{}\"", to_lower(key)));
        case MapTable::Added::InvalidName:
            return conf::reject(fmt::format("invalid hostname or wildcard \"{}\"", key));
        case MapTable::Added::Ok:
            break;
    }
    return {};
}

Applied add_entry(Compiler& compiler, Map& map, const Statement& entry) {
    if (entry.has_block) {
        return conf::reject("unexpected \"{\"");
    }
    if (entry.args.empty() && entry.name == "hostnames") {
        map.hostnames = true;
        return {};
    }
    if (entry.args.empty() && entry.name == "volatile") {
        map.is_volatile = true;
        return {};
    }
    if (entry.args.size() != 1) {
        return conf::reject("invalid number of the map parameters");
    }
    return add_value(compiler, map, entry);
}

Applied apply_map(Compiler& compiler, const Statement& statement) {
    auto map = std::make_shared<Map>();
    auto source = compiler.compile_string(statement.arg(1));
    if (!source) {
        return std::unexpected(std::move(source.error()));
    }
    map->source = std::move(*source);
    const std::string_view name = statement.arg(2);
    if (name.size() < 2 || name[0] != '$') {
        return conf::reject(fmt::format("invalid variable name \"{}\"", name));
    }
    for (const Statement& entry : statement.body) {
        if (Applied added = add_entry(compiler, *map, entry); !added) {
            conf::ConfError error = std::move(added.error());
            if (!error.positioned) {
                error.message += conf::place(entry.file, entry.line);
                error.positioned = true;
            }
            return std::unexpected(std::move(error));
        }
    }
    auto flags = conf::VariableFlags::Changeable;
    if (map->is_volatile) {
        flags = flags | conf::VariableFlags::NoCache;
    }
    auto variable = compiler.variables().define(name.substr(1), flags);
    if (!variable) {
        return std::unexpected(std::move(variable.error()));
    }
    (*variable)->flags = flags;
    (*variable)->get = &get_map;
    (*variable)->data = reinterpret_cast<std::uintptr_t>(map.get());
    (*variable)->owner = std::move(map);
    return {};
}

constexpr std::array kRows{
    conf::custom<apply_map>("map", conf::kHttp, conf::kTake2 | conf::kBlock | conf::kFreeForm, "",
                            "A variable whose value depends on the value of others.")
        .syntax("string $variable"),
    conf::number<&MapSettings::hash_max_size>(
        "map_hash_max_size", conf::kHttp, "2048",
        "Accepted; the tables of maps grow with their contents."),
    conf::number<&MapSettings::hash_bucket_size>(
        "map_hash_bucket_size", conf::kHttp, "64",
        "Accepted; the tables of maps grow with their contents."),
};

}  // namespace

const engine::Module map_module{.directives = {.module = "map", .rows = kRows}};

}  // namespace moongate::modules
