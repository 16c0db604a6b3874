// The directive table of all modules: lookup by name, and the slots of their settings structs.
// Built once at start from the list in app/modules.cc, immutable afterwards. The rows must outlive
// it (they are constexpr arrays).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/directive.h"

namespace moongate::conf {

struct RegisteredDirective {
    const Directive* row;
    const ModuleDirectives* module;
};

class Registry {
public:
    explicit Registry(std::span<const ModuleDirectives> modules);
    Registry(const Registry&) = delete;
    Registry& operator=(const Registry&) = delete;

    // All rows of that name: a name may have several, for different contexts.
    std::span<const RegisteredDirective> find(std::string_view name) const;
    bool is_lua_block(std::string_view name) const;
    // What Level::first() is asked with: the same for all rows of a group.
    const void* level_key(const Directive& row) const;

    std::span<const ModuleDirectives> modules() const { return modules_; }
    // By slot; null for slots that belong to another registry.
    std::span<const SettingsInfo* const> settings() const { return settings_; }
    // The structs of modules()[n].
    std::span<const SettingsInfo* const> settings_of(std::size_t n) const { return by_module_[n]; }

private:
    std::vector<ModuleDirectives> modules_;
    std::vector<RegisteredDirective> rows_;  // sorted by name, in module order within a name
    std::unordered_map<std::string_view, std::span<const RegisteredDirective>> by_name_;
    std::unordered_map<std::string_view, const Directive*> groups_;  // the first row of each
    std::vector<const SettingsInfo*> settings_;
    std::vector<std::vector<const SettingsInfo*>> by_module_;
};

}  // namespace moongate::conf
