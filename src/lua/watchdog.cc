// The watchdog thread: looks at every worker's guard some 25 times a second and steps in when one
// run of Lua lasts longer than its limit: hook, then jumps, then the end of the process, when the
// worker is stuck where no jump is allowed (guard.h). Time that the whole process was not running
// (a suspended machine, a debugger) does not count.
#include "lua/watchdog.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "lua/context.h"
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
// After so much more than the limit, or twice the limit if that is more, jumps are tried less
// often.
constexpr milliseconds kJumpTime{1000};
// A worker that is held so long, or four times the limit if that is more, ends the process.
constexpr milliseconds kLeastStuckTime{5000};
constexpr int kStuckLimits = 4;
constexpr int kStuckExit = 3;

struct Watched {
    WorkerGuard* guard = nullptr;
    pthread_t thread{};
    int number = 0;
    Log log;
    std::uint64_t serial = 0;
    Time::time_point looked_at{};
    milliseconds held{};
    milliseconds hooked_at{};
    bool reported = false;
};

const char* phase_text(Phase phase) {
    switch (phase) {
        case Phase::Init:
            return "init_by_lua*";
        case Phase::Set:
            return "set_by_lua*";
        case Phase::Rewrite:
            return "rewrite_by_lua*";
        case Phase::Access:
            return "access_by_lua*";
        case Phase::Content:
            return "content_by_lua*";
        case Phase::Log:
            return "log_by_lua*";
        case Phase::HeaderFilter:
            return "header_filter_by_lua*";
        case Phase::BodyFilter:
            return "body_filter_by_lua*";
        case Phase::Timer:
            return "ngx.timer";
        case Phase::InitWorker:
            return "init_worker_by_lua*";
        case Phase::Balancer:
            return "balancer_by_lua*";
        case Phase::ExitWorker:
            return "exit_worker_by_lua*";
        case Phase::ServerRewrite:
            return "server_rewrite_by_lua*";
        case Phase::Precontent:
            return "precontent_by_lua*";
        case Phase::PostRead:
            return "post_read_by_lua*";
        case Phase::FindConfig:
            return "find_config_by_lua*";
        case Phase::PostRewrite:
            return "post_rewrite_by_lua*";
        case Phase::Preaccess:
            return "preaccess_by_lua*";
        case Phase::PostAccess:
            return "post_access_by_lua*";
    }
    return "a finalizer";
}

// Only a new process gives the worker back. Not for init_by_lua: the new process would run it
// again, and without a bound.
void report_stuck(const Watched& worker, milliseconds limit) {
    const Phase phase = worker.guard->phase.load(std::memory_order_relaxed);
    const bool ends = phase != Phase::Init;
    Clock::current().update();
    worker.log.print(LogLevel::Alert, 0,
                     "[lua] worker {} is stuck in C code called by {} for {} ms, lua_max_run_time "
                     "is {} ms{}",
                     worker.number, phase_text(phase), worker.held.count(), limit.count(),
                     ends ? ": the process ends" : "");
    if (ends) {
        ::_exit(kStuckExit);
    }
}

class Watchdog {
public:
    void add(WorkerGuard& guard, int number) {
        const std::lock_guard lock(mutex_);
        workers_.push_back({.guard = &guard, .thread = ::pthread_self(), .number = number});
        if (!thread_.joinable()) {
            stopping_ = false;
            thread_ = std::thread([this] { run(); });
        }
    }

    void set_log(const WorkerGuard& guard, const Log& log) {
        const std::lock_guard lock(mutex_);
        std::ranges::find(workers_, &guard, &Watched::guard)->log = log;
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
        if (worker.held < limit + std::max(limit, kJumpTime)) {
            return kJumpPause;
        }
        if (!worker.reported && worker.held >= std::max(limit * kStuckLimits, kLeastStuckTime)) {
            worker.reported = true;
            report_stuck(worker, limit);
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

WatchedWorker::WatchedWorker(int number) {
    install_guard_signal(watchdog().restarts_calls);
    watchdog().add(this_guard(), number);
}

WatchedWorker::~WatchedWorker() {
    watchdog().remove(this_guard());
}

void WatchedWorker::set_log(const Log& log) {
    watchdog().set_log(this_guard(), log);
}

void set_guard_restarts_calls(bool restart) {
    watchdog().restarts_calls = restart;
    install_guard_signal(restart);
}

}  // namespace moongate::lua
