// SocketPool: idle cosockets and the operations that wait for one (socket_pool.h).
#include "lua/socket_pool.h"

#include <sys/socket.h>

#include <cerrno>

namespace moongate::lua {
namespace {

constexpr std::size_t kSpare = 256;

// True where an idle connection's readiness means nothing: no byte and no end behind it.
bool is_quiet(async::Io& io) {
    char byte = 0;
    const ssize_t got = ::recv(io.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        io.registration().readable = false;
        return true;
    }
    return false;
}

}  // namespace

void IdleSocket::expire(void* self) {
    auto& idle = *static_cast<IdleSocket*>(self);
    SocketPool& pool = *idle.pool;
    pool.drop(idle);
    pool.leave();
}

void IdleSocket::stir(void* self) {
    auto& idle = *static_cast<IdleSocket*>(self);
    if (is_quiet(idle.io)) {
        idle.io.registration().on_readable = &IdleSocket::stir;
        idle.io.registration().readable_context = self;
        return;
    }
    expire(self);
}

SocketPool::SocketPool(SocketPools& owner, std::string_view name, std::int64_t size,
                       std::int64_t backlog)
    : owner_(owner), name_(name), size_(size), backlog_(backlog), turns_(owner.reactor()) {}

void SocketPool::unlink(IdleSocket& idle) {
    (idle.previous != nullptr ? idle.previous->next : first_) = idle.next;
    (idle.next != nullptr ? idle.next->previous : last_) = idle.previous;
    idle.previous = idle.next = nullptr;
    idle.timer.clear();
    idle.io.registration().on_readable = nullptr;
    idle.io.registration().on_peer_closed = nullptr;
    --idle_;
}

void SocketPool::drop(IdleSocket& idle) {
    unlink(idle);
    idle.io.close();
    std::unique_ptr<IdleSocket> spare(&idle);
    if (owner_.spare_.size() < kSpare) {
        owner_.spare_.push_back(std::move(spare));
    }
}

void SocketPool::leave() {
    --connections_;
    settle();
}

void SocketPool::settle() {
    if (connections_ == 0) {
        owner_.pools_.erase(owner_.pools_.find(name_));
        return;
    }
    turns_.wake_one();
}

bool SocketPool::take(Taken& to) {
    while (first_ != nullptr) {
        IdleSocket& idle = *first_;
        async::Registration& registration = idle.io.registration();
        if ((registration.readable && !is_quiet(idle.io)) || registration.peer_closed) {
            drop(idle);
            --connections_;
            continue;
        }
        unlink(idle);
        to.io = std::move(idle.io);
        to.reused = idle.reused;
        to.no_delay = idle.no_delay;
        std::unique_ptr<IdleSocket> spare(&idle);
        if (owner_.spare_.size() < kSpare) {
            owner_.spare_.push_back(std::move(spare));
        }
        return true;
    }
    return false;
}

bool SocketPool::keep(async::Io io, std::uint64_t reused, bool no_delay, Milliseconds timeout) {
    if (idle_ >= size_) {
        drop(*last_);
        --connections_;
    }
    if (io.peer_closed() || (io.registration().readable && !is_quiet(io))) {
        io.close();
        leave();
        return false;
    }
    IdleSocket* kept = owner_.new_idle();
    kept->io = std::move(io);
    kept->pool = this;
    kept->reused = reused;
    kept->no_delay = no_delay;
    kept->next = first_;
    (first_ != nullptr ? first_->previous : last_) = kept;
    first_ = kept;
    ++idle_;
    async::Registration& registration = kept->io.registration();
    registration.on_readable = &IdleSocket::stir;
    registration.readable_context = kept;
    registration.on_peer_closed = &IdleSocket::expire;
    registration.peer_closed_context = kept;
    if (timeout > Milliseconds::zero()) {
        owner_.reactor_.set_timer(kept->timer, timeout);
    }
    turns_.wake_one();
    return true;
}

SocketPools::~SocketPools() {
    clear();
}

IdleSocket* SocketPools::new_idle() {
    if (spare_.empty()) {
        return new IdleSocket();
    }
    IdleSocket* idle = spare_.back().release();
    spare_.pop_back();
    return idle;
}

SocketPool* SocketPools::find(std::string_view name) {
    const auto found = pools_.find(name);
    return found == pools_.end() ? nullptr : found->second.get();
}

SocketPool& SocketPools::make(std::string_view name, std::int64_t size, std::int64_t backlog) {
    auto made = std::make_unique<SocketPool>(*this, name, size, backlog);
    return *pools_.emplace(std::string(name), std::move(made)).first->second;
}

void SocketPools::clear() {
    for (auto at = pools_.begin(); at != pools_.end();) {
        SocketPool& pool = *at->second;
        while (pool.last_ != nullptr) {
            pool.drop(*pool.last_);
            --pool.connections_;
        }
        at = pool.connections_ == 0 ? pools_.erase(at) : std::next(at);
    }
}

}  // namespace moongate::lua
