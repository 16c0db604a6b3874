// Idle connections of one worker, kept by address and identity (what a connection was opened with:
// local address, the location for `keepalive local`; later TLS name, ALPN, verification, client
// certificate), so that no request ever gets a connection that was opened under other terms
// (HARDENING 17). A connection whose peer closes it, or says anything, while idle is dropped at
// once; a timer a group ends those that were idle too long. One worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "async/io.h"
#include "base/strings.h"
#include "net/address.h"
#include "upstream/upstream.h"

namespace moongate::upstream {

// Compared whole; the hash is its shortcut. An empty text is a plain connection.
struct ConnectionIdentity {
    std::string text;
    std::uint64_t hash = 0;

    ConnectionIdentity() = default;
    explicit ConnectionIdentity(std::string what)
        : text(std::move(what)), hash(std::hash<std::string>{}(text)) {}
};

class ConnectionPool;
struct Bucket;

// A connection to an upstream server, in use or idle. Destroying it closes it.
struct Connection {
    async::Io io;
    std::uint64_t opened_ms = 0;
    std::uint64_t requests = 0;

private:
    friend class ConnectionPool;
    Bucket* bucket = nullptr;
    std::uint64_t idle_until_ms = 0;
    Connection* bucket_previous = nullptr;
    Connection* bucket_next = nullptr;
    Connection* group_previous = nullptr;
    Connection* group_next = nullptr;
};
using ConnectionPtr = std::unique_ptr<Connection>;

class ConnectionPool {
public:
    explicit ConnectionPool(async::Reactor& reactor);
    ConnectionPool(const ConnectionPool&) = delete;
    ConnectionPool& operator=(const ConnectionPool&) = delete;
    ~ConnectionPool();

    // The list for an upstream's server under an identity. Valid as long as the pool; a
    // `passing` one, for groups that come and go with what balancers name, until the next call.
    Bucket& bucket(std::string_view upstream, const net::Address& address,
                   const ConnectionIdentity& identity, bool passing = false);
    // The connection used last, or null.
    ConnectionPtr take(Bucket& bucket);
    // Keeps it where the settings allow and it is quiet; closes it otherwise. Where the upstream
    // has its number of idle connections already, the one idle longest makes room.
    void put(Bucket& bucket, ConnectionPtr connection, const KeepaliveSettings& settings);
    std::size_t idle(std::string_view upstream) const;
    // Ends all idle connections: the worker stops.
    void clear();

    struct Group;

private:
    static void spoke(void* context);
    void unlink(Connection& connection);
    void drop(Connection* connection);
    void forget_empty_groups();

    async::Reactor& reactor_;
    std::unordered_map<std::string, std::unique_ptr<Group>, StringHash, std::equal_to<>> groups_;
    std::size_t most_groups_ = 256;  // from then on, empty passing ones are looked for
};

}  // namespace moongate::upstream
