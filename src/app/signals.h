// Signals as descriptors: they are blocked in the process and read from a signalfd, so that no code
// runs in a handler. Names and meaning are nginx's ("Controlling nginx", nginx.org).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "app/unique_fd.h"
#include "base/log.h"

namespace moongate::app {

struct Signal {
    int number = 0;
    pid_t sender = 0;         // 0: the kernel
    bool by_process = false;  // sent with kill(), not by the terminal or the kernel
};

// "SIGHUP"; "unknown" for signals that are not handled.
std::string_view signal_name(int number);

// Blocks what the supervisor handles and ignores SIGPIPE. Threads and children inherit both.
void block_supervisor_signals();
// Nothing blocked: for a program about to be executed.
void unblock_all_signals();

// Descriptors for the supervisor's signals, or for those an engine process takes itself.
UniqueFd open_supervisor_signals();
UniqueFd open_engine_signals();
std::optional<Signal> read_signal(int fd);

// "signal 1 (SIGHUP) received from 123, reconfiguring"
void log_signal(const Log& log, const Signal& signal, std::string_view action);

}  // namespace moongate::app
