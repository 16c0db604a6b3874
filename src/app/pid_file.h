// The pid file: written by the supervisor once its sockets listen, read by -s, renamed to
// NAME.oldbin while two binaries run side by side. Supervisor thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/log.h"

namespace moongate::app {

inline constexpr std::string_view kOldPidSuffix = ".oldbin";

// Failures are logged in nginx's words; false then.
bool write_pid_file(const std::string& path, pid_t pid, const Log& log);
// -t: the file could be written; its content is left alone.
bool test_pid_file(const std::string& path, const Log& log);
void delete_pid_file(const std::string& path, const Log& log);
std::optional<pid_t> read_pid_file(const std::string& path, const Log& log);

// -s: sends the signal of that name (stop, quit, reload, reopen). Returns the exit code.
int signal_process(const std::string& pid_path, std::string_view name, const Log& log);

}  // namespace moongate::app
