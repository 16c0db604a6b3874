// ThreadPools: queues, threads and VMs of ngx.run_worker_thread (thread_pools.h).
#include "lua/thread_pools.h"

#include <signal.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "async/event.h"
#include "base/clock.h"
#include "engine/core_settings.h"
#include "engine/main_settings.h"
#include "engine/snapshot.h"
#include "engine/worker_state.h"
#include "lua/thread_vm.h"
#include "lua/vm.h"

namespace moongate::lua {

// The way back to the worker: cut when the worker's VM goes.
struct ThreadHome {
    std::mutex mutex;
    async::Worker* worker;
    ThreadPools* pools;  // worker's thread only
};

ThreadJob::ThreadJob() = default;
ThreadJob::~ThreadJob() = default;

class ThreadPool : public std::enable_shared_from_this<ThreadPool> {
public:
    ThreadPool(std::string name, std::size_t threads, std::size_t room)
        : name_(std::move(name)), most_threads_(threads), room_(room) {}

    enum class Outcome : std::uint8_t { Posted, Full, NoThread };

    Outcome post(std::shared_ptr<ThreadJob> job) {
        const std::lock_guard lock(mutex_);
        if (jobs_.size() >= room_) {
            return Outcome::Full;
        }
        if (idle_ <= jobs_.size() && threads_ < most_threads_ && !start_thread() && threads_ == 0) {
            return Outcome::NoThread;
        }
        jobs_.push_back(std::move(job));
        wake_.notify_one();
        return Outcome::Posted;
    }

    // The threads end when they have nothing to do any more; what waits in the queue is dropped.
    void stop() {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        jobs_.clear();
        wake_.notify_all();
    }

    const std::string& name() const { return name_; }
    std::size_t waiting() {
        const std::lock_guard lock(mutex_);
        return jobs_.size();
    }

private:
    bool start_thread() {
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        bool started = true;
        try {
            std::thread(&ThreadPool::work, shared_from_this()).detach();
            ++threads_;
        } catch (const std::system_error&) {
            started = false;
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return started;
    }

    static void work(const std::shared_ptr<ThreadPool>& self) {
        std::unique_lock lock(self->mutex_);
        for (;;) {
            ++self->idle_;
            self->wake_.wait(lock, [&] { return self->stopping_ || !self->jobs_.empty(); });
            --self->idle_;
            if (self->jobs_.empty()) {
                return;
            }
            std::shared_ptr<ThreadJob> job = std::move(self->jobs_.front());
            self->jobs_.pop_front();
            lock.unlock();
            Clock::current().update();
            job->failed = !job->vm->run(job->module, job->function);
            hand_back(std::move(job));
            lock.lock();
        }
    }

    static void finish(ThreadJob& job) {
        job.over = true;
        if (job.waiter != nullptr) {
            job.waiter->set();
        } else if (job.home->pools != nullptr) {
            job.home->pools->recycle(job);
        }
    }

    static void hand_back(std::shared_ptr<ThreadJob> job) {
        const std::shared_ptr<ThreadHome> home = job->home;
        const std::lock_guard lock(home->mutex);
        if (home->worker != nullptr) {
            home->worker->post([job = std::move(job)](async::Worker&) { finish(*job); });
        }
    }

    const std::string name_;
    const std::size_t most_threads_;
    const std::size_t room_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<ThreadJob>> jobs_;
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;
    bool stopping_ = false;
};

ThreadPools::ThreadPools(Vm& vm) : vm_(vm), home_(std::make_shared<ThreadHome>()) {
    home_->worker = &vm.worker().worker;
    home_->pools = this;
    for (const engine::ThreadPool& pool :
         vm.snapshot().main().get<engine::MainSettings>().thread_pools) {
        pools_.emplace(pool.name,
                       std::make_shared<ThreadPool>(pool.name, pool.threads, pool.max_queue));
    }
    constexpr std::size_t kDefaultThreads = 32;
    constexpr std::size_t kDefaultQueue = 65536;
    pools_.try_emplace("default",
                       std::make_shared<ThreadPool>("default", kDefaultThreads, kDefaultQueue));
}

ThreadPools::~ThreadPools() {
    for (const auto& [name, pool] : pools_) {
        pool->stop();
    }
    const std::lock_guard lock(home_->mutex);
    home_->worker = nullptr;
    home_->pools = nullptr;
}

ThreadPool* ThreadPools::find(std::string_view name) {
    const auto found = pools_.find(name);
    return found == pools_.end() ? nullptr : found->second.get();
}

std::shared_ptr<ThreadJob> ThreadPools::make_job(lua_State* from) {
    auto job = std::make_shared<ThreadJob>();
    job->home = home_;
    if (!idle_.empty()) {
        job->vm = std::move(idle_.back());
        idle_.pop_back();
        return job;
    }
    if (made_ >= static_cast<std::size_t>(vm_.settings().worker_thread_vm_pool_size)) {
        return nullptr;
    }
    job->vm = ThreadVm::create(vm_, from);
    if (job->vm == nullptr) {
        return nullptr;
    }
    ++made_;
    return job;
}

bool ThreadPools::post(ThreadPool& pool, const std::shared_ptr<ThreadJob>& job) {
    switch (pool.post(job)) {
        case ThreadPool::Outcome::Posted:
            return true;
        case ThreadPool::Outcome::Full:
            vm_.log().print(LogLevel::Error, 0,
                            "thread pool \"{}\" queue overflow: {} tasks waiting", pool.name(),
                            pool.waiting());
            break;
        case ThreadPool::Outcome::NoThread:
            vm_.log().print(LogLevel::Alert, 0, "thread pool \"{}\": cannot start a thread",
                            pool.name());
            break;
    }
    return false;
}

void ThreadPools::recycle(ThreadJob& job) {
    if (job.vm->usable()) {
        job.vm->clear();
        idle_.push_back(std::move(job.vm));
    } else {
        job.vm.reset();
        --made_;
    }
}

}  // namespace moongate::lua
