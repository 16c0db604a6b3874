#include "app/upgrade.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "app/pid_file.h"
#include "app/privileges.h"
#include "app/signals.h"

namespace moongate::app {
namespace {

// As execve() wants them. The strings must outlive the result.
std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (const std::string& text : strings) {
        result.push_back(const_cast<char*>(text.c_str()));
    }
    result.push_back(nullptr);
    return result;
}

[[noreturn]] void execute(const UpgradeRequest& request, const std::vector<char*>& arguments,
                          const std::vector<char*>& variables, const Log& log) {
    for (const auto& listener : request.listeners.all()) {
        ::fcntl(listener->fd.get(), F_SETFD, 0);
    }
    unblock_all_signals();
    ::execve(request.executable.c_str(), arguments.data(), variables.data());
    log.print(LogLevel::Alert, 0, "execve() failed while executing new binary process \"{}\" {}",
              request.executable, errno_text(errno));
    ::_exit(1);
}

}  // namespace

pid_t execute_new_binary(const UpgradeRequest& request, const Log& log) {
    const std::string old_path = request.pid_path + std::string(kOldPidSuffix);
    if (::rename(request.pid_path.c_str(), old_path.c_str()) != 0) {
        log.print(LogLevel::Alert, 0,
                  "rename() {} to {} failed before executing new binary process \"{}\" {}",
                  request.pid_path, old_path, request.executable, errno_text(errno));
        return -1;
    }
    std::vector<std::string> environment = select_environment(request.environment_directives);
    environment.push_back(
        fmt::format("{}={}", kInheritVariable, listeners_variable(request.listeners)));
    const std::vector<char*> arguments = pointers(request.arguments);
    const std::vector<char*> variables = pointers(environment);
    const pid_t pid = ::fork();
    if (pid == 0) {
        execute(request, arguments, variables, log);
    }
    if (pid < 0) {
        log.print(LogLevel::Alert, 0, "fork() failed while spawning \"new binary process\" {}",
                  errno_text(errno));
        restore_pid_file(request.pid_path, request.executable, log);
        return -1;
    }
    log.print(LogLevel::Notice, 0, "start new binary process {}", pid);
    return pid;
}

void restore_pid_file(const std::string& pid_path, const std::string& executable, const Log& log) {
    const std::string old_path = pid_path + std::string(kOldPidSuffix);
    if (::rename(old_path.c_str(), pid_path.c_str()) != 0) {
        log.print(LogLevel::Alert, 0,
                  "rename() {} back to {} failed after the new binary process \"{}\" exited {}",
                  old_path, pid_path, executable, errno_text(errno));
    }
}

std::string executable_path(const std::string& argument) {
    if (argument.find('/') != std::string::npos) {
        return argument;
    }
    char buffer[4096];
    const ssize_t bytes = ::readlink("/proc/self/exe", buffer, sizeof buffer);
    return bytes > 0 ? std::string(buffer, static_cast<std::size_t>(bytes)) : argument;
}

}  // namespace moongate::app
