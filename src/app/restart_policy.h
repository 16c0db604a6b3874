// When a dead engine is started again: at once, since every millisecond counts for those who wait
// in the listen queue; only one that keeps dying within a moment of its start is given pauses, so
// that a broken configuration or a full machine is not made worse by a loop of forks. Pure
// arithmetic, no clock of its own.
#pragma once

#include <algorithm>
#include <chrono>

namespace moongate::app {

class RestartPolicy {
public:
    using Milliseconds = std::chrono::milliseconds;
    static constexpr Milliseconds kMoment{1000};
    static constexpr int kFreeRestarts = 3;
    static constexpr Milliseconds kFirstPause{100};
    static constexpr Milliseconds kLongestPause{5000};

    // How long to wait before starting an engine again that lived for `lifetime`.
    Milliseconds pause_after(Milliseconds lifetime) {
        if (lifetime >= kMoment) {
            early_deaths_ = 0;
            return Milliseconds{0};
        }
        ++early_deaths_;
        if (early_deaths_ <= kFreeRestarts) {
            return Milliseconds{0};
        }
        const int doublings = std::min(early_deaths_ - kFreeRestarts - 1, 10);
        return std::min(kFirstPause * (1 << doublings), kLongestPause);
    }

    void reset() { early_deaths_ = 0; }

private:
    int early_deaths_ = 0;
};

}  // namespace moongate::app
