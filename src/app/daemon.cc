#include "app/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace moongate::app {
namespace {

std::nullopt_t failed(const Log& log, std::string_view call) {
    log.print(LogLevel::Emerg, 0, "{} failed {}", call, errno_text(errno));
    return std::nullopt;
}

[[noreturn]] void wait_for(const UniqueFd& readiness) {
    // They were blocked for the supervisor; nobody reads them here.
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    char byte = 0;
    ssize_t got = 0;
    do {
        got = ::read(readiness.get(), &byte, 1);
    } while (got < 0 && errno == EINTR);
    ::_exit(got == 1 ? 0 : 1);
}

}  // namespace

std::optional<UniqueFd> become_daemon(const Log& log) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return failed(log, "pipe2()");
    }
    UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) {
        return failed(log, "fork()");
    }
    if (pid > 0) {
        writing.reset();
        wait_for(reading);
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
    return writing;
}

}  // namespace moongate::app
