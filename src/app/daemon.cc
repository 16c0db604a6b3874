#include "app/daemon.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "app/unique_fd.h"

namespace moongate::app {
namespace {

bool failed(const Log& log, std::string_view call) {
    log.print(LogLevel::Emerg, 0, "{} failed {}", call, errno_text(errno));
    return false;
}

}  // namespace

bool become_daemon(const Log& log) {
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) {
        return failed(log, "fork()");
    }
    if (pid > 0) {
        ::_exit(0);
    }
    if (::setsid() < 0) {
        return failed(log, "setsid()");
    }
    ::umask(0);
    UniqueFd null(::open("/dev/null", O_RDWR));
    if (!null) {
        return failed(log, "open(\"/dev/null\")");
    }
    if (::dup2(null.get(), STDIN_FILENO) < 0) {
        return failed(log, "dup2(STDIN)");
    }
    if (::dup2(null.get(), STDOUT_FILENO) < 0) {
        return failed(log, "dup2(STDOUT)");
    }
    // Standard error stays until it is pointed at the error log: a failure on the way there must be
    // seen.
    if (null.get() <= STDERR_FILENO) {
        null.release();
    }
    return true;
}

}  // namespace moongate::app
