// WorkerState: what one worker owns beside its reactor: the snapshot it serves now, counters, and
// one object a module (its Lua VM, its upstream pools). Everything here is the worker's alone;
// readers in other threads post a message.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "async/worker.h"
#include "base/log.h"

namespace moongate::engine {

class Snapshot;

// A worker's share of a snapshot: requests count themselves here without touching memory of other
// workers. The snapshot is let go when it is neither current nor used by a request.
struct SnapshotPin {
    std::shared_ptr<const Snapshot> snapshot;
    std::uint64_t users = 0;
};

class WorkerState {
public:
    explicit WorkerState(async::Worker& worker);
    ~WorkerState();
    WorkerState(const WorkerState&) = delete;
    WorkerState& operator=(const WorkerState&) = delete;

    // Room for the objects of that many modules. Before the first put().
    void prepare(std::size_t modules);

    async::Worker& worker;
    async::Reactor& reactor() { return worker.reactor(); }

    // The snapshot that new requests use.
    const std::shared_ptr<const Snapshot>& current() const { return current_->snapshot; }
    void serve(std::shared_ptr<const Snapshot> snapshot);
    // The first snapshot in two steps: begin() makes it current, so that modules can start;
    // announce() then tells them that it is served.
    void begin(std::shared_ptr<const Snapshot> snapshot);
    void announce();
    SnapshotPin* pin();
    void unpin(SnapshotPin* pin);

    // True once the worker is to end: keep-alive connections close after their response, timers
    // fire early.
    bool exiting = false;

    // A module's object; null until it made one. The slot comes from Module::worker_slot.
    template <class T>
    T* get(int slot) const {
        return static_cast<T*>(objects_[static_cast<std::size_t>(slot)].get());
    }
    template <class T>
    T& put(int slot, std::unique_ptr<T> object) {
        T& reference = *object;
        objects_[static_cast<std::size_t>(slot)] = {object.release(),
                                                    [](void* p) { delete static_cast<T*>(p); }};
        return reference;
    }

    struct Counters {
        std::uint64_t accepted = 0;
        std::uint64_t handled = 0;
        std::uint64_t requests = 0;
        std::int64_t active = 0;
        std::int64_t reading = 0;
        std::int64_t writing = 0;
        std::int64_t waiting = 0;
    } counters;

private:
    using Object = std::unique_ptr<void, void (*)(void*)>;
    std::vector<Object> objects_;
    std::vector<std::unique_ptr<SnapshotPin>> pins_;
    SnapshotPin* current_ = nullptr;
};

}  // namespace moongate::engine
