#include "async/reactor.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace moongate::async {
namespace {
constexpr int kEventsPerTurn = 512;
constexpr std::size_t kSlab = 256;
}  // namespace

struct Reactor::Events {
    epoll_event list[kEventsPerTurn];
};

void Resumption::cancel() {
    if (scheduled()) {
        previous_->next_ = next_;
        next_->previous_ = previous_;
        previous_ = next_ = nullptr;
    }
}

Reactor::Reactor()
    : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      clock_(Clock::current()),
      timers_(clock_.monotonic_ms()),
      events_(std::make_unique<Events>()) {
    ready_.previous_ = ready_.next_ = &ready_;
}

Reactor::~Reactor() {
    while (ready_.next_ != &ready_) {
        ready_.next_->cancel();
    }
    ready_.next_ = ready_.previous_ = nullptr;
    ::close(epoll_fd_);
}

Result<Registration*> Reactor::add(int fd, bool exclusive) {
    if (spare_.empty()) {
        slabs_.push_back(std::make_unique<Registration[]>(kSlab));
        for (std::size_t i = kSlab; i-- > 0;) {
            spare_.push_back(&slabs_.back()[i]);
        }
    }
    Registration* registration = spare_.back();
    *registration = Registration{.fd = fd};
    epoll_event event{};
    event.data.ptr = registration;
    event.events = exclusive ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
        return errno_error(errno, "epoll_ctl()");
    }
    spare_.pop_back();
    return registration;
}

void Reactor::remove(Registration* registration) {
    epoll_event event{};  // old kernels want a pointer
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, registration->fd, &event);
    *registration = Registration{};
    // Events of this turn may still point to it: it becomes free when they are done.
    removed_.push_back(registration);
}

void Reactor::schedule(Resumption& resumption, std::coroutine_handle<> handle) {
    resumption.cancel();
    resumption.handle_ = handle;
    resumption.previous_ = ready_.previous_;
    resumption.next_ = &ready_;
    ready_.previous_->next_ = &resumption;
    ready_.previous_ = &resumption;
}

void Reactor::run_once(int max_wait_ms) {
    int wait_ms = max_wait_ms;
    if (ready_.next_ != &ready_) {
        wait_ms = 0;
    } else if (const std::uint64_t next = timers_.next_ms(); next != TimerWheel::kNever) {
        const std::uint64_t now = clock_.monotonic_ms();
        const std::uint64_t until = next > now ? next - now : 0;
        const auto bounded =
            static_cast<int>(std::min<std::uint64_t>(until, std::numeric_limits<int>::max()));
        wait_ms = wait_ms < 0 ? bounded : std::min(wait_ms, bounded);
    }
    const int count = epoll_wait(epoll_fd_, events_->list, kEventsPerTurn, wait_ms);
    clock_.update();
    ++turns_;
    dispatch(count);
    timers_.advance(clock_.monotonic_ms());
    run_scheduled();
    spare_.insert(spare_.end(), removed_.begin(), removed_.end());
    removed_.clear();
}

void Reactor::dispatch(int count) {
    for (int i = 0; i < count; ++i) {
        const epoll_event& event = events_->list[i];
        auto* registration = static_cast<Registration*>(event.data.ptr);
        if (registration->fd < 0) {
            continue;  // removed earlier in this turn
        }
        const std::uint32_t bits = event.events;
        if ((bits & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
            registration->readable = registration->writable = true;
            if (!std::exchange(registration->peer_closed, true) &&
                registration->on_peer_closed != nullptr) {
                registration->on_peer_closed(registration->peer_closed_context);
                if (registration->fd < 0) {
                    continue;
                }
            }
        }
        if ((bits & EPOLLIN) != 0) {
            registration->readable = true;
        }
        if ((bits & EPOLLOUT) != 0) {
            registration->writable = true;
        }
        if (registration->readable && registration->on_readable != nullptr) {
            std::exchange(registration->on_readable, nullptr)(registration->readable_context);
        }
        if (registration->fd >= 0 && registration->writable &&
            registration->on_writable != nullptr) {
            std::exchange(registration->on_writable, nullptr)(registration->writable_context);
        }
    }
}

void Reactor::run_scheduled() {
    // Only what is there now: what these resumptions schedule waits for the next turn, after
    // descriptors.
    Resumption marker;
    schedule(marker, {});
    while (ready_.next_ != &marker) {
        Resumption* first = ready_.next_;
        first->cancel();
        first->handle_.resume();
    }
    marker.cancel();
}

}  // namespace moongate::async
