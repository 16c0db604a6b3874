// Pools of idle cosockets, by name ("host:port", the path of a unix socket, or the `pool` option).
// They belong to the worker, not to a VM, so that a new configuration finds the connections of the
// old one. A pool counts the connections it knows, in use and idle, and the connect operations that
// wait for one (option `backlog`); it goes with the last of them. An idle connection whose peer
// closes it, or says anything, is closed. One worker. Source: lua-nginx-module's documentation of
// tcpsock:connect and tcpsock:setkeepalive.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "async/event.h"
#include "async/io.h"
#include "base/strings.h"

namespace moongate::lua {

class SocketPools;

// A connection at rest.
struct IdleSocket {
    explicit IdleSocket() : timer(&IdleSocket::expire, this) {}

    static void expire(void* self);
    static void stir(void* self);

    async::Io io;
    class SocketPool* pool = nullptr;
    IdleSocket* previous = nullptr;
    IdleSocket* next = nullptr;
    std::uint64_t reused = 0;
    bool no_delay = false;
    async::Timer timer;
};

class SocketPool {
public:
    SocketPool(SocketPools& owner, std::string_view name, std::int64_t size, std::int64_t backlog);
    SocketPool(const SocketPool&) = delete;
    SocketPool& operator=(const SocketPool&) = delete;

    bool bounded() const { return backlog_ >= 0; }
    bool too_many() const { return connections_ > size_ + backlog_; }
    bool must_queue() const { return connections_ > size_; }

    // A connection is opened or waited for; leave() ends that, lets a waiting operation try, and
    // may destroy the pool.
    void enter() { ++connections_; }
    void leave();
    // As leave() for somebody whose place another connection takes: wakes and destroys nothing.
    void pass() { --connections_; }

    // The connection used last; its count passes to the caller. Null: none is idle.
    struct Taken {
        async::Io io;
        std::uint64_t reused = 0;
        bool no_delay = false;
    };
    bool take(Taken& to);
    // Keeps `io`, whose count is the pool's from now on. False: its peer closed it or said
    // something; it is closed and the pool may be gone.
    bool keep(async::Io io, std::uint64_t reused, bool no_delay, Milliseconds timeout);

    // Connect operations that wait, in order.
    async::Event& turns() { return turns_; }

private:
    friend class SocketPools;
    friend struct IdleSocket;
    void unlink(IdleSocket& idle);
    void drop(IdleSocket& idle);
    void settle();

    SocketPools& owner_;
    const std::string name_;
    const std::int64_t size_;
    const std::int64_t backlog_;  // < 0: connecting is not bounded
    std::int64_t connections_ = 0;
    std::int64_t idle_ = 0;
    IdleSocket* first_ = nullptr;  // used last
    IdleSocket* last_ = nullptr;
    async::Event turns_;
};

class SocketPools {
public:
    explicit SocketPools(async::Reactor& reactor) : reactor_(reactor) {}
    SocketPools(const SocketPools&) = delete;
    SocketPools& operator=(const SocketPools&) = delete;
    ~SocketPools();

    SocketPool* find(std::string_view name);
    SocketPool& make(std::string_view name, std::int64_t size, std::int64_t backlog);
    // Closes what is idle: the worker stops.
    void clear();
    async::Reactor& reactor() const { return reactor_; }

private:
    friend class SocketPool;
    IdleSocket* new_idle();

    async::Reactor& reactor_;
    std::unordered_map<std::string, std::unique_ptr<SocketPool>, StringHash, std::equal_to<>>
        pools_;
    std::vector<std::unique_ptr<IdleSocket>> spare_;
};

}  // namespace moongate::lua
