// Workers: the threads that serve. Started with a snapshot and the listening sockets; later
// snapshots are handed to all of them, and serve() returns when every one uses it, so that the
// caller's next request sees the change. Called from one thread, the engine process's main one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "engine/worker_state.h"

namespace moongate::engine {

class Snapshot;

// An open listening socket. The descriptor stays the caller's.
struct AcceptSocket {
    std::string name;  // ListenAddress::text
    int fd = -1;
    int only_worker = -1;  // with reuseport each worker has its own; -1: all share it
};

struct WorkersOptions {
    int count = 1;
    std::vector<std::vector<unsigned>> cpus;  // a list of CPUs a worker; empty: no affinity
    std::size_t max_connections = 512;        // worker_connections, a worker
    Log log;
};

class Workers {
public:
    explicit Workers(WorkersOptions options);
    ~Workers();
    Workers(const Workers&) = delete;

    // Returns when every worker is ready to accept. An error: a module could not start.
    Status start(std::shared_ptr<const Snapshot> snapshot, std::vector<AcceptSocket> sockets);
    // Sockets that are no longer in the list are not accepted from any more when this returns.
    void serve(std::shared_ptr<const Snapshot> snapshot, std::vector<AcceptSocket> sockets);
    // Stops accepting before it returns, lets requests finish, and ends. `finished` is called on a
    // worker's thread when the last one is done. A `limit` above zero bounds the wait.
    void quit(Milliseconds limit, std::function<void()> finished);
    // Runs `call` on every worker and returns when all have. Not after quit().
    void on_each(const std::function<void(WorkerState&)>& call);
    // Ends all at once and joins the threads.
    void stop();

private:
    class Thread;

    WorkersOptions options_;
    std::vector<std::unique_ptr<Thread>> threads_;
};

}  // namespace moongate::engine
