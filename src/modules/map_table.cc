// See map_table.h. The rules are those of nginx's ngx_hash_add_key and ngx_hash_find_combined.
#include "modules/map_table.h"

#include <algorithm>

namespace moongate::modules {

namespace {

bool is_valid_name(std::string_view key) {
    return std::ranges::count(key, '*') <= 1 && key.find("..") == std::string_view::npos &&
           key.find('\0') == std::string_view::npos;
}

}  // namespace

MapTable::Added MapTable::add(std::string_view key, conf::CompiledString value, bool hostnames) {
    const std::string lower = to_lower(key);
    const auto insert = [&value](Names& names, std::string_view name) {
        return names.emplace(name, value).second ? Added::Ok : Added::Conflict;
    };
    if (!hostnames) {
        return insert(exact_, lower);
    }
    const std::string_view name = lower;
    if (!is_valid_name(name)) {
        return Added::InvalidName;
    }
    if (name.size() > 1 && name.front() == '.') {
        const Added added = insert(exact_, name.substr(1));
        return added == Added::Ok ? insert(front_, name.substr(1)) : added;
    }
    if (name.size() > 2 && name.starts_with("*.")) {
        return insert(front_, name.substr(2));
    }
    if (name.size() > 2 && name.ends_with(".*")) {
        return insert(back_, name.substr(0, name.size() - 2));
    }
    return name.find('*') == std::string_view::npos ? insert(exact_, name) : Added::InvalidName;
}

void MapTable::add_regex(conf::BoundRegex regex, conf::CompiledString value) {
    patterns_.push_back({std::move(regex), std::move(value)});
}

const conf::CompiledString* MapTable::find(conf::VariableSource& source,
                                           std::string_view key) const {
    // Keys are short as a rule; long ones are lowered in the arena.
    constexpr std::size_t kStackBytes = 256;
    char stack[kStackBytes];
    char* lower = key.size() <= kStackBytes ? stack : source.arena().allocate_chars(key.size());
    std::ranges::transform(key, lower, ascii_lower);
    if (const auto* value = find_name({lower, key.size()}); value != nullptr) {
        return value;
    }
    if (key.empty()) {
        return nullptr;
    }
    for (const Pattern& pattern : patterns_) {
        const int matched = pattern.regex.match(source, key);
        if (matched != 0) {
            return matched > 0 ? &pattern.value : nullptr;
        }
    }
    return nullptr;
}

const conf::CompiledString* MapTable::find_name(std::string_view lower) const {
    if (const auto found = exact_.find(lower); found != exact_.end()) {
        return &found->second;
    }
    if (!front_.empty()) {
        for (std::size_t dot = lower.find('.'); dot != std::string_view::npos;
             dot = lower.find('.', dot + 1)) {
            if (const auto found = front_.find(lower.substr(dot + 1)); found != front_.end()) {
                return &found->second;
            }
        }
    }
    if (!back_.empty()) {
        for (std::size_t dot = lower.rfind('.'); dot != std::string_view::npos && dot != 0;
             dot = lower.rfind('.', dot - 1)) {
            if (const auto found = back_.find(lower.substr(0, dot)); found != back_.end()) {
                return &found->second;
            }
        }
    }
    return nullptr;
}

}  // namespace moongate::modules
