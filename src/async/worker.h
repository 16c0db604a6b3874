// Worker: one thread with a reactor, the tasks that run on it, and a mailbox through which other
// threads hand it work. The thread ends when its run() is told to stop. Everything but post() and
// stop() belongs to the worker's own thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "async/io.h"
#include "async/reactor.h"
#include "async/task_group.h"

namespace moongate::async {

class Worker {
public:
    using Message = std::move_only_function<void(Worker&)>;

    // `id` is 0 ≤ id < count, as ngx.worker.id() and ngx.worker.count() tell. Constructed on its
    // own thread.
    Worker(int id, int count);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    int id() const { return id_; }
    int count() const { return count_; }
    Reactor& reactor() { return reactor_; }
    TaskGroup& tasks() { return tasks_; }

    // Any thread. Messages run in the order in which they were posted, one turn of the loop later
    // at most.
    void post(Message message);

    // Turns the loop until stop().
    void run();
    // Any thread. The loop ends after the current turn.
    void stop();

private:
    Task<void> read_mailbox();

    const int id_;
    const int count_;
    Reactor reactor_;
    std::atomic<bool> stopping_ = false;
    std::mutex mutex_;
    std::vector<Message> inbox_;
    int wake_fd_;
    Io wake_;
    TaskGroup tasks_;
};

}  // namespace moongate::async
