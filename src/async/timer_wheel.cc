#include "async/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace moongate::async {
namespace {

void make_empty(TimerLink& head) {
    head.previous = head.next = &head;
}
bool is_empty(const TimerLink& head) {
    return head.next == &head;
}

void unlink(TimerLink& link) {
    link.previous->next = link.next;
    link.next->previous = link.previous;
    link.previous = link.next = nullptr;
}

void append(TimerLink& head, TimerLink& link) {
    link.previous = head.previous;
    link.next = &head;
    head.previous->next = &link;
    head.previous = &link;
}

// Moves all of `from` behind the empty `to`.
void take_all(TimerLink& from, TimerLink& to) {
    make_empty(to);
    if (!is_empty(from)) {
        to.next = from.next;
        to.previous = from.previous;
        to.next->previous = &to;
        to.previous->next = &to;
        make_empty(from);
    }
}

}  // namespace

void Timer::clear() {
    if (is_set()) {
        unlink(*this);
    }
}

TimerWheel::TimerWheel(std::uint64_t now_ms) : now_ms_(now_ms) {
    for (Level& level : levels_) {
        for (TimerLink& slot : level.slots) {
            make_empty(slot);
        }
    }
}

TimerWheel::~TimerWheel() {
    for (Level& level : levels_) {
        for (TimerLink& slot : level.slots) {
            while (!is_empty(slot)) {
                unlink(*slot.next);
            }
        }
    }
}

void TimerWheel::set(Timer& timer, std::uint64_t deadline_ms) {
    timer.clear();
    timer.deadline_ms_ = deadline_ms;
    insert(timer);
}

void TimerWheel::insert(Timer& timer) {
    // The slot of now_ms_ itself has been fired already: what is due goes to the next one.
    constexpr std::uint64_t kSpan = std::uint64_t{1} << (kLevels * kBits);
    const std::uint64_t due = std::clamp(timer.deadline_ms_, now_ms_ + 1, now_ms_ + kSpan - 1);
    int level = 0;
    while (level < kLevels - 1 &&
           (due >> ((level + 1) * kBits)) != (now_ms_ >> ((level + 1) * kBits))) {
        ++level;
    }
    const auto slot = static_cast<int>((due >> (level * kBits)) & (kSlots - 1));
    append(levels_[level].slots[slot], timer);
    levels_[level].used[slot / 64] |= std::uint64_t{1} << (slot % 64);
}

void TimerWheel::cascade(int level) {
    if (level >= kLevels) {
        return;
    }
    const auto slot = static_cast<int>((now_ms_ >> (level * kBits)) & (kSlots - 1));
    if (slot == 0) {
        cascade(level + 1);
    }
    TimerLink pending;
    take_all(levels_[level].slots[slot], pending);
    levels_[level].used[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
    while (!is_empty(pending)) {
        auto& timer = static_cast<Timer&>(*pending.next);
        unlink(timer);
        if (timer.deadline_ms_ <= now_ms_) {
            // Due exactly now: into the slot that advance() fires next.
            const auto now_slot = static_cast<int>(now_ms_ & (kSlots - 1));
            append(levels_[0].slots[now_slot], timer);
            levels_[0].used[now_slot / 64] |= std::uint64_t{1} << (now_slot % 64);
        } else {
            insert(timer);
        }
    }
}

void TimerWheel::fire_slot(int slot) {
    Level& level = levels_[0];
    level.used[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
    TimerLink pending;
    take_all(level.slots[slot], pending);
    while (!is_empty(pending)) {
        auto& timer = static_cast<Timer&>(*pending.next);
        unlink(timer);
        if (timer.deadline_ms_ > now_ms_) {
            insert(timer);  // farther away than the wheel reaches: another round
        } else {
            timer.fire_(timer.context_);
        }
    }
}

void TimerWheel::advance(std::uint64_t now_ms) {
    while (now_ms_ < now_ms) {
        const std::uint64_t next = next_ms();
        if (next > now_ms) {
            now_ms_ = now_ms;
            return;
        }
        now_ms_ = std::max(next, now_ms_ + 1);
        const auto slot = static_cast<int>(now_ms_ & (kSlots - 1));
        if (slot == 0) {
            cascade(1);
        }
        fire_slot(slot);
    }
}

int TimerWheel::next_used(const Level& level, int from) {
    for (int distance = 0; distance < kSlots;) {
        const int slot = (from + distance) & (kSlots - 1);
        const std::uint64_t bits = level.used[slot / 64] >> (slot % 64);
        if (bits != 0) {
            const int found = distance + std::countr_zero(bits);
            return found < kSlots ? found : -1;
        }
        distance += 64 - (slot % 64);
    }
    return -1;
}

std::uint64_t TimerWheel::next_ms() const {
    std::uint64_t next = kNever;
    for (int i = 0; i < kLevels; ++i) {
        const std::uint64_t unit = std::uint64_t{1} << (i * kBits);
        const std::uint64_t index = now_ms_ >> (i * kBits);
        // A used bit may be stale (its timers were cleared): waking once too often is all that
        // costs.
        const int distance = next_used(levels_[i], static_cast<int>((index + 1) & (kSlots - 1)));
        if (distance >= 0) {
            next = std::min(next, (index + 1 + static_cast<std::uint64_t>(distance)) * unit);
        }
    }
    return next;
}

}  // namespace moongate::async
