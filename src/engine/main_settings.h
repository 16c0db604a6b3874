// The settings of the main level and of `events {}` (nginx's ngx_core_module and event modules).
// One of each in a snapshot: snapshot.main().get<MainSettings>(). Rows and parsing:
// main_directives.cc and events_directives.cc. Sizes are bytes, times milliseconds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"

namespace moongate::engine {

// One mask of worker_cpu_affinity: the numbers of the CPUs, ascending.
using CpuMask = std::vector<unsigned>;

struct ThreadPool {
    std::string name;
    unsigned threads = 0;
    unsigned max_queue = 65536;
};

struct MainSettings {
    bool daemon = true;
    bool master_process = true;
    std::string prefix;  // what relative paths are relative to; ends in '/'
    std::string pid;     // absolute
    std::string lock_file;
    std::int64_t worker_processes = 1;  // threads; `auto` is the number of CPUs
    bool cpu_affinity_auto = false;     // each worker takes one CPU of cpu_affinity[0]
    std::vector<CpuMask> cpu_affinity;  // a mask a worker, the last one for the rest; empty: none
    int priority = 0;
    std::optional<std::int64_t> rlimit_nofile;
    std::optional<std::int64_t> rlimit_core;
    Milliseconds shutdown_timeout{0};      // 0: no limit
    std::string working_directory;         // empty: unchanged
    std::vector<std::string> environment;  // NAME keeps the variable, NAME=VALUE sets it
    Milliseconds timer_resolution{0};
    std::optional<std::int64_t> debug_points;  // accepted, without effect
    std::vector<ThreadPool> thread_pools;
    bool pcre_jit = false;
    std::string ssl_engine;
    bool ssl_object_cache_inheritable = true;
    bool quic_bpf = false;
    // Resolved only where the process runs as root; `nobody` by default.
    bool has_account = false;
    std::string user;
    uid_t uid = 0;
    gid_t gid = 0;
    // Always set once the level is complete. Also the default of every http level.
    std::shared_ptr<const Log> error_log;
    std::string stderr_path;  // the first file among the main error logs; empty: none

    // The CPUs that worker `n` may run on; empty: all.
    CpuMask cpus_of_worker(unsigned n) const;
};

struct EventSettings {
    bool seen = false;  // there was an events {} block
    std::int64_t worker_connections = 512;
    std::string use = "epoll";
    bool multi_accept = false;
    bool accept_mutex = false;
    Milliseconds accept_mutex_delay{500};
    std::vector<std::string> debug_connections;  // addresses and CIDR blocks as written
    std::int64_t worker_aio_requests = 32;
    std::int64_t epoll_events = 512;
};

}  // namespace moongate::engine
