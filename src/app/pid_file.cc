#include "app/pid_file.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "app/unique_fd.h"
#include "base/strings.h"

namespace moongate::app {
namespace {

UniqueFd open_logged(const std::string& path, int flags, LogLevel level, const Log& log) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
    if (!fd) {
        log.print(level, 0, "open() \"{}\" failed {}", path, errno_text(errno));
    }
    return fd;
}

int signal_number(std::string_view name) {
    if (name == "stop") {
        return SIGTERM;
    }
    if (name == "quit") {
        return SIGQUIT;
    }
    if (name == "reload") {
        return SIGHUP;
    }
    return name == "reopen" ? SIGUSR1 : 0;
}

}  // namespace

bool write_pid_file(const std::string& path, pid_t pid, const Log& log) {
    const UniqueFd fd = open_logged(path, O_RDWR | O_CREAT | O_TRUNC, LogLevel::Emerg, log);
    if (!fd) {
        return false;
    }
    const std::string text = fmt::format("{}\n", pid);
    if (::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
        log.print(LogLevel::Crit, 0, "pwrite() \"{}\" failed {}", path, errno_text(errno));
        return false;
    }
    return true;
}

bool test_pid_file(const std::string& path, const Log& log) {
    return static_cast<bool>(open_logged(path, O_RDWR | O_CREAT, LogLevel::Emerg, log));
}

void delete_pid_file(const std::string& path, const Log& log) {
    if (::unlink(path.c_str()) != 0) {
        log.print(LogLevel::Alert, 0, "unlink() \"{}\" failed {}", path, errno_text(errno));
    }
}

std::optional<pid_t> read_pid_file(const std::string& path, const Log& log) {
    const UniqueFd fd = open_logged(path, O_RDONLY, LogLevel::Error, log);
    if (!fd) {
        return std::nullopt;
    }
    char buffer[32];
    const ssize_t bytes = ::pread(fd.get(), buffer, sizeof buffer, 0);
    if (bytes < 0) {
        log.print(LogLevel::Crit, 0, "pread() \"{}\" failed {}", path, errno_text(errno));
        return std::nullopt;
    }
    std::string_view text(buffer, static_cast<std::size_t>(bytes));
    while (text.ends_with('\n') || text.ends_with('\r')) {
        text.remove_suffix(1);
    }
    // 0 and 1 would signal this process group and init.
    const auto pid = parse_number<pid_t>(text);
    if (!pid || *pid <= 1) {
        log.print(LogLevel::Error, 0, "invalid PID number \"{}\" in \"{}\"", text, path);
        return std::nullopt;
    }
    return pid;
}

int signal_process(const std::string& pid_path, std::string_view name, const Log& log) {
    log.write(LogLevel::Notice, 0, "signal process started");
    const auto pid = read_pid_file(pid_path, log);
    if (!pid) {
        return 1;
    }
    const int number = signal_number(name);
    if (::kill(*pid, number) != 0) {
        log.print(LogLevel::Alert, 0, "kill({}, {}) failed {}", *pid, number, errno_text(errno));
        return 1;
    }
    return 0;
}

}  // namespace moongate::app
