// The floor for proxies: passes bytes both ways between each client connection and an upstream
// connection of its own, and parses nothing. Usage: floor_relay PORT UPSTREAM_PORT
#include "floor.h"

using namespace floor_program;

namespace {

struct Pair;

struct Side {
    int fd = -1;
    Pair* pair = nullptr;
    Side* other = nullptr;
    std::string unsent;  // what this side's socket would not take yet
    bool readable = false;
};

struct Pair {
    Side client;
    Side upstream;
    bool closed = false;
};

// Sends what waits for `side`; false when the connection broke.
bool flush(Side& side) {
    while (!side.unsent.empty()) {
        const ssize_t sent = send(side.fd, side.unsent.data(), side.unsent.size(), 0);
        if (sent < 0) {
            return errno == EAGAIN || errno == ENOTCONN;
        }
        side.unsent.erase(0, static_cast<std::size_t>(sent));
    }
    return true;
}

// Passes on what `from` has, unless its other side is still busy: the unread rest waits in the
// kernel.
bool pump(Side& from) {
    char buffer[kBufferBytes];
    while (from.readable && from.other->unsent.empty()) {
        const ssize_t got = recv(from.fd, buffer, sizeof buffer, 0);
        if (got <= 0) {
            from.readable = false;
            return got < 0 && errno == EAGAIN;
        }
        if (static_cast<std::size_t>(got) < sizeof buffer) {
            from.readable = false;
        }
        const ssize_t sent = send(from.other->fd, buffer, static_cast<std::size_t>(got), 0);
        if (sent < 0 && errno != EAGAIN && errno != ENOTCONN) {
            return false;
        }
        const auto taken = static_cast<std::size_t>(sent < 0 ? 0 : sent);
        from.other->unsent.append(buffer + taken, static_cast<std::size_t>(got) - taken);
    }
    return true;
}

bool handle(Side& side, std::uint32_t events) {
    if ((events & EPOLLIN) != 0) {
        side.readable = true;
    }
    bool alive = pump(side);
    // A socket that takes bytes again lets its other side read on.
    if (alive && (events & EPOLLOUT) != 0 && !side.unsent.empty()) {
        alive = flush(side) && pump(*side.other);
    }
    return alive && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) == 0;
}

Pair* open_pair(int poll, int client, const sockaddr_in& upstream) {
    auto* pair = new Pair;
    pair->client = {client, pair, &pair->upstream, {}, false};
    pair->upstream = {
        socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), pair, &pair->client, {}, false};
    no_delay(client);
    no_delay(pair->upstream.fd);
    if (connect(pair->upstream.fd, reinterpret_cast<const sockaddr*>(&upstream), sizeof upstream) !=
            0 &&
        errno != EINPROGRESS) {
        fail("connect");
    }
    watch(poll, client, &pair->client, EPOLLIN | EPOLLOUT);
    watch(poll, pair->upstream.fd, &pair->upstream, EPOLLIN | EPOLLOUT);
    return pair;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: floor_relay PORT UPSTREAM_PORT\n");
        return 2;
    }
    const sockaddr_in upstream = loopback(argv[2]);
    const int listener = listen_on(argv[1]);
    const int poll = epoll_create1(0);
    watch(poll, listener, nullptr, EPOLLIN);
    epoll_event events[kEventsMax];
    for (;;) {
        const int count = epoll_wait(poll, events, kEventsMax, -1);
        Pair* ended[kEventsMax];
        int ended_count = 0;
        for (int i = 0; i < count; ++i) {
            auto* side = static_cast<Side*>(events[i].data.ptr);
            if (side == nullptr) {
                for (int fd; (fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
                    open_pair(poll, fd, upstream);
                }
            } else if (!side->pair->closed && !handle(*side, events[i].events)) {
                side->pair->closed = true;
                close(side->pair->client.fd);
                close(side->pair->upstream.fd);
                ended[ended_count++] = side->pair;
            }
        }
        // Freed last: this batch may hold an event of the pair's other side.
        for (int i = 0; i < ended_count; ++i) {
            delete ended[i];
        }
    }
}
