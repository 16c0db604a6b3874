// Io: an owned, non-blocking descriptor known to a Reactor. Reading and writing are tried first and
// waited for only when the system says so; every wait has a deadline. One thread; at most one
// reader and one writer wait at a time.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <coroutine>
#include <span>
#include <utility>

#include "async/reactor.h"

namespace moongate::async {

constexpr Milliseconds kNoDeadline{-1};

class Io {
public:
    // What a try gives: bytes moved (0 when reading: the peer's end of data), or one of these.
    static constexpr ssize_t kWouldBlock = -1;  // wait, then try again
    static constexpr ssize_t kFailed = -2;      // errno says why

    Io() = default;
    // Takes `fd`, which must be non-blocking. On failure (epoll_ctl) is_open() is false and errno
    // says why.
    Io(Reactor& reactor, int fd);
    Io(Io&& other) noexcept
        : reactor_(other.reactor_), registration_(std::exchange(other.registration_, nullptr)) {}
    Io& operator=(Io&& other) noexcept;
    ~Io() { close(); }

    bool is_open() const { return registration_ != nullptr; }
    int fd() const { return registration_ != nullptr ? registration_->fd : -1; }
    Reactor& reactor() const { return *reactor_; }
    Registration& registration() { return *registration_; }
    bool peer_closed() const { return registration_->peer_closed; }

    ssize_t try_read(char* to, std::size_t bytes);
    ssize_t try_write(const char* from, std::size_t bytes);
    ssize_t try_writev(std::span<const iovec> parts);
    // From the file's `offset`, which advances by what was sent.
    ssize_t try_sendfile(int file, off_t& offset, std::size_t bytes);

    void close();
    // Gives the descriptor up without closing it; -1 where there is none.
    int release();

    // co_await io.readable(timeout): true when a read is worth trying, false when the time ran out.
    class Ready;
    Ready readable(Milliseconds timeout);
    Ready writable(Milliseconds timeout);

private:
    Reactor* reactor_ = nullptr;
    Registration* registration_ = nullptr;
};

class Io::Ready {
public:
    Ready(Io& io, bool write, Milliseconds timeout)
        : io_(io), write_(write), timeout_(timeout), timer_(&Ready::expire, this) {}
    Ready(const Ready&) = delete;
    ~Ready() {
        if (waiting_) {
            withdraw();
        }
    }

    bool await_ready() const {
        return write_ ? io_.registration_->writable : io_.registration_->readable;
    }
    void await_suspend(std::coroutine_handle<> handle);
    bool await_resume() const { return !expired_; }

private:
    static void wake(void* self);
    static void expire(void* self);
    void withdraw();

    Io& io_;
    const bool write_;
    bool waiting_ = false;
    bool expired_ = false;
    Milliseconds timeout_;
    std::coroutine_handle<> handle_;
    Timer timer_;
};

inline Io::Ready Io::readable(Milliseconds timeout) {
    return Ready(*this, false, timeout);
}
inline Io::Ready Io::writable(Milliseconds timeout) {
    return Ready(*this, true, timeout);
}

}  // namespace moongate::async
