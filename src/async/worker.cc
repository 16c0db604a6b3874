#include "async/worker.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace moongate::async {

Worker::Worker(int id, int count)
    : id_(id),
      count_(count),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      wake_(reactor_, wake_fd_),
      tasks_(reactor_) {
    tasks_.spawn("mailbox", read_mailbox());
}

Worker::~Worker() {
    tasks_.cancel_all();
}

void Worker::post(Message message) {
    bool was_empty = false;
    {
        const std::lock_guard lock(mutex_);
        was_empty = inbox_.empty();
        inbox_.push_back(std::move(message));
    }
    if (was_empty) {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
    }
}

void Worker::run() {
    while (!stopping_.load(std::memory_order_relaxed)) {
        reactor_.run_once();
    }
}

void Worker::stop() {
    stopping_ = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

Task<void> Worker::read_mailbox() {
    for (;;) {
        co_await wake_.readable(kNoDeadline);
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &count, sizeof count);
        wake_.registration().readable = false;
        std::vector<Message> messages;
        {
            const std::lock_guard lock(mutex_);
            messages.swap(inbox_);
        }
        for (Message& message : messages) {
            message(*this);
        }
    }
}

}  // namespace moongate::async
