#include "app/engine_launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "app/engine_control.h"
#include "app/privileges.h"
#include "app/process_title.h"
#include "base/clock.h"

namespace moongate::app {
namespace {

constexpr int kFatalExit = 2;

struct Pairs {
    std::pair<Channel, Channel> commands;
    std::pair<Channel, Channel> broker;
};

std::optional<Pairs> make_pairs(const Log& log) {
    auto commands = make_channel_pair();
    auto broker = make_channel_pair();
    if (!commands || !broker) {
        log.print(LogLevel::Alert, 0, "socketpair() failed while spawning \"worker process\" {}",
                  errno_text(errno));
        return std::nullopt;
    }
    return Pairs{std::move(*commands), std::move(*broker)};
}

std::unique_ptr<EngineHandle> make_handle(Pairs& pairs) {
    auto handle = std::make_unique<EngineHandle>();
    handle->commands = std::move(pairs.commands.first);
    handle->broker = std::move(pairs.broker.first);
    handle->started_ms = Clock::current().monotonic_ms();
    return handle;
}

int run_engine(const LaunchRequest& request, EngineControl::Ends ends,
               std::vector<ListenSocket> sockets, bool take_signals) {
    const Log& log = request.configuration.process().log;
    EngineControl control(std::move(ends), std::move(sockets), request.load, log, take_signals);
    const int code = request.engine.run(request.configuration, control);
    Clock::current().update();
    if (take_signals) {  // a process of its own
        control.log().write(LogLevel::Notice, 0, "exiting");
        control.log().write(LogLevel::Notice, 0, "exit");
    }
    return code;
}

[[noreturn]] void run_child(const LaunchRequest& request, Pairs& pairs, pid_t supervisor) {
    request.close_supervisor_side();
    pairs.commands.first.close();
    pairs.broker.first.close();
    Clock::current().update();
    set_process_title("moongate: worker process");
    const ProcessConfig& config = request.configuration.process();
    apply_environment(config.environment);
    apply_process_limits(config, config.log);
    if (!drop_privileges(config, config.log)) {
        ::_exit(kFatalExit);
    }
    // After setuid(), which clears it. The channel's end of file says the same, but only to who
    // reads it.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != supervisor) {
        ::_exit(0);
    }
    sigset_t unused;
    ::sigemptyset(&unused);
    for (int number : {SIGCHLD, SIGALRM, SIGIO}) {
        ::sigaddset(&unused, number);
    }
    ::sigprocmask(SIG_UNBLOCK, &unused, nullptr);

    const int code =
        run_engine(request, {std::move(pairs.commands.second), std::move(pairs.broker.second)},
                   request.listeners.sockets(), true);
    std::fflush(nullptr);
    ::_exit(code);  // the supervisor's objects in this copy must not be destroyed: they would end
                    // what it owns
}

struct ThreadStart {
    LaunchRequest request;
    EngineControl::Ends ends;
    std::vector<ListenSocket> sockets;
};

void* run_thread(void* argument) {
    const std::unique_ptr<ThreadStart> start(static_cast<ThreadStart*>(argument));
    Clock::current().update();
    const int code =
        run_engine(start->request, std::move(start->ends), std::move(start->sockets), false);
    return reinterpret_cast<void*>(static_cast<std::intptr_t>(code));
}

}  // namespace

std::unique_ptr<EngineHandle> fork_engine(const LaunchRequest& request) {
    const Log& log = request.configuration.process().log;
    auto pairs = make_pairs(log);
    if (!pairs) {
        return nullptr;
    }
    const pid_t supervisor = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
        log.print(LogLevel::Alert, 0, "fork() failed while spawning \"worker process\" {}",
                  errno_text(errno));
        return nullptr;
    }
    if (pid == 0) {
        run_child(request, *pairs, supervisor);
    }
    auto handle = make_handle(*pairs);
    handle->pid = pid;
    log.print(LogLevel::Notice, 0, "start worker process {}", pid);
    return handle;
}

std::unique_ptr<EngineHandle> start_engine_thread(const LaunchRequest& request) {
    const Log& log = request.configuration.process().log;
    auto pairs = make_pairs(log);
    if (!pairs) {
        return nullptr;
    }
    std::vector<ListenSocket> sockets = request.listeners.sockets();
    for (ListenSocket& socket : sockets) {
        socket.fd = ::fcntl(socket.fd, F_DUPFD_CLOEXEC, 0);  // each side closes its own
    }
    auto start = std::make_unique<ThreadStart>(
        ThreadStart{request,
                    {std::move(pairs->commands.second), std::move(pairs->broker.second)},
                    std::move(sockets)});
    auto handle = make_handle(*pairs);
    if (const int error = ::pthread_create(&handle->thread, nullptr, run_thread, start.get());
        error != 0) {
        log.print(LogLevel::Alert, 0, "pthread_create() failed {}", errno_text(error));
        return nullptr;
    }
    start.release();  // the thread's now
    return handle;
}

}  // namespace moongate::app
