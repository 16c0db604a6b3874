// The number that Lua and $pid call a worker's process: the process's own where there is one
// worker, as with nginx, and the thread's where there are several, so that each has its own. The
// worker's thread only.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "async/worker.h"

namespace moongate::engine {

inline int worker_pid(const async::Worker& worker) {
    return worker.count() == 1 ? ::getpid() : static_cast<int>(::syscall(SYS_gettid));
}

}  // namespace moongate::engine
