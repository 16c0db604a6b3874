// What a shared dictionary is made of: entries, the shards that hold them, each behind a lock, in
// order of use, and the budget of bytes that all shards draw on, so that one value may take most of
// a dictionary. Owned by SharedDict and included by it alone. A shard's members are called with its
// lock held; the budget is atomic.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lua/shared_dict.h"

namespace moongate::lua {

using DictMutex = std::mutex;

struct DictItem {  // of a list
    DictType type;
    double number;
    std::string text;
};

struct DictEntry {
    DictEntry* next_in_bucket = nullptr;
    DictEntry* newer = nullptr;
    DictEntry* older = nullptr;
    std::uint64_t hash = 0;
    std::uint64_t expires_ms = 0;  // 0: never
    std::uint64_t used_at = 0;     // use_stamp()
    DictType type = DictType::Nil;
    int flags = 0;
    double number = 0;
    std::string key;
    std::string text;
    std::unique_ptr<std::deque<DictItem>> list;
    std::size_t cost = 0;

    bool expired(std::uint64_t now_ms) const { return expires_ms != 0 && expires_ms <= now_ms; }
};

// Orders uses in different shards: exactly within a thread, by the millisecond between threads.
inline std::uint64_t use_stamp() {
    constexpr unsigned kCountBits = 22;
    thread_local std::uint64_t last = 0;
    const std::uint64_t turn = Clock::current().monotonic_ms() << kCountBits;
    last = last >= turn ? last + 1 : turn;
    return last;
}

// The bytes of a dictionary.
class DictBudget {
public:
    explicit DictBudget(std::size_t limit) : limit_(limit) {}

    std::size_t limit() const { return limit_; }
    std::size_t used() const { return used_.load(std::memory_order_relaxed); }
    bool take(std::size_t bytes) {
        std::size_t used = used_.load(std::memory_order_relaxed);
        do {
            if (bytes > limit_ - used) {
                return false;
            }
        } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
        return true;
    }
    void give(std::size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

private:
    const std::size_t limit_;
    std::atomic<std::size_t> used_ = 0;
};

struct alignas(64) SharedDict::Shard {
    mutable DictMutex mutex;
    std::vector<DictEntry*> buckets = std::vector<DictEntry*>(16, nullptr);
    std::size_t count = 0;
    std::size_t used = 0;
    DictBudget* budget = nullptr;
    DictEntry* newest = nullptr;
    DictEntry* oldest = nullptr;

    ~Shard() {
        while (oldest != nullptr) {
            remove(*oldest);
        }
    }

    DictEntry** slot(std::uint64_t hash, std::string_view key) {
        DictEntry** at = &buckets[hash & (buckets.size() - 1)];
        while (*at != nullptr && ((*at)->hash != hash || (*at)->key != key)) {
            at = &(*at)->next_in_bucket;
        }
        return at;
    }
    DictEntry* find(std::uint64_t hash, std::string_view key) {
        DictEntry* entry = *slot(hash, key);
        if (entry == newest && entry != nullptr) {
            entry->used_at = use_stamp();
        } else if (entry != nullptr) {
            unlink(*entry);
            link(*entry);
        }
        return entry;
    }
    void link(DictEntry& entry) {
        entry.used_at = use_stamp();
        entry.older = newest;
        entry.newer = nullptr;
        (newest != nullptr ? newest->newer : oldest) = &entry;
        newest = &entry;
    }
    void unlink(DictEntry& entry) {
        (entry.newer != nullptr ? entry.newer->older : newest) = entry.older;
        (entry.older != nullptr ? entry.older->newer : oldest) = entry.newer;
    }
    void remove(DictEntry& entry) {
        *slot(entry.hash, entry.key) = entry.next_in_bucket;
        unlink(entry);
        charge(entry, 0);
        --count;
        delete &entry;
    }
    DictEntry& insert(std::uint64_t hash, std::string_view key) {
        if (count >= buckets.size()) {
            std::vector<DictEntry*> larger(buckets.size() * 2, nullptr);
            for (DictEntry* entry : buckets) {
                while (entry != nullptr) {
                    DictEntry* next = std::exchange(entry->next_in_bucket, nullptr);
                    DictEntry*& head = larger[entry->hash & (larger.size() - 1)];
                    entry->next_in_bucket = head;
                    head = entry;
                    entry = next;
                }
            }
            buckets.swap(larger);
        }
        auto* entry = new DictEntry();
        entry->hash = hash;
        entry->key = key;
        DictEntry*& head = buckets[hash & (buckets.size() - 1)];
        entry->next_in_bucket = head;
        head = entry;
        ++count;
        link(*entry);
        return *entry;
    }
    // Drops up to `max` expired entries at the old end; stops at `keep`.
    void drop_expired(int max, const DictEntry* keep = nullptr) {
        const std::uint64_t now = Clock::current().unix_ms();
        while (max-- > 0 && oldest != nullptr && oldest != keep && oldest->expired(now)) {
            remove(*oldest);
        }
    }
    // The entry to drop next.
    DictEntry* victim(const DictEntry* keep) const {
        return oldest != nullptr && oldest == keep ? oldest->newer : oldest;
    }
    // `cost` is the entry's from now on. What it grows by was taken from the budget before.
    void charge(DictEntry& entry, std::size_t cost) {
        if (cost < entry.cost) {
            budget->give(entry.cost - cost);
        }
        used = used - entry.cost + cost;
        entry.cost = cost;
    }
};

}  // namespace moongate::lua
