// The settings of one block (main, http, a server, a location, an if). A module's settings are a
// plain copyable struct; its place in every level is the struct type's slot. Inheritance is
// copy-on-write: a level shares its parent's structs, and the first directive of a module at a
// level copies that module's struct, so a server that sets nothing costs nothing. A Level is under
// construction and belongs to the compiling thread; a SettingsSet is frozen, shared by all workers
// and freed by whoever lets go last.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

namespace moongate::conf {

class Registry;

// Position of S in every SettingsSet; assigned when the first registry that names S is built, then
// constant.
template <class S>
inline int settings_slot = -1;

// How to make, copy and end a settings struct whose type is not known.
struct SettingsInfo {
    std::size_t size;
    std::size_t align;
    void (*create)(void* at);
    void (*copy)(void* at, const void* from);
    void (*destroy)(void* at);
    int* slot;
};

template <class S>
inline constexpr SettingsInfo settings_info{
    sizeof(S),
    alignof(S),
    [](void* at) { new (at) S(); },
    [](void* at, const void* from) { new (at) S(*static_cast<const S*>(from)); },
    [](void* at) { static_cast<S*>(at)->~S(); },
    &settings_slot<S>,
};

// Frozen. The pointers stand behind the object, so get() is one indexed load.
class SettingsSet {
public:
    SettingsSet(const SettingsSet&) = delete;
    SettingsSet& operator=(const SettingsSet&) = delete;

    template <class S>
    const S& get() const {
        return *static_cast<const S*>(slots()[settings_slot<S>]);
    }
    // Null where the registry does not know the struct.
    const void* at(int slot) const {
        return slot >= 0 && static_cast<std::uint32_t>(slot) < count_ ? slots()[slot] : nullptr;
    }
    std::size_t count() const { return count_; }

private:
    friend class Level;
    explicit SettingsSet(std::uint32_t count) : count_(count) {}
    ~SettingsSet() = default;
    const void* const* slots() const { return reinterpret_cast<const void* const*>(this + 1); }
    const void** slots() { return reinterpret_cast<const void**>(this + 1); }
    static std::shared_ptr<SettingsSet> make(std::uint32_t count);
    static void destroy(SettingsSet* set);

    std::uint64_t count_;
};

using SettingsRef = std::shared_ptr<const SettingsSet>;

class Level {
public:
    // A root: every struct of the registry as its constructor leaves it.
    explicit Level(const Registry& registry);
    // A child that shares all of `parent`.
    explicit Level(SettingsRef parent);
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level();

    // As it stands now: this level's or the inherited one.
    template <class S>
    const S& get() const {
        return *static_cast<const S*>(look(settings_slot<S>));
    }
    // This level's own copy, made at the first call.
    template <class S>
    S& edit() {
        return *static_cast<S*>(edit(settings_info<S>));
    }
    void* edit(const SettingsInfo& info);
    // Whether this level has its own copy.
    bool changed(const SettingsInfo& info) const;

    // True at the first call with this key at this level; keys are addresses of rows or of group
    // names.
    bool first(const void* key);

    // The parent's set itself where nothing was changed. Later edits copy again; freeze() once more
    // to see them.
    SettingsRef freeze();

private:
    struct Slot {
        const void* settings = nullptr;
        bool own = false;      // this level holds the only reference
        bool changed = false;  // this level has or had its own copy
    };
    Slot& slot(const SettingsInfo& info);
    const void* look(int slot) const { return slots_[static_cast<std::size_t>(slot)].settings; }

    SettingsRef parent_;
    std::vector<Slot> slots_;
    std::vector<const void*> seen_;
    bool unfrozen_ = false;
};

}  // namespace moongate::conf
