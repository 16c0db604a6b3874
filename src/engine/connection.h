// ClientConnection: a client's connection from accept to close: the engine's side of the protocol
// sessions. Lives in its worker's task group; one worker.
#pragma once

#include <string>

#include "async/io.h"
#include "async/task.h"
#include "engine/worker_state.h"
#include "http/server_handler.h"

namespace moongate::engine {

struct ListenAddress;
class ConnectionList;
class Snapshot;

// Serves `fd`, accepted at the socket bound to `socket` (ListenAddress::text), until it is closed.
async::Task<void> serve_connection(WorkerState& worker, ConnectionList& list, int fd,
                                   http::SocketAddress remote, std::string_view socket);

// A worker's connections: so that idle ones can be closed when the worker ends or connections run
// out.
class ConnectionList {
public:
    struct Link {
        Link* previous = nullptr;
        Link* next = nullptr;
        int fd = -1;
        bool idle = false;
        std::string_view socket;  // where it was accepted
    };

    ConnectionList() { head_.previous = head_.next = &head_; }
    void add(Link& link);
    void remove(Link& link);
    std::size_t size() const { return size_; }
    // Ends connections that wait for a request: their session sees the end of data.
    void close_idle();
    // Those among them whose listening address is not in the configuration any more.
    void close_lost(const Snapshot& now);

private:
    Link head_;
    std::size_t size_ = 0;
};

}  // namespace moongate::engine
