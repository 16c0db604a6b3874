// Starts an engine: forks the process that runs it, or starts a thread for it where `master_process
// off`. A fork without exec, so the engine begins with the parsed configuration and the open
// sockets. Supervisor thread.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "app/channel.h"
#include "app/engine_process.h"
#include "app/listeners.h"

namespace moongate::app {

// A running engine as the supervisor sees it.
struct EngineHandle {
    pid_t pid = 0;  // 0: a thread of this process
    pthread_t thread{};
    Channel commands;
    Channel broker;
    std::uint64_t started_ms = 0;  // of Clock::monotonic_ms()
    bool ready = false;
    bool retiring = false;         // was told to quit or stop: not started again
    bool superseded = false;       // quits as soon as its successor serves
    std::uint64_t kill_at_ms = 0;  // 0: never
};

struct LaunchRequest {
    Engine& engine;
    const Configuration& configuration;
    const LoadRequest& load;
    const ListenerSet& listeners;
    // Run in the child before anything else: closes the supervisor's descriptors that were
    // inherited.
    std::function<void()> close_supervisor_side;
};

// Null where the system refused, which is logged.
std::unique_ptr<EngineHandle> fork_engine(const LaunchRequest& request);
std::unique_ptr<EngineHandle> start_engine_thread(const LaunchRequest& request);

}  // namespace moongate::app
