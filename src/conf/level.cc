#include "conf/level.h"

#include <algorithm>
#include <utility>

#include "conf/registry.h"

namespace moongate::conf {
namespace {

// Stands before every settings struct.
struct alignas(16) Header {
    std::atomic<std::uint32_t> references{1};
    const SettingsInfo* info;

    explicit Header(const SettingsInfo& of) : info(&of) {}
};

Header* header_of(const void* settings) {
    return static_cast<Header*>(const_cast<void*>(settings)) - 1;
}

void* make_block(const SettingsInfo& info, const void* from) {
    auto* header = new (::operator new(sizeof(Header) + info.size)) Header(info);
    if (from != nullptr) {
        info.copy(header + 1, from);
    } else {
        info.create(header + 1);
    }
    return header + 1;
}

void add_reference(const void* settings) {
    header_of(settings)->references.fetch_add(1, std::memory_order_relaxed);
}

void drop_reference(const void* settings) {
    Header* header = header_of(settings);
    if (header->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        header->info->destroy(header + 1);
        header->~Header();
        ::operator delete(header);
    }
}

}  // namespace

std::shared_ptr<SettingsSet> SettingsSet::make(std::uint32_t count) {
    void* at = ::operator new(sizeof(SettingsSet) + count * sizeof(const void*));
    auto* set = new (at) SettingsSet(count);
    std::fill_n(set->slots(), count, nullptr);
    return {set, &SettingsSet::destroy};
}

void SettingsSet::destroy(SettingsSet* set) {
    for (std::size_t i = 0; i < set->count_; ++i) {
        if (set->slots()[i] != nullptr) {
            drop_reference(set->slots()[i]);
        }
    }
    set->~SettingsSet();
    ::operator delete(set);
}

Level::Level(const Registry& registry) : slots_(registry.settings().size()), unfrozen_(true) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (const SettingsInfo* info = registry.settings()[i]; info != nullptr) {
            slots_[i] = {make_block(*info, nullptr), true, true};
        }
    }
}

Level::Level(SettingsRef parent) : parent_(std::move(parent)), slots_(parent_->count()) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        slots_[i].settings = parent_->at(static_cast<int>(i));
    }
}

Level::~Level() {
    for (const Slot& slot : slots_) {
        if (slot.own) {
            drop_reference(slot.settings);
        }
    }
}

Level::Slot& Level::slot(const SettingsInfo& info) {
    return slots_[static_cast<std::size_t>(*info.slot)];
}

void* Level::edit(const SettingsInfo& info) {
    Slot& at = slot(info);
    if (!at.own) {
        at = {make_block(info, at.settings), true, true};
        unfrozen_ = true;
    }
    return const_cast<void*>(at.settings);
}

bool Level::changed(const SettingsInfo& info) const {
    return slots_[static_cast<std::size_t>(*info.slot)].changed;
}

bool Level::first(const void* key) {
    if (std::ranges::find(seen_, key) != seen_.end()) {
        return false;
    }
    seen_.push_back(key);
    return true;
}

SettingsRef Level::freeze() {
    if (unfrozen_) {
        auto set = SettingsSet::make(static_cast<std::uint32_t>(slots_.size()));
        for (std::size_t i = 0; i < slots_.size(); ++i) {
            Slot& slot = slots_[i];
            if (slot.settings != nullptr && !slot.own) {
                add_reference(slot.settings);
            }
            // An own struct's reference moves into the set.
            set->slots()[i] = slot.settings;
            slot.own = false;
        }
        parent_ = std::move(set);
        unfrozen_ = false;
    }
    return parent_;
}

}  // namespace moongate::conf
