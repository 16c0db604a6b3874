// SharedDict: a lua_shared_dict. Process-wide, shared by all workers and kept over reloads as long
// as its name and size stay. Keys are spread over shards with a lock each; a shard keeps its
// entries in order of use. The memory is the whole dictionary's: when it is full, expired entries
// go first, then the least recently used. Source: lua-nginx-module's documentation of
// ngx.shared.DICT. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lua/settings.h"

namespace moongate::lua {

// Lua's type numbers, as resty.core passes them.
enum class DictType : int { Nil = 0, Boolean = 1, Number = 3, String = 4, List = 5 };

struct DictValue {
    DictType type = DictType::Nil;
    double number = 0;  // and booleans
    std::string text;
    int flags = 0;
    bool stale = false;
};

struct DictResult {
    bool ok = true;
    bool forcible = false;        // valid entries of others were dropped for room
    const char* error = nullptr;  // a literal
    bool declined = false;        // the operation's condition did not hold
};

class DictBudget;
struct DictEntry;

class SharedDict {
public:
    explicit SharedDict(std::string name, std::size_t bytes);
    ~SharedDict();
    SharedDict(const SharedDict&) = delete;
    SharedDict& operator=(const SharedDict&) = delete;

    enum Op : int { kAdd = 1, kReplace = 2, kSafe = 4 };

    const std::string& name() const { return name_; }
    std::size_t capacity() const { return bytes_; }
    std::size_t free_space() const;

    // Type Nil: not there (or expired, unless `stale`). `text` goes to `to` where it fits `room`;
    // else into malloc()ed memory that the caller frees.
    struct Got {
        DictType type = DictType::Nil;
        double number = 0;
        int flags = 0;
        bool stale = false;
        char* text = nullptr;
        std::size_t size = 0;
    };
    Got get(std::string_view key, char* to, std::size_t room, bool stale) const;
    // Type Nil deletes.
    DictResult store(int op, std::string_view key, DictType type, std::string_view text,
                     double number, std::int64_t ttl_ms, int flags);
    DictResult increment(std::string_view key, double& value, bool has_init, double init,
                         std::int64_t init_ttl_ms);
    // Milliseconds left, 0: for ever; nothing: no such key.
    std::optional<std::int64_t> ttl(std::string_view key) const;
    bool expire(std::string_view key, std::int64_t ttl_ms);
    void flush_all();
    int flush_expired(int max);
    std::vector<std::string> keys(int max) const;
    // Lists. push: the new length, or an error.
    DictResult push(std::string_view key, DictType type, std::string_view text, double number,
                    bool front, std::int64_t& length);
    DictResult pop(std::string_view key, bool front, DictValue& value);
    DictResult length(std::string_view key, std::int64_t& length) const;

private:
    struct Shard;
    // InWhole: to be done again with all shards locked.
    enum class Room { Taken, None, InWhole };
    // Takes `bytes` more from the budget; `keep` is not dropped. `whole`: all shards are locked.
    Room make_room(Shard& in, bool whole, std::size_t bytes, bool safe, const DictEntry* keep,
                   bool& forcible);
    // Runs change(whole) with `in` locked and, where it answers InWhole, with all shards locked.
    template <typename Change>
    void change(Shard& in, Change change);
    Shard& shard(std::uint64_t hash) const;

    std::string name_;
    std::size_t bytes_;
    std::unique_ptr<DictBudget> budget_;
    std::size_t shard_mask_ = 0;
    std::unique_ptr<Shard[]> shards_;
};

using SharedDicts = std::vector<std::shared_ptr<SharedDict>>;

// The dictionaries that the configuration names: existing ones where name and size are the same.
std::shared_ptr<const SharedDicts> open_shared_dicts(std::span<const SharedDictSettings> settings);

}  // namespace moongate::lua
