#include "app/signals.h"

#include <signal.h>
#include <sys/signalfd.h>

#include <span>

namespace moongate::app {
namespace {

struct Name {
    int number;
    std::string_view name;
};

constexpr Name kSupervisorSignals[] = {
    {SIGHUP, "SIGHUP"},   {SIGUSR1, "SIGUSR1"}, {SIGWINCH, "SIGWINCH"}, {SIGTERM, "SIGTERM"},
    {SIGQUIT, "SIGQUIT"}, {SIGUSR2, "SIGUSR2"}, {SIGALRM, "SIGALRM"},   {SIGINT, "SIGINT"},
    {SIGIO, "SIGIO"},     {SIGCHLD, "SIGCHLD"},
};

// What nginx's worker processes understand, and those that they ignore with a line in the log.
constexpr int kEngineSignals[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGWINCH, SIGHUP, SIGUSR2};

sigset_t supervisor_set() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const Name& entry : kSupervisorSignals) {
        ::sigaddset(&set, entry.number);
    }
    return set;
}

}  // namespace

std::string_view signal_name(int number) {
    for (const Name& entry : kSupervisorSignals) {
        if (entry.number == number) {
            return entry.name;
        }
    }
    return "unknown";
}

void block_supervisor_signals() {
    const sigset_t set = supervisor_set();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGSYS, SIG_IGN);
}

void unblock_all_signals() {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

UniqueFd open_supervisor_signals() {
    const sigset_t set = supervisor_set();
    return UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

UniqueFd open_engine_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (int number : kEngineSignals) {
        ::sigaddset(&set, number);
    }
    return UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::optional<Signal> read_signal(int fd) {
    signalfd_siginfo info;
    if (::read(fd, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) {
        return std::nullopt;
    }
    return Signal{.number = static_cast<int>(info.ssi_signo),
                  .sender = static_cast<pid_t>(info.ssi_pid),
                  .by_process = info.ssi_code <= 0};
}

void log_signal(const Log& log, const Signal& signal, std::string_view action) {
    if (signal.sender != 0) {
        log.print(LogLevel::Notice, 0, "signal {} ({}) received from {}{}", signal.number,
                  signal_name(signal.number), signal.sender, action);
    } else {
        log.print(LogLevel::Notice, 0, "signal {} ({}) received{}", signal.number,
                  signal_name(signal.number), action);
    }
}

}  // namespace moongate::app
