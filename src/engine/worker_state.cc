#include "engine/worker_state.h"

#include <algorithm>
#include <span>

#include "engine/module.h"
#include "engine/snapshot.h"

namespace moongate::engine {

WorkerState::WorkerState(async::Worker& on) : worker(on) {}

WorkerState::~WorkerState() {
    // Modules' objects may still refer to parts of snapshots.
    while (!objects_.empty()) {
        objects_.pop_back();
    }
}

void WorkerState::prepare(std::size_t modules) {
    while (objects_.size() < modules) {
        objects_.emplace_back(nullptr, [](void*) {});
    }
}

void WorkerState::begin(std::shared_ptr<const Snapshot> snapshot) {
    pins_.push_back(std::make_unique<SnapshotPin>(std::move(snapshot), 1));
    current_ = pins_.back().get();
}

void WorkerState::announce() {
    for (const Module* module : current_->snapshot->modules()) {
        if (module->serve != nullptr) {
            module->serve(*this, *current_->snapshot);
        }
    }
}

void WorkerState::serve(std::shared_ptr<const Snapshot> snapshot) {
    SnapshotPin* previous = current_;
    begin(std::move(snapshot));
    announce();
    if (previous != nullptr) {
        unpin(previous);
    }
}

SnapshotPin* WorkerState::pin() {
    ++current_->users;
    return current_;
}

void WorkerState::unpin(SnapshotPin* pin) {
    if (--pin->users == 0) {
        std::erase_if(pins_, [pin](const auto& held) { return held.get() == pin; });
    }
}

}  // namespace moongate::engine
