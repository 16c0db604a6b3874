#include "async/io.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace moongate::async {
namespace {

// Turns a system call's answer into Io's, and clears the readiness that it disproved.
ssize_t settle(ssize_t moved, bool& ready) {
    if (moved >= 0) {
        return moved;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        ready = false;
        return Io::kWouldBlock;
    }
    return Io::kFailed;
}

// recv() and send() without the C library's bookkeeping for thread cancellation, which costs a
// process with threads some fifty instructions a call and which nothing here uses.
ssize_t plain_recv(int fd, char* to, std::size_t bytes) {
    return ::syscall(SYS_recvfrom, fd, to, bytes, 0, nullptr, nullptr);
}

ssize_t plain_send(int fd, const char* from, std::size_t bytes) {
    return ::syscall(SYS_sendto, fd, from, bytes, MSG_NOSIGNAL, nullptr, 0);
}

template <class Call>
ssize_t retry(Call call) {
    ssize_t moved = 0;
    do {
        moved = call();
    } while (moved < 0 && errno == EINTR);
    return moved;
}

}  // namespace

Io::Io(Reactor& reactor, int fd) : reactor_(&reactor) {
    const auto added = reactor.add(fd);
    if (!added) {
        const int reason = errno;
        ::close(fd);
        errno = reason;
        return;
    }
    registration_ = *added;
}

Io& Io::operator=(Io&& other) noexcept {
    if (this != &other) {
        close();
        reactor_ = other.reactor_;
        registration_ = std::exchange(other.registration_, nullptr);
    }
    return *this;
}

void Io::close() {
    if (registration_ != nullptr) {
        ::close(release());
    }
}

int Io::release() {
    if (registration_ == nullptr) {
        return -1;
    }
    const int fd = registration_->fd;
    reactor_->remove(std::exchange(registration_, nullptr));
    return fd;
}

ssize_t Io::try_read(char* to, std::size_t bytes) {
    const ssize_t moved = retry([&] { return plain_recv(fd(), to, bytes); });
    // Less than asked for: the socket is drained, and new bytes will be a new edge (epoll(7)). The
    // end of data is no edge of its own when it came with them, so that what is known of it keeps
    // the readiness.
    if (moved > 0 && static_cast<std::size_t>(moved) < bytes && !registration_->peer_closed) {
        registration_->readable = false;
    }
    return settle(moved, registration_->readable);
}

ssize_t Io::try_write(const char* from, std::size_t bytes) {
    return settle(retry([&] { return plain_send(fd(), from, bytes); }), registration_->writable);
}

ssize_t Io::try_writev(std::span<const iovec> parts) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    return settle(retry([&] { return ::sendmsg(fd(), &message, MSG_NOSIGNAL); }),
                  registration_->writable);
}

ssize_t Io::try_sendfile(int file, off_t& offset, std::size_t bytes) {
    return settle(retry([&] { return ::sendfile(fd(), file, &offset, bytes); }),
                  registration_->writable);
}

void Io::Ready::await_suspend(std::coroutine_handle<> handle) {
    handle_ = handle;
    waiting_ = true;
    Registration& registration = *io_.registration_;
    if (write_) {
        registration.on_writable = &Ready::wake;
        registration.writable_context = this;
    } else {
        registration.on_readable = &Ready::wake;
        registration.readable_context = this;
    }
    if (timeout_ >= Milliseconds::zero()) {
        io_.reactor_->set_timer(timer_, timeout_);
    }
}

void Io::Ready::wake(void* self) {
    auto& ready = *static_cast<Ready*>(self);
    ready.waiting_ = false;
    ready.timer_.clear();
    ready.handle_.resume();
}

void Io::Ready::expire(void* self) {
    auto& ready = *static_cast<Ready*>(self);
    ready.withdraw();
    ready.expired_ = true;
    ready.handle_.resume();
}

void Io::Ready::withdraw() {
    waiting_ = false;
    if (io_.registration_ == nullptr) {
        return;
    }
    if (write_) {
        io_.registration_->on_writable = nullptr;
    } else {
        io_.registration_->on_readable = nullptr;
    }
}

}  // namespace moongate::async
