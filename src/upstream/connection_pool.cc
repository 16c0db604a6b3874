#include "upstream/connection_pool.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace moongate::upstream {

struct Bucket {
    ConnectionPool* pool;
    ConnectionPool::Group* group;
    Connection* first = nullptr;  // used last
};

struct ConnectionPool::Group {
    Group(ConnectionPool& owner) : pool(owner), timer(&Group::expire, this) {}

    static void expire(void* context) {
        auto& group = *static_cast<Group*>(context);
        const std::uint64_t now = group.pool.reactor_.now_ms();
        while (group.last != nullptr && group.last->idle_until_ms <= now) {
            group.pool.drop(group.last);
        }
        group.arm(now);
    }
    // All of a group are idle for the same time, so that the oldest ends first. A changed timeout
    // makes that inexact for a while; nothing is kept longer than its own time plus that of others.
    void arm(std::uint64_t now) {
        if (last != nullptr) {
            const std::uint64_t wait = last->idle_until_ms > now ? last->idle_until_ms - now : 1;
            pool.reactor_.set_timer(timer, Milliseconds(wait));
        }
    }

    ConnectionPool& pool;
    std::size_t count = 0;
    bool passing = false;
    Connection* first = nullptr;
    Connection* last = nullptr;  // idle longest
    async::Timer timer;
    std::unordered_map<std::string, std::unique_ptr<Bucket>, StringHash, std::equal_to<>> buckets;
};

ConnectionPool::ConnectionPool(async::Reactor& reactor) : reactor_(reactor) {}

ConnectionPool::~ConnectionPool() {
    clear();
}

void ConnectionPool::clear() {
    for (auto& [name, group] : groups_) {
        while (group->last != nullptr) {
            drop(group->last);
        }
        group->timer.clear();
    }
}

Bucket& ConnectionPool::bucket(std::string_view upstream, const net::Address& address,
                               const ConnectionIdentity& identity, bool passing) {
    auto found = groups_.find(upstream);
    if (found == groups_.end()) {
        if (passing && groups_.size() >= most_groups_) {
            forget_empty_groups();
        }
        found = groups_.emplace(std::string(upstream), std::make_unique<Group>(*this)).first;
    }
    Group& group = *found->second;
    group.passing = passing;
    std::string key(address.bytes());
    key += identity.text;
    auto& slot = group.buckets[std::move(key)];
    if (slot == nullptr) {
        slot = std::make_unique<Bucket>(this, &group, nullptr);
    }
    return *slot;
}

void ConnectionPool::forget_empty_groups() {
    std::erase_if(groups_, [](const auto& entry) {
        const Group& group = *entry.second;
        return group.passing && group.count == 0;
    });
    most_groups_ = std::max<std::size_t>(256, groups_.size() * 2);
}

void ConnectionPool::unlink(Connection& connection) {
    Bucket& bucket = *connection.bucket;
    Group& group = *bucket.group;
    (connection.bucket_previous != nullptr ? connection.bucket_previous->bucket_next
                                           : bucket.first) = connection.bucket_next;
    if (connection.bucket_next != nullptr) {
        connection.bucket_next->bucket_previous = connection.bucket_previous;
    }
    (connection.group_previous != nullptr ? connection.group_previous->group_next : group.first) =
        connection.group_next;
    (connection.group_next != nullptr ? connection.group_next->group_previous : group.last) =
        connection.group_previous;
    connection.bucket_previous = connection.bucket_next = nullptr;
    connection.group_previous = connection.group_next = nullptr;
    --group.count;
    async::Registration& registration = connection.io.registration();
    registration.on_readable = nullptr;
    registration.on_peer_closed = nullptr;
}

void ConnectionPool::drop(Connection* connection) {
    unlink(*connection);
    delete connection;
}

void ConnectionPool::spoke(void* context) {
    auto* connection = static_cast<Connection*>(context);
    connection->bucket->pool->drop(connection);
}

ConnectionPtr ConnectionPool::take(Bucket& bucket) {
    while (Connection* connection = bucket.first) {
        unlink(*connection);
        ConnectionPtr taken(connection);
        if (!taken->io.registration().readable && !taken->io.peer_closed()) {
            return taken;
        }
    }
    return nullptr;
}

void ConnectionPool::put(Bucket& bucket, ConnectionPtr connection,
                         const KeepaliveSettings& settings) {
    const std::uint64_t now = reactor_.now_ms();
    async::Registration& registration = connection->io.registration();
    if (settings.connections == 0 || connection->requests >= settings.requests ||
        now - connection->opened_ms > static_cast<std::uint64_t>(settings.time.count()) ||
        registration.peer_closed) {
        return;
    }
    if (registration.readable) {
        // The last read filled its buffer to the brim: ask whether anything is behind it.
        char byte = 0;
        if (::recv(registration.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN) {
            return;
        }
        registration.readable = false;
    }
    Group& group = *bucket.group;
    while (group.count >= settings.connections) {
        drop(group.last);
    }
    Connection* kept = connection.release();
    kept->bucket = &bucket;
    kept->idle_until_ms = now + static_cast<std::uint64_t>(settings.timeout.count());
    kept->bucket_next = bucket.first;
    if (bucket.first != nullptr) {
        bucket.first->bucket_previous = kept;
    }
    bucket.first = kept;
    kept->group_next = group.first;
    (group.first != nullptr ? group.first->group_previous : group.last) = kept;
    group.first = kept;
    ++group.count;
    registration.on_readable = &ConnectionPool::spoke;
    registration.readable_context = kept;
    registration.on_peer_closed = &ConnectionPool::spoke;
    registration.peer_closed_context = kept;
    if (!group.timer.is_set()) {
        group.arm(now);
    }
}

std::size_t ConnectionPool::idle(std::string_view upstream) const {
    const auto found = groups_.find(upstream);
    return found == groups_.end() ? 0 : found->second->count;
}

}  // namespace moongate::upstream
