// Timers with a resolution of one millisecond: a hierarchical wheel, so that setting, moving and
// clearing a timer cost a few instructions however many there are. Level 0 has a slot a
// millisecond, each further level a slot for all of the level below; a timer moves down as its time
// comes near. Owned by a Reactor; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace moongate::async {

struct TimerLink {
    TimerLink* previous = nullptr;
    TimerLink* next = nullptr;
};

// Set in at most one wheel; clears itself when destroyed. `fire` is called on the wheel's thread,
// once for each set(), and may set the timer again or destroy it.
class Timer : private TimerLink {
public:
    using Fire = void (*)(void* context);

    Timer(Fire fire, void* context) : fire_(fire), context_(context) {}
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer() { clear(); }

    bool is_set() const { return next != nullptr; }
    std::uint64_t deadline_ms() const { return deadline_ms_; }
    void clear();

private:
    friend class TimerWheel;

    Fire fire_;
    void* context_;
    std::uint64_t deadline_ms_ = 0;
};

class TimerWheel {
public:
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};

    explicit TimerWheel(std::uint64_t now_ms);
    ~TimerWheel();
    TimerWheel(const TimerWheel&) = delete;
    TimerWheel& operator=(const TimerWheel&) = delete;

    // (Re)sets the timer. A deadline in the past fires at the next advance().
    void set(Timer& timer, std::uint64_t deadline_ms);

    // Fires every timer due at or before `now_ms`, in the order of their deadlines.
    void advance(std::uint64_t now_ms);

    // A time at which advance() has something to do: never later than the next deadline. kNever
    // without timers.
    std::uint64_t next_ms() const;

private:
    static constexpr int kLevels = 5;
    static constexpr int kBits = 8;
    static constexpr int kSlots = 1 << kBits;

    struct Level {
        std::array<TimerLink, kSlots> slots;
        std::array<std::uint64_t, kSlots / 64> used{};
    };

    void insert(Timer& timer);
    void cascade(int level);
    void fire_slot(int slot);
    // Distance from `from` to the next used slot of the level, going round; -1 where none is used.
    static int next_used(const Level& level, int from);

    std::array<Level, kLevels> levels_;
    std::uint64_t now_ms_;
};

}  // namespace moongate::async
