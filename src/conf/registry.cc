#include "conf/registry.h"

#include <algorithm>
#include <mutex>
#include <tuple>

namespace moongate::conf {
namespace {

// Slots are process-wide, so that settings_slot<S> means the same in every registry.
int take_slot(int* slot) {
    static std::mutex mutex;
    static int next = 0;
    const std::lock_guard lock(mutex);
    if (*slot < 0) {
        *slot = next++;
    }
    return *slot;
}

}  // namespace

Registry::Registry(std::span<const ModuleDirectives> modules)
    : modules_(modules.begin(), modules.end()), by_module_(modules.size()) {
    const auto add_settings = [this](const SettingsInfo* info,
                                     std::vector<const SettingsInfo*>& list) {
        if (info == nullptr) {
            return;
        }
        const auto slot = static_cast<std::size_t>(take_slot(info->slot));
        if (settings_.size() <= slot) {
            settings_.resize(slot + 1);
        }
        settings_[slot] = info;
        if (std::ranges::find(list, info) == list.end()) {
            list.push_back(info);
        }
    };
    for (std::size_t i = 0; i < modules_.size(); ++i) {
        for (const Directive& row : modules_[i].rows) {
            rows_.push_back({&row, &modules_[i]});
            add_settings(row.settings, by_module_[i]);
            if (!row.group_text.empty()) {
                groups_.emplace(row.group_text, &row);
            }
        }
        for (const SettingsInfo* info : modules_[i].more_settings) {
            add_settings(info, by_module_[i]);
        }
    }
    // Module order within a name: both the modules and a module's rows stand in one array.
    std::ranges::sort(rows_, {}, [](const RegisteredDirective& entry) {
        return std::tuple(entry.row->name, entry.module, entry.row);
    });
    for (std::size_t from = 0; from < rows_.size();) {
        std::size_t to = from + 1;
        while (to < rows_.size() && rows_[to].row->name == rows_[from].row->name) {
            ++to;
        }
        by_name_.emplace(rows_[from].row->name, std::span(rows_).subspan(from, to - from));
        from = to;
    }
}

std::span<const RegisteredDirective> Registry::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? std::span<const RegisteredDirective>() : found->second;
}

bool Registry::is_lua_block(std::string_view name) const {
    return std::ranges::any_of(find(name), [](const RegisteredDirective& entry) {
        return (entry.row->arity & kLuaBlock) != 0;
    });
}

const void* Registry::level_key(const Directive& row) const {
    const auto found = groups_.find(row.group_text);
    return found == groups_.end() ? &row : found->second;
}

}  // namespace moongate::conf
