// The watchdog thread: looks at every worker's guard some 25 times a second and steps in when one
// run of Lua lasts longer than its limit: hook, then jumps, then the report that the worker is
// stuck (guard.h). Time that the whole process was not running (a suspended machine, a debugger)
// does not count.
#include "lua/watchdog.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "lua/guard.h"

namespace moongate::lua {
namespace {

using Time = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTick{40};
constexpr milliseconds kShortestTick{2};
// From the hook to the first jump: interpreted code meets the hook within a microsecond.
constexpr milliseconds kHookTime{10};
constexpr milliseconds kJumpPause{1};
// A run is stuck when it lasts so much longer than its limit, or twice the limit if that is more.
constexpr milliseconds kLeastStuckTime{1000};

struct Watched {
    WorkerGuard* guard = nullptr;
    pthread_t thread{};
    std::uint64_t serial = 0;
    Time::time_point looked_at{};
    milliseconds held{};
    milliseconds hooked_at{};
    bool reported = false;
};

class Watchdog {
public:
    void add(WorkerGuard& guard) {
        const std::lock_guard lock(mutex_);
        workers_.push_back({.guard = &guard, .thread = ::pthread_self()});
        if (!thread_.joinable()) {
            stopping_ = false;
            thread_ = std::thread([this] { run(); });
        }
    }

    void remove(WorkerGuard& guard) {
        std::thread ended;
        {
            const std::lock_guard lock(mutex_);
            std::erase_if(workers_, [&guard](const Watched& w) { return w.guard == &guard; });
            if (!workers_.empty()) {
                return;
            }
            stopping_ = true;
            ended = std::move(thread_);
        }
        wake_.notify_all();
        if (ended.joinable()) {
            ended.join();
        }
    }

    std::function<void(std::uint64_t)> on_stuck;
    std::atomic<bool> restarts_calls = true;

private:
    void run() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        std::unique_lock lock(mutex_);
        while (!stopping_) {
            const Time::time_point now = Time::now();
            milliseconds pause = kTick;
            for (Watched& worker : workers_) {
                pause = std::min(pause, look_at(worker, now));
            }
            wake_.wait_for(lock, pause);
        }
    }

    // Returns how long this worker may be left alone.
    milliseconds look_at(Watched& worker, Time::time_point now) {
        WorkerGuard& guard = *worker.guard;
        const std::uint64_t serial = guard.serial.load(std::memory_order_relaxed);
        const milliseconds limit(guard.limit_ms.load(std::memory_order_relaxed));
        // Short limits are looked at more often.
        const milliseconds tick =
            limit.count() == 0 ? kTick : std::clamp(limit / 4, kShortestTick, kTick);
        if ((serial & 1) == 0 || limit.count() == 0) {
            worker.serial = 0;
            return tick;
        }
        if (serial != worker.serial) {
            worker.serial = serial;
            worker.looked_at = now;
            worker.held = {};
            worker.hooked_at = {};
            worker.reported = false;
            return tick;
        }
        const auto since = std::chrono::duration_cast<milliseconds>(now - worker.looked_at);
        worker.looked_at += since;
        worker.held += std::min(since, 2 * kTick);
        if (worker.held < limit) {
            return std::min(limit - worker.held, tick);
        }
        return step_in(worker, limit);
    }

    milliseconds step_in(Watched& worker, milliseconds limit) {
        WorkerGuard& guard = *worker.guard;
        if (guard.target.load(std::memory_order_relaxed) != worker.serial) {
            guard.jump.store(false, std::memory_order_relaxed);
            guard.target.store(worker.serial, std::memory_order_relaxed);
        }
        const bool hooked = guard.hooked.load(std::memory_order_relaxed) == worker.serial;
        if (hooked && worker.hooked_at.count() == 0) {
            worker.hooked_at = worker.held;
        }
        if (hooked && worker.held < worker.hooked_at + kHookTime) {
            return kHookTime;
        }
        guard.jump.store(hooked, std::memory_order_relaxed);
        ::pthread_kill(worker.thread, kGuardSignal);
        const milliseconds stuck = limit + std::max(limit, kLeastStuckTime);
        if (worker.held < stuck) {
            return kJumpPause;
        }
        if (!worker.reported) {
            worker.reported = true;
            if (on_stuck) {
                on_stuck(static_cast<std::uint64_t>(worker.held.count()));
            }
        }
        return kTick;
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<Watched> workers_;
    std::thread thread_;
    bool stopping_ = false;
};

Watchdog& watchdog() {
    static Watchdog one;
    return one;
}

}  // namespace

WatchedWorker::WatchedWorker() {
    install_guard_signal(watchdog().restarts_calls);
    watchdog().add(this_guard());
}

WatchedWorker::~WatchedWorker() {
    watchdog().remove(this_guard());
}

void set_stuck_worker_handler(std::function<void(std::uint64_t held_ms)> handler) {
    watchdog().on_stuck = std::move(handler);
}

void set_guard_restarts_calls(bool restart) {
    watchdog().restarts_calls = restart;
    install_guard_signal(restart);
}

}  // namespace moongate::lua
