#include "conf/variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace moongate::conf {
namespace {

// As nginx: a chain of variables that ask for each other ends here.
constexpr std::uint16_t kMaxDepth = 100;

// A family member's name with what its get function reads, in one allocation of the table.
struct OwnedPrefixName {
    std::string name;
    PrefixName view;
};

bool has_upper(std::string_view name) {
    bool upper = false;
    for (const char c : name) {
        upper |= c >= 'A' && c <= 'Z';
    }
    return upper;
}

// Calls `use` with the lower-case form, which needs no heap for names of a usual length.
template <class Use>
auto with_lower(std::string_view name, Use use) {
    if (!has_upper(name)) [[likely]] {
        return use(name);
    }
    char buffer[256];
    if (name.size() <= sizeof(buffer)) {
        for (std::size_t i = 0; i < name.size(); ++i) {
            buffer[i] = ascii_lower(name[i]);
        }
        return use(std::string_view(buffer, name.size()));
    }
    const std::string lower = to_lower(name);
    return use(std::string_view(lower));
}

}  // namespace

void VariableTable::add(std::span<const VariableRow> rows) {
    for (const VariableRow& row : rows) {
        const std::size_t at = entry(to_lower(row.name));
        Variable& variable = variables_[at];
        variable.get = row.get;
        variable.set = row.set;
        variable.data = row.data;
        variable.flags = row.flags;
        variable.defined = true;
        if (has(row.flags, VariableFlags::Prefix)) {
            families_.push_back({variable.name, at});
        }
    }
}

std::size_t VariableTable::entry(std::string_view lower_name) {
    const auto found = by_name_.find(lower_name);
    if (found != by_name_.end()) {
        return found->second;
    }
    variables_.emplace_back().name = std::string(lower_name);
    by_name_.emplace(std::string(lower_name), variables_.size() - 1);
    return variables_.size() - 1;
}

Expected<Variable*> VariableTable::define(std::string_view name, VariableFlags flags) {
    if (name.empty()) {
        return reject("invalid variable name \"$\"");
    }
    Variable& variable = variables_[entry(to_lower(name))];
    if (variable.defined && !variable.from_family) {
        if (!has(variable.flags, VariableFlags::Changeable)) {
            return reject(fmt::format("the duplicate \"{}\" variable", name));
        }
        if (!has(flags, VariableFlags::Weak)) {
            variable.flags =
                static_cast<VariableFlags>(static_cast<unsigned>(variable.flags) &
                                           ~static_cast<unsigned>(VariableFlags::Weak));
        }
        return &variable;
    }
    variable.get = nullptr;
    variable.set = nullptr;
    variable.data = 0;
    variable.flags = flags;
    variable.defined = true;
    variable.from_family = false;
    return &variable;
}

int VariableTable::index(std::string_view name) {
    const std::size_t at = entry(to_lower(name));
    Variable& variable = variables_[at];
    if (!variable.defined) {
        resolve_family(variable);
    }
    if (variable.index < 0) {
        variable.index = static_cast<int>(indexed_.size());
        indexed_.push_back(at);
    }
    return variable.index;
}

void VariableTable::resolve_family(Variable& variable) const {
    const Variable* of = family(variable.name);
    if (of == nullptr) {
        return;
    }
    auto owned = std::make_shared<OwnedPrefixName>();
    owned->name = variable.name;
    owned->view = {owned->name, std::string_view(owned->name).substr(of->name.size()), of->data};
    variable.get = of->get;
    variable.set = of->set;
    variable.data = reinterpret_cast<std::uintptr_t>(&owned->view);
    variable.flags = static_cast<VariableFlags>(static_cast<unsigned>(of->flags) &
                                                ~static_cast<unsigned>(VariableFlags::Prefix));
    variable.defined = true;
    variable.from_family = true;
    variable.owner = std::move(owned);
}

Applied VariableTable::check() const {
    for (const std::size_t at : indexed_) {
        if (!variables_[at].defined) {
            return std::unexpected(
                ConfError::unplaced(fmt::format("unknown \"{}\" variable", variables_[at].name)));
        }
    }
    return {};
}

const Variable* VariableTable::find(std::string_view name) const {
    return with_lower(name, [this](std::string_view lower) -> const Variable* {
        const auto found = by_name_.find(lower);
        if (found == by_name_.end()) {
            return nullptr;
        }
        const Variable& variable = variables_[found->second];
        const bool hidden = !variable.defined || has(variable.flags, VariableFlags::NoHash) ||
                            has(variable.flags, VariableFlags::Prefix);
        return hidden ? nullptr : &variable;
    });
}

const Variable* VariableTable::family(std::string_view name) const {
    const char first = name.empty() ? '\0' : ascii_lower(name.front());
    const Family* best = nullptr;
    for (const Family& family : families_) {
        if (family.prefix.front() == first && starts_with_ignore_case(name, family.prefix) &&
            (best == nullptr || family.prefix.size() > best->prefix.size())) {
            best = &family;
        }
    }
    return best == nullptr ? nullptr : &variables_[best->at];
}

VariableValue* VariableSource::values() {
    if (values_ == nullptr) {
        // One more than needed, so that an empty table does not look unallocated.
        values_ = arena_->make_array<VariableValue>(table_->size() + 1).data();
    }
    return values_;
}

void VariableSource::copy_values(const VariableSource& parent) {
    if (parent.values_ != nullptr) {
        std::copy_n(parent.values_, table_->size(), values());
    }
}

const VariableValue& VariableSource::compute(int index) {
    VariableValue& value = values()[index];
    const Variable& variable = table_->at(index);
    if (variable.get == nullptr) {
        // A plain changeable variable: what was assigned, or nothing yet.
        if (!value.valid) {
            value.set_missing();
        }
        return value;
    }
    VariableValue fresh;
    if (depth_ >= kMaxDepth) {
        fresh.set_missing();
    } else {
        ++depth_;
        variable.get(*request_, variable.data, fresh);
        --depth_;
    }
    if (!fresh.valid) {
        fresh.set_missing();
    }
    fresh.no_cache = fresh.no_cache || has(variable.flags, VariableFlags::NoCache);
    value = fresh;
    return value;
}

const VariableValue& VariableSource::cached_variable(int index) {
    const VariableValue& value = values()[index];
    return value.valid || value.not_found ? value : compute(index);
}

void VariableSource::assign(int index, std::string_view text) {
    const Variable& variable = table_->at(index);
    if (variable.set != nullptr) {
        variable.set(*request_, variable.data, text);
        return;
    }
    store(index, text);
}

void VariableSource::store(int index, std::string_view text) {
    VariableValue& value = values()[index];
    value.set(text);
    value.no_cache = false;
}

void VariableSource::forget(int index) {
    if (values_ != nullptr) {
        values_[index] = {};
    }
}

void VariableSource::assign_missing(int index) {
    VariableValue& value = values()[index];
    value.set_missing();
    value.no_cache = false;
}

const VariableValue& VariableSource::by_name(std::string_view name, VariableValue& storage) {
    storage = {};
    if (const Variable* known = table_->find(name); known != nullptr) {
        if (known->index >= 0) {
            return variable(known->index);
        }
        if (known->get != nullptr && depth_ < kMaxDepth) {
            ++depth_;
            known->get(*request_, known->data, storage);
            --depth_;
        }
    } else if (const Variable* of = table_->family(name); of != nullptr && of->get != nullptr) {
        char* lower = arena_->allocate_chars(name.size());
        if (!name.empty()) {
            std::memcpy(lower, name.data(), name.size());
        }
        lower_in_place(lower, name.size());
        const std::string_view kept(lower, name.size());
        const auto* member = arena_->make<PrefixName>(kept, kept.substr(of->name.size()), of->data);
        if (depth_ < kMaxDepth) {
            ++depth_;
            of->get(*request_, reinterpret_cast<std::uintptr_t>(member), storage);
            --depth_;
        }
    }
    if (!storage.valid) {
        storage.set_missing();
    }
    return storage;
}

}  // namespace moongate::conf
