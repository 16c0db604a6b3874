// The binary upgrade (USR2): a new binary is executed with the same arguments and finds the
// listening sockets in its environment (NGINX="6;7;", nginx's form, so the peer of the exchange may
// be of another version). The old supervisor keeps serving beside it until it is told to quit.
// Supervisor thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "app/listeners.h"

namespace moongate::app {

inline constexpr const char* kInheritVariable = "NGINX";

struct UpgradeRequest {
    const std::string& executable;
    const std::vector<std::string>& arguments;  // argv
    const std::vector<std::string>& environment_directives;
    const ListenerSet& listeners;
    const std::string& pid_path;
};

// Renames the pid file to .oldbin and starts the new binary. Returns its process id; -1 where that
// failed, with everything as before.
pid_t execute_new_binary(const UpgradeRequest& request, const Log& log);

// The new binary is gone: the pid file gets its name back.
void restore_pid_file(const std::string& pid_path, const std::string& executable, const Log& log);

// The program to execute: argv[0], or where that is a bare name found through PATH, this process's
// executable.
std::string executable_path(const std::string& argument);

}  // namespace moongate::app
