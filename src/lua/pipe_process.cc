// Process: spawning, reading, writing and the end of ngx.pipe's children (pipe_process.h).
#include "lua/pipe_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/worker_state.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

constexpr std::size_t kLargestRead = std::size_t{1} << 20;

// Both ends of a pipe; what is still here at the end of the scope is closed.
struct Pipe {
    int read = -1;
    int write = -1;

    ~Pipe() {
        close_end(read);
        close_end(write);
    }
    bool open() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            return false;
        }
        read = ends[0];
        write = ends[1];
        return true;
    }
    static void close_end(int& fd) {
        if (fd >= 0) {
            ::close(std::exchange(fd, -1));
        }
    }
};

// The child's side between vfork() and exec: only system calls; memory is the parent's. A worker's
// blocked signals, its processor and its descriptors are not for the child.
[[noreturn]] void become(const Process::Command& command, int in, int out, int err,
                         const cpu_set_t& processors, volatile int& failure) {
    ::signal(SIGPIPE, SIG_DFL);
    struct sigaction plain{};
    plain.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) {
        ::sigaction(number, &plain, nullptr);  // fails for SIGKILL and SIGSTOP
    }
    ::sched_setaffinity(0, sizeof processors, &processors);
    // The pipes' ends may be 0, 1 or 2 themselves: out of the way first.
    const int from[3] = {::fcntl(in, F_DUPFD, 3), ::fcntl(out, F_DUPFD, 3),
                         ::fcntl(err, F_DUPFD, 3)};
    for (int number = 0; number < 3; ++number) {
        if (::dup2(from[number], number) < 0) {
            failure = errno;
            ::_exit(EXIT_FAILURE);
        }
    }
    ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (command.environment != nullptr) {
        ::execvpe(command.file, command.arguments, command.environment);
    } else {
        ::execvp(command.file, command.arguments);
    }
    failure = errno;
    ::_exit(EXIT_FAILURE);
}

// vfork(): the worker stops until the child has called exec, which costs no copy of its memory and
// runs nobody's fork handlers. Signals are held back meanwhile: a handler would run on shared
// memory.
[[gnu::noinline]] pid_t start(const Process::Command& command, int in, int out, int err,
                              int& failure) {
    cpu_set_t processors;
    CPU_ZERO(&processors);
    for (std::size_t number = 0; number < CPU_SETSIZE; ++number) {
        CPU_SET(number, &processors);
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    volatile int child_failure = 0;
    const pid_t pid = ::vfork();
    if (pid == 0) {
        become(command, in, out, err, processors, child_failure);
    }
    const int reason = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    failure = child_failure;
    errno = reason;
    return pid;
}

std::string system_failure(std::string_view what) {
    return fmt::format("{} failed: {}", what, std::strerror(errno));
}

bool take(PipeEnd& end, async::Reactor& reactor, int& fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return false;
    }
    end.io = async::Io(reactor, std::exchange(fd, -1));
    return end.io.is_open();
}

// ngx_lua's rule for lines: up to the first LF; a CR anywhere is dropped. True: a whole line.
bool take_line(PipeEnd& end, std::string_view input) {
    const std::size_t newline = input.find('\n');
    const std::string_view part = input.substr(0, newline);
    std::copy_if(part.begin(), part.end(), std::back_inserter(end.data),
                 [](char c) { return c != '\r'; });
    end.input_at += newline == std::string_view::npos ? part.size() : newline + 1;
    return newline != std::string_view::npos;
}

void take_bytes(PipeEnd& end, std::string_view input, std::size_t bytes) {
    end.data.append(input.substr(0, bytes));
    end.input_at += bytes;
}

// Moves what the read wants from the input to the result. True: it has all of it.
bool take_input(PipeEnd& end) {
    const std::string_view input = std::string_view(end.input).substr(end.input_at);
    if (input.empty()) {
        return false;
    }
    switch (end.mode) {
        case PipeRead::All:
            take_bytes(end, input, input.size());
            return false;
        case PipeRead::Line:
            return take_line(end, input);
        case PipeRead::Any:
            take_bytes(end, input, std::min(input.size(), end.rest));
            return true;
        case PipeRead::Bytes:
            break;
    }
    const std::size_t bytes = std::min(input.size(), end.rest);
    take_bytes(end, input, bytes);
    end.rest -= bytes;
    return end.rest == 0;
}

}  // namespace

std::string_view PipeEnd::error_text() const {
    switch (error) {
        case PipeError::None:
            break;
        case PipeError::Closed:
            return "closed";
        case PipeError::Aborted:
            return "aborted";
        case PipeError::Timeout:
            return "timeout";
        case PipeError::System:
            return std::strerror(error_number);
    }
    return {};
}

void PipeEnd::shut(PipeError why) {
    if (busy) {
        error = why;
        ready.set();  // whoever waits for it closes it
    } else {
        io.close();
    }
}

void PipeEnd::arm(bool write) {
    ready.reset();
    async::Registration& registration = io.registration();
    const auto wake = [](void* self) { static_cast<PipeEnd*>(self)->ready.set(); };
    if (write) {
        registration.on_writable = wake;
        registration.writable_context = this;
    } else {
        registration.on_readable = wake;
        registration.readable_context = this;
    }
}

Process::Process(async::Reactor& reactor, Log log)
    : in(reactor), out(reactor), err(reactor), exited(reactor), log_(std::move(log)) {}

Process::~Process() = default;

std::string Process::spawn(Context& context, PipeHandle& handle, const Command& command) {
    Pipe in;
    Pipe out;
    Pipe err;
    if (!in.open() || !out.open() || (!command.merge_stderr && !err.open())) {
        return system_failure("pipe");
    }
    async::Reactor& reactor = context.worker.reactor();
    auto process = std::make_shared<Process>(reactor, context.vm.log());
    int failure = 0;
    const pid_t pid =
        start(command, in.read, out.write, command.merge_stderr ? out.write : err.write, failure);
    if (pid < 0) {
        return system_failure("fork");
    }
    if (failure != 0) {
        // The child has ended with 1, which is what Lua gets to see, as in ngx_lua.
        context.log_line(LogLevel::Error,
                         fmt::format("lua pipe child {}() failed while executing {} ({}: {})",
                                     command.environment != nullptr ? "execvpe" : "execvp",
                                     command.file, failure, std::strerror(failure)));
    }
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    std::string problem;
    if (pidfd < 0) {
        problem = system_failure("pidfd_open");
    } else if (process->pidfd_ = async::Io(reactor, pidfd); !process->pidfd_.is_open()) {
        problem = system_failure("epoll_ctl");
    } else if (!take(process->in, reactor, in.write) || !take(process->out, reactor, out.read) ||
               (!command.merge_stderr && !take(process->err, reactor, err.read))) {
        problem = system_failure("fcntl");
    }
    if (!problem.empty()) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return problem;
    }
    process->pid = pid;
    process->merge_stderr = command.merge_stderr;
    process->buffer_size_ = std::clamp<std::size_t>(command.buffer_size, 1, kLargestRead);
    async::Registration& end = process->pidfd_.registration();
    end.on_readable = &Process::on_pidfd;
    end.readable_context = process.get();
    process->handle_ = &handle;
    process->context_ = &context;
    process->next_ = context.processes;
    if (context.processes != nullptr) {
        context.processes->previous_ = process.get();
    }
    context.processes = process.get();
    process->self_ = process;
    handle.pid = pid;
    handle.process = process.get();
    return {};
}

void Process::on_pidfd(void* self) {
    const auto kept = static_cast<Process*>(self)->shared_from_this();
    kept->reap();
}

void Process::reap() {
    int how = 0;
    pid_t ended = 0;
    do {
        ended = ::waitpid(pid, &how, WNOHANG);
    } while (ended < 0 && errno == EINTR);
    if (ended == 0) {
        pidfd_.registration().on_readable = &Process::on_pidfd;
        return;
    }
    pidfd_.close();
    log_.print(LogLevel::Notice, 0, "signal {} (SIGCHLD) received from {}", SIGCHLD, pid);
    if (ended > 0 && WIFSIGNALED(how)) {
        reason = Reason::Signal;
        status = WTERMSIG(how);
    } else if (ended > 0 && WIFEXITED(how)) {
        reason = Reason::Exit;
        status = WEXITSTATUS(how);
    } else {
        reason = Reason::Unknown;
        status = how;
    }
    exited.set();
    if (handle_ == nullptr) {
        self_.reset();
    }
}

void Process::unlink() {
    if (context_ == nullptr) {
        return;
    }
    (previous_ != nullptr ? previous_->next_ : context_->processes) = next_;
    if (next_ != nullptr) {
        next_->previous_ = previous_;
    }
    context_ = nullptr;
    previous_ = next_ = nullptr;
}

void Process::abandon() {
    if (handle_ == nullptr) {
        return;
    }
    if (reason == Reason::Running && ::kill(pid, SIGKILL) != 0 && errno != ESRCH) {
        log_.print(LogLevel::Error, 0, "lua pipe failed to kill the process {} ({}: {})", pid,
                   errno, std::strerror(errno));
    }
    unlink();
    std::exchange(handle_, nullptr)->process = nullptr;
    const auto kept = shared_from_this();
    close();
    if (reason != Reason::Running) {
        self_.reset();
    }
}

void Process::close() {
    const PipeError why = PipeError::Closed;
    in.shut(why);
    out.shut(why);
    err.shut(why);
    closed = true;
}

bool Process::read_some(PipeEnd& end) {
    for (;;) {
        if (take_input(end)) {
            return true;
        }
        end.input.clear();
        end.input_at = 0;
        if (end.ended) {
            if (end.mode != PipeRead::All) {
                end.error = PipeError::Closed;
            }
            return true;
        }
        ssize_t moved = 0;
        int failed = 0;
        end.input.resize_and_overwrite(buffer_size_, [&](char* to, std::size_t room) {
            do {
                moved = ::read(end.io.fd(), to, room);
                failed = errno;
            } while (moved < 0 && failed == EINTR);
            return moved > 0 ? static_cast<std::size_t>(moved) : 0;
        });
        if (moved == 0) {
            end.ended = true;
        } else if (moved < 0) {
            if (failed == EAGAIN) {
                return false;
            }
            end.error = PipeError::System;
            end.error_number = failed;
            return true;
        }
    }
}

bool Process::write_some(PipeEnd& end) {
    while (end.written < end.data.size()) {
        const ssize_t moved =
            ::write(end.io.fd(), end.data.data() + end.written, end.data.size() - end.written);
        if (moved >= 0) {
            end.written += static_cast<std::size_t>(moved);
        } else if (errno == EAGAIN) {
            return false;
        } else if (errno != EINTR) {
            end.error = errno == EPIPE ? PipeError::Closed : PipeError::System;
            end.error_number = errno;
            return true;
        }
    }
    return true;
}

}  // namespace moongate::lua
