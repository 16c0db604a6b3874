// Module: a directive family and what it adds to requests. One constant object a module;
// app/modules.cc lists them in the order in which their handlers and filters run. Hooks that are
// null are not called.
#pragma once

#include <span>

#include "async/task.h"
#include "base/result.h"
#include "conf/directive.h"
#include "conf/variables.h"

namespace moongate::conf {
class Compiler;
}

namespace moongate::engine {

struct Location;
class Request;
class Snapshot;
class WorkerState;

struct Module {
    conf::ModuleDirectives directives;
    std::span<const conf::VariableRow> variables = {};
    // Receive the index for Request::context() and WorkerState::get(); null where the module needs
    // none.
    int* context_slot = nullptr;
    int* worker_slot = nullptr;

    // The settings of `location` (of any LocationKind; Server stands for the phases before a
    // location is chosen) are complete: add the handlers and filters that they need.
    void (*install)(Location& location) = nullptr;
    // The whole configuration was compiled without an error: move what requests need from the
    // compiler's extensions into the snapshot. May still refuse.
    conf::Applied (*finish_snapshot)(conf::Compiler& compiler, Snapshot& snapshot) = nullptr;

    // An internal redirect clears the request's contexts (request.location is still the one that it
    // leaves). Returns what takes the place of this module's own, null for nothing.
    void* (*carry_context)(Request& request, void* context) = nullptr;

    // `-t`, on the only thread, with a worker that serves nothing: tries what starting would run.
    conf::Applied (*try_configuration)(WorkerState& worker) = nullptr;
    // On each worker's thread, before its first connection; a failure ends the worker's start (and
    // the process).
    Status (*start_worker)(WorkerState& worker) = nullptr;
    // A snapshot becomes the worker's current one: also the first. Nothing may wait here.
    void (*serve)(WorkerState& worker, const Snapshot& snapshot) = nullptr;
    // The worker ends: its requests are gone.
    async::Task<void> (*stop_worker)(WorkerState& worker) = nullptr;
};

}  // namespace moongate::engine
