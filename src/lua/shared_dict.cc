// Looking up, storing and dropping. Room is made in three steps: the budget has it; the key's own
// shard drops what it used least; or, where that shard holds too little, the whole dictionary is
// locked and the least recently used entries of all shards go.
#include "lua/shared_dict.h"

#include <xxhash.h>

#include "lua/shared_dict_shard.h"

namespace moongate::lua {
namespace {

using Entry = DictEntry;
using Item = DictItem;

constexpr std::size_t kShardBytes = 1024 * 1024;
constexpr std::size_t kMaxShards = 64;
constexpr std::size_t kPage = 4096;
constexpr int kAll = std::numeric_limits<int>::max();

std::uint64_t now_ms() {
    return Clock::current().unix_ms();
}

// What nginx's slabs and ngx_lua leave of a zone: they take the pool's head, a descriptor for each
// page, and a page each for two allocations of their own.
std::size_t usable(std::size_t bytes) {
    constexpr std::size_t kHead = 800;
    constexpr std::size_t kDescriptor = 32;
    constexpr std::size_t kOwnPages = 2;
    const std::size_t pages = (std::max(bytes, kHead) - kHead) / (kPage + kDescriptor);
    return (std::max(pages, kOwnPages + 1) - kOwnPages) * kPage;
}

// What an entry takes of the dictionary's size: whole powers of two, then pages, as nginx's slabs.
std::size_t cost_of(std::size_t key, std::size_t value) {
    constexpr std::size_t kOverhead = 68;  // of an entry in ngx_lua
    const std::size_t bytes = kOverhead + key + value;
    return bytes <= kPage / 2 ? std::bit_ceil(bytes) : (bytes + kPage - 1) / kPage * kPage;
}

bool expired(const Entry& entry, std::uint64_t now) {
    return entry.expired(now);
}

std::uint64_t deadline(std::int64_t ttl_ms) {
    return ttl_ms > 0 ? now_ms() + static_cast<std::uint64_t>(ttl_ms) : 0;
}

}  // namespace

SharedDict::SharedDict(std::string name, std::size_t bytes)
    : name_(std::move(name)), bytes_(bytes), budget_(std::make_unique<DictBudget>(usable(bytes))) {
    const std::size_t shards = std::clamp<std::size_t>(
        std::bit_floor(std::max<std::size_t>(bytes / kShardBytes, 1)), 1, kMaxShards);
    shard_mask_ = shards - 1;
    shards_ = std::make_unique<Shard[]>(shards);
    for (std::size_t i = 0; i < shards; ++i) {
        shards_[i].budget = budget_.get();
    }
}

SharedDict::~SharedDict() = default;

SharedDict::Shard& SharedDict::shard(std::uint64_t hash) const {
    return shards_[hash >> 48 & shard_mask_];
}

std::size_t SharedDict::free_space() const {
    return (budget_->limit() - budget_->used()) / kPage * kPage;
}

SharedDict::Room SharedDict::make_room(Shard& in, bool whole, std::size_t bytes, bool safe,
                                       const Entry* keep, bool& forcible) {
    in.drop_expired(2, keep);
    if (bytes + (keep != nullptr ? keep->cost : 0) > budget_->limit()) {
        return Room::None;
    }
    const std::uint64_t now = now_ms();
    const auto drop = [&](Shard& from, Entry& entry) {
        forcible = forcible || !expired(entry, now);
        from.remove(entry);
    };
    if (!whole) {
        const std::size_t share = budget_->limit() / (shard_mask_ + 1);
        while (!budget_->take(bytes)) {
            Entry* victim = in.victim(keep);
            // Large values, and shards that hold little: what others used least goes first.
            const bool own = bytes <= share / 8 && in.used >= share / 2;
            if (!own || victim == nullptr || (safe && !expired(*victim, now))) {
                return Room::InWhole;
            }
            drop(in, *victim);
        }
        return Room::Taken;
    }
    if (safe) {
        for (std::size_t i = 0; i <= shard_mask_; ++i) {
            shards_[i].drop_expired(kAll, keep);
        }
        return budget_->take(bytes) ? Room::Taken : Room::None;
    }
    while (!budget_->take(bytes)) {
        Shard* from = nullptr;
        Entry* victim = nullptr;
        for (std::size_t i = 0; i <= shard_mask_; ++i) {
            Entry* candidate = shards_[i].victim(keep);
            if (candidate != nullptr &&
                (victim == nullptr || candidate->used_at < victim->used_at)) {
                from = &shards_[i];
                victim = candidate;
            }
        }
        if (victim == nullptr) {
            return Room::None;
        }
        drop(*from, *victim);
    }
    return Room::Taken;
}

template <typename Change>
void SharedDict::change(Shard& in, Change change) {
    {
        const std::lock_guard lock(in.mutex);
        if (change(shard_mask_ == 0) != Room::InWhole) {
            return;
        }
    }
    // In order, and by threads that hold no shard yet: nobody waits for the other.
    std::vector<std::unique_lock<DictMutex>> locks;
    locks.reserve(shard_mask_ + 1);
    for (std::size_t i = 0; i <= shard_mask_; ++i) {
        locks.emplace_back(shards_[i].mutex);
    }
    change(true);
}

SharedDict::Got SharedDict::get(std::string_view key, char* to, std::size_t room,
                                bool stale) const {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    Got got;
    const std::lock_guard lock(in.mutex);
    const Entry* entry = in.find(hash, key);
    if (entry == nullptr) {
        return got;
    }
    got.stale = expired(*entry, now_ms());
    if (got.stale && !stale) {
        return Got{};
    }
    got.type = entry->type;
    got.number = entry->number;
    got.flags = entry->flags;
    if (entry->type == DictType::String) {
        got.size = entry->text.size();
        got.text = got.size <= room ? to : static_cast<char*>(std::malloc(got.size));
        if (got.size > 0) {
            std::memcpy(got.text, entry->text.data(), got.size);
        }
    }
    return got;
}

DictResult SharedDict::store(int op, std::string_view key, DictType type, std::string_view text,
                             double number, std::int64_t ttl_ms, int flags) {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    DictResult result;
    if (type == DictType::Nil && (op & (kAdd | kReplace)) != 0) {
        return {false, false, "attempt to add or replace nil values", false};
    }
    change(in, [&](bool whole) {
        Entry* entry = in.find(hash, key);
        const bool there = entry != nullptr && !expired(*entry, now_ms());
        if ((op & kReplace) != 0 && !there) {
            result = {false, result.forcible, "not found", true};
            return Room::Taken;
        }
        if ((op & kAdd) != 0 && there) {
            result = {false, result.forcible, "exists", true};
            return Room::Taken;
        }
        if (type == DictType::Nil) {
            if (entry != nullptr) {
                in.remove(*entry);
            }
            return Room::Taken;
        }
        const std::size_t cost = cost_of(key.size(), text.size());
        const std::size_t old_cost = entry != nullptr ? entry->cost : 0;
        if (cost > old_cost) {
            const Room room =
                make_room(in, whole, cost - old_cost, (op & kSafe) != 0, entry, result.forcible);
            if (room != Room::Taken) {
                result.ok = false;
                result.error = "no memory";
                return room;
            }
            result.ok = true;
            result.error = nullptr;
        }
        if (entry == nullptr) {
            entry = &in.insert(hash, key);
        }
        in.charge(*entry, cost);
        entry->type = type;
        entry->number = number;
        if (text.size() < entry->text.capacity() / 2) {
            entry->text = std::string(text);  // what it gave back to the budget is free indeed
        } else {
            entry->text.assign(text);
        }
        entry->list.reset();
        entry->flags = flags;
        entry->expires_ms = deadline(ttl_ms);
        return Room::Taken;
    });
    return result;
}

DictResult SharedDict::increment(std::string_view key, double& value, bool has_init, double init,
                                 std::int64_t init_ttl_ms) {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    DictResult result;
    change(in, [&](bool whole) {
        Entry* entry = in.find(hash, key);
        if (entry != nullptr && !expired(*entry, now_ms())) {
            if (entry->type != DictType::Number) {
                result = {false, result.forcible, "not a number", false};
                return Room::Taken;
            }
            entry->number += value;
            value = entry->number;
            result.ok = true;
            result.error = nullptr;
            return Room::Taken;
        }
        if (!has_init) {
            result = {false, result.forcible, "not found", false};
            return Room::Taken;
        }
        const std::size_t cost = cost_of(key.size(), 0);
        if (const std::size_t old_cost = entry != nullptr ? entry->cost : 0; cost > old_cost) {
            const Room room = make_room(in, whole, cost - old_cost, false, entry, result.forcible);
            if (room != Room::Taken) {
                result.ok = false;
                result.error = "no memory";
                return room;
            }
        }
        if (entry == nullptr) {
            entry = &in.insert(hash, key);
        }
        in.charge(*entry, cost);
        entry->type = DictType::Number;
        entry->text = {};
        entry->list.reset();
        entry->flags = 0;
        entry->number = init + value;
        entry->expires_ms = deadline(init_ttl_ms);
        value = entry->number;
        result.ok = true;
        result.error = nullptr;
        return Room::Taken;
    });
    return result;
}

std::optional<std::int64_t> SharedDict::ttl(std::string_view key) const {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    const std::lock_guard lock(in.mutex);
    const Entry* entry = *in.slot(hash, key);
    if (entry == nullptr) {
        return std::nullopt;
    }
    return entry->expires_ms == 0
               ? 0
               : static_cast<std::int64_t>(entry->expires_ms) - static_cast<std::int64_t>(now_ms());
}

bool SharedDict::expire(std::string_view key, std::int64_t ttl_ms) {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    const std::lock_guard lock(in.mutex);
    Entry* entry = *in.slot(hash, key);
    if (entry == nullptr) {
        return false;
    }
    entry->expires_ms = deadline(ttl_ms);
    return true;
}

void SharedDict::flush_all() {
    for (std::size_t i = 0; i <= shard_mask_; ++i) {
        const std::lock_guard lock(shards_[i].mutex);
        for (Entry* at = shards_[i].newest; at != nullptr; at = at->older) {
            at->expires_ms = 1;
        }
        // As ngx_lua: a few of them go at once, the others when room is needed.
        shards_[i].drop_expired(3);
    }
}

int SharedDict::flush_expired(int max) {
    int count = 0;
    const std::uint64_t now = now_ms();
    for (std::size_t i = 0; i <= shard_mask_; ++i) {
        const std::lock_guard lock(shards_[i].mutex);
        for (Entry* at = shards_[i].oldest; at != nullptr;) {
            if (max > 0 && count >= max) {
                return count;
            }
            Entry* next = at->newer;
            if (expired(*at, now)) {
                shards_[i].remove(*at);
                ++count;
            }
            at = next;
        }
    }
    return count;
}

std::vector<std::string> SharedDict::keys(int max) const {
    std::vector<std::string> found;
    const std::uint64_t now = now_ms();
    for (std::size_t i = 0; i <= shard_mask_; ++i) {
        const std::lock_guard lock(shards_[i].mutex);
        for (const Entry* at = shards_[i].oldest; at != nullptr; at = at->newer) {
            if (max > 0 && found.size() >= static_cast<std::size_t>(max)) {
                return found;
            }
            if (!expired(*at, now)) {
                found.push_back(at->key);
            }
        }
    }
    return found;
}

DictResult SharedDict::push(std::string_view key, DictType type, std::string_view text,
                            double number, bool front, std::int64_t& length) {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    DictResult result;
    change(in, [&](bool whole) {
        Entry* entry = in.find(hash, key);
        if (entry != nullptr && expired(*entry, now_ms())) {
            in.remove(*entry);
            entry = nullptr;
        }
        if (entry != nullptr && entry->type != DictType::List) {
            result = {false, false, "value not a list", false};
            return Room::Taken;
        }
        const std::size_t cost =
            cost_of(0, text.size()) + (entry == nullptr ? cost_of(key.size(), 0) : 0);
        const Room room = make_room(in, whole, cost, true, entry, result.forcible);
        if (room != Room::Taken) {
            result = {false, false, "no memory", false};
            return room;
        }
        if (entry == nullptr) {
            entry = &in.insert(hash, key);
            entry->type = DictType::List;
            entry->list = std::make_unique<std::deque<Item>>();
        }
        in.charge(*entry, entry->cost + cost);
        Item item{type, number, std::string(text)};
        if (front) {
            entry->list->push_front(std::move(item));
        } else {
            entry->list->push_back(std::move(item));
        }
        length = static_cast<std::int64_t>(entry->list->size());
        result = {};
        return Room::Taken;
    });
    return result;
}

DictResult SharedDict::pop(std::string_view key, bool front, DictValue& value) {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    const std::lock_guard lock(in.mutex);
    Entry* entry = in.find(hash, key);
    if (entry == nullptr || expired(*entry, now_ms())) {
        return {};
    }
    if (entry->type != DictType::List) {
        return {false, false, "value not a list", false};
    }
    Item item = front ? std::move(entry->list->front()) : std::move(entry->list->back());
    if (front) {
        entry->list->pop_front();
    } else {
        entry->list->pop_back();
    }
    in.charge(*entry, entry->cost - std::min(entry->cost, cost_of(0, item.text.size())));
    value.type = item.type;
    value.number = item.number;
    value.text = std::move(item.text);
    if (entry->list->empty()) {
        in.remove(*entry);
    }
    return {};
}

DictResult SharedDict::length(std::string_view key, std::int64_t& length) const {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    const std::lock_guard lock(in.mutex);
    const Entry* entry = in.find(hash, key);
    length = 0;
    if (entry == nullptr || expired(*entry, now_ms())) {
        return {};
    }
    if (entry->type != DictType::List) {
        return {false, false, "value not a list", false};
    }
    length = static_cast<std::int64_t>(entry->list->size());
    return {};
}

std::shared_ptr<const SharedDicts> open_shared_dicts(std::span<const SharedDictSettings> settings) {
    static std::mutex mutex;
    static std::unordered_map<std::string, std::weak_ptr<SharedDict>> all;
    const std::lock_guard lock(mutex);
    auto opened = std::make_shared<SharedDicts>();
    for (const SharedDictSettings& wanted : settings) {
        std::weak_ptr<SharedDict>& known = all[wanted.name];
        std::shared_ptr<SharedDict> dict = known.lock();
        if (dict == nullptr || dict->capacity() != wanted.bytes) {
            dict = std::make_shared<SharedDict>(wanted.name, wanted.bytes);
            known = dict;
        }
        opened->push_back(std::move(dict));
    }
    return opened;
}

}  // namespace moongate::lua
