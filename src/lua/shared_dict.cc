#include "lua/shared_dict.h"

#include <xxhash.h>

#include <deque>
#include <mutex>

#include "base/clock.h"

namespace moongate::lua {
namespace {

constexpr std::size_t kShardBytes = 1024 * 1024;
constexpr std::size_t kMaxShards = 64;
constexpr std::size_t kPage = 4096;

struct Item {  // of a list
    DictType type;
    double number;
    std::string text;
};

struct Entry {
    Entry* next_in_bucket = nullptr;
    Entry* newer = nullptr;
    Entry* older = nullptr;
    std::uint64_t hash = 0;
    std::uint64_t expires_ms = 0;  // 0: never
    DictType type = DictType::Nil;
    int flags = 0;
    double number = 0;
    std::string key;
    std::string text;
    std::unique_ptr<std::deque<Item>> list;
    std::size_t cost = 0;
};

std::uint64_t now_ms() {
    return Clock::current().unix_ms();
}

// What an entry takes of the dictionary's size: whole powers of two, then pages, as nginx's slabs.
std::size_t cost_of(std::size_t key, std::size_t value) {
    constexpr std::size_t kOverhead = 96;
    const std::size_t bytes = kOverhead + key + value;
    return bytes <= kPage / 2 ? std::bit_ceil(bytes) : (bytes + kPage - 1) / kPage * kPage;
}

bool expired(const Entry& entry, std::uint64_t now) {
    return entry.expires_ms != 0 && entry.expires_ms <= now;
}

std::uint64_t deadline(std::int64_t ttl_ms) {
    return ttl_ms > 0 ? now_ms() + static_cast<std::uint64_t>(ttl_ms) : 0;
}

}  // namespace

struct alignas(64) SharedDict::Shard {
    mutable std::mutex mutex;
    std::vector<Entry*> buckets = std::vector<Entry*>(16, nullptr);
    std::size_t count = 0;
    std::size_t used = 0;
    std::size_t limit = 0;
    Entry* newest = nullptr;
    Entry* oldest = nullptr;

    ~Shard() {
        while (oldest != nullptr) {
            remove(*oldest);
        }
    }

    Entry** slot(std::uint64_t hash, std::string_view key) {
        Entry** at = &buckets[hash & (buckets.size() - 1)];
        while (*at != nullptr && ((*at)->hash != hash || (*at)->key != key)) {
            at = &(*at)->next_in_bucket;
        }
        return at;
    }
    Entry* find(std::uint64_t hash, std::string_view key) {
        Entry* entry = *slot(hash, key);
        if (entry != nullptr && entry != newest) {
            unlink(*entry);
            link(*entry);
        }
        return entry;
    }
    void link(Entry& entry) {
        entry.older = newest;
        entry.newer = nullptr;
        (newest != nullptr ? newest->newer : oldest) = &entry;
        newest = &entry;
    }
    void unlink(Entry& entry) {
        (entry.newer != nullptr ? entry.newer->older : newest) = entry.older;
        (entry.older != nullptr ? entry.older->newer : oldest) = entry.newer;
    }
    void remove(Entry& entry) {
        *slot(entry.hash, entry.key) = entry.next_in_bucket;
        unlink(entry);
        used -= entry.cost;
        --count;
        delete &entry;
    }
    Entry& insert(std::uint64_t hash, std::string_view key) {
        if (count >= buckets.size()) {
            std::vector<Entry*> larger(buckets.size() * 2, nullptr);
            for (Entry* entry : buckets) {
                while (entry != nullptr) {
                    Entry* next = std::exchange(entry->next_in_bucket, nullptr);
                    Entry*& head = larger[entry->hash & (larger.size() - 1)];
                    entry->next_in_bucket = head;
                    head = entry;
                    entry = next;
                }
            }
            buckets.swap(larger);
        }
        auto* entry = new Entry();
        entry->hash = hash;
        entry->key = key;
        Entry*& head = buckets[hash & (buckets.size() - 1)];
        entry->next_in_bucket = head;
        head = entry;
        ++count;
        link(*entry);
        return *entry;
    }
    // Drops up to `max` expired entries at the old end.
    void drop_expired(int max) {
        const std::uint64_t now = now_ms();
        while (max-- > 0 && oldest != nullptr && expired(*oldest, now)) {
            remove(*oldest);
        }
    }
    // Room for `bytes` more. `keep` is not dropped. False: there is none.
    bool make_room(std::size_t bytes, bool safe, const Entry* keep, bool& forcible) {
        drop_expired(2);
        if (bytes > limit) {
            return false;
        }
        const std::uint64_t now = now_ms();
        for (Entry* at = oldest; used + bytes > limit && at != nullptr;) {
            Entry* next = at->newer;
            if (at != keep) {
                if (!expired(*at, now)) {
                    if (safe) {
                        return false;
                    }
                    forcible = true;
                }
                remove(*at);
            }
            at = next;
        }
        return used + bytes <= limit;
    }
    void charge(Entry& entry, std::size_t cost) {
        used = used - entry.cost + cost;
        entry.cost = cost;
    }
};

SharedDict::SharedDict(std::string name, std::size_t bytes)
    : name_(std::move(name)), bytes_(bytes) {
    const std::size_t shards = std::clamp<std::size_t>(
        std::bit_floor(std::max<std::size_t>(bytes / kShardBytes, 1)), 1, kMaxShards);
    shard_mask_ = shards - 1;
    shards_ = std::make_unique<Shard[]>(shards);
    for (std::size_t i = 0; i < shards; ++i) {
        shards_[i].limit = bytes / shards;
    }
}

SharedDict::~SharedDict() = default;

SharedDict::Shard& SharedDict::shard(std::uint64_t hash) const {
    return shards_[hash >> 48 & shard_mask_];
}

std::size_t SharedDict::free_space() const {
    std::size_t free = 0;
    for (std::size_t i = 0; i <= shard_mask_; ++i) {
        const std::lock_guard lock(shards_[i].mutex);
        free += shards_[i].limit - shards_[i].used;
    }
    return free / kPage * kPage;
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
    const std::lock_guard lock(in.mutex);
    Entry* entry = in.find(hash, key);
    const bool there = entry != nullptr && !expired(*entry, now_ms());
    if ((op & kReplace) != 0 && !there) {
        return {false, false, "not found", true};
    }
    if ((op & kAdd) != 0 && there) {
        return {false, false, "exists", true};
    }
    if (type == DictType::Nil) {
        if (entry != nullptr) {
            in.remove(*entry);
        }
        return result;
    }
    const std::size_t cost = cost_of(key.size(), text.size());
    const std::size_t old_cost = entry != nullptr ? entry->cost : 0;
    if (cost > old_cost &&
        !in.make_room(cost - old_cost, (op & kSafe) != 0, entry, result.forcible)) {
        result.ok = false;
        result.error = "no memory";
        return result;
    }
    if (entry == nullptr) {
        // make_room may have dropped an expired entry of this very key: look again.
        entry = in.find(hash, key);
    }
    if (entry == nullptr) {
        entry = &in.insert(hash, key);
    }
    in.charge(*entry, cost);
    entry->type = type;
    entry->number = number;
    entry->text.assign(text);
    entry->list.reset();
    entry->flags = flags;
    entry->expires_ms = deadline(ttl_ms);
    return result;
}

DictResult SharedDict::increment(std::string_view key, double& value, bool has_init, double init,
                                 std::int64_t init_ttl_ms) {
    const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
    Shard& in = shard(hash);
    DictResult result;
    const std::lock_guard lock(in.mutex);
    Entry* entry = in.find(hash, key);
    if (entry == nullptr || expired(*entry, now_ms())) {
        if (!has_init) {
            return {false, false, "not found", false};
        }
        const std::size_t cost = cost_of(key.size(), 0);
        if (entry == nullptr) {
            if (!in.make_room(cost, false, nullptr, result.forcible)) {
                result.ok = false;
                result.error = "no memory";
                return result;
            }
            entry = &in.insert(hash, key);
        }
        in.charge(*entry, cost);
        entry->type = DictType::Number;
        entry->text.clear();
        entry->list.reset();
        entry->flags = 0;
        entry->number = init + value;
        entry->expires_ms = deadline(init_ttl_ms);
        value = entry->number;
        return result;
    }
    if (entry->type != DictType::Number) {
        return {false, false, "not a number", false};
    }
    entry->number += value;
    value = entry->number;
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
    const std::lock_guard lock(in.mutex);
    Entry* entry = in.find(hash, key);
    if (entry != nullptr && expired(*entry, now_ms())) {
        in.remove(*entry);
        entry = nullptr;
    }
    if (entry != nullptr && entry->type != DictType::List) {
        return {false, false, "value not a list", false};
    }
    const std::size_t cost =
        cost_of(0, text.size()) + (entry == nullptr ? cost_of(key.size(), 0) : 0);
    if (!in.make_room(cost, true, entry, result.forcible)) {
        return {false, false, "no memory", false};
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
