#include "app/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "app/open_broker.h"
#include "app/pid_file.h"
#include "app/privileges.h"
#include "app/process_title.h"
#include "app/supervisor_protocol.h"
#include "app/upgrade.h"
#include "base/clock.h"
#include "base/log_hooks.h"

namespace moongate::app {
namespace {

// An engine that was told to stop and has not is killed after this time, about that of nginx's
// master process.
constexpr std::uint64_t kStopMs = 1500;
// How much longer than worker_shutdown_timeout a quitting engine may take: it keeps that time
// itself.
constexpr std::uint64_t kQuitGraceMs = 5000;
constexpr int kFatalExit = 2;

std::uint64_t now_ms() {
    return Clock::current().monotonic_ms();
}

}  // namespace

Supervisor::Supervisor(Setup setup)
    : setup_(std::move(setup)),
      started_as_master_(setup_.configuration->process().master_process) {}

Supervisor::~Supervisor() = default;

int Supervisor::run() {
    signal_fd_ = open_supervisor_signals();
    if (!signal_fd_) {
        log().print(LogLevel::Emerg, 0, "signalfd() failed {}", errno_text(errno));
        return 1;
    }
    std::string title = "moongate: master process";
    for (const std::string& argument : setup_.arguments) {
        title += " " + argument;
    }
    set_process_title(title);
    Clock::current().update();
    if (threaded()) {
        apply_environment(config().environment);
    }
    start_engine();
    while (mode_ == Mode::Serving || !engines_.empty()) {
        wait_and_dispatch();
    }
    finish();
    return exit_code_;
}

void Supervisor::wait_and_dispatch() {
    std::vector<pollfd> entries{{signal_fd_.get(), POLLIN, 0}};
    for (const auto& engine : engines_) {
        entries.push_back(
            {engine->commands.fd(), POLLIN, 0});  // -1, a closed one, is passed over by poll()
        entries.push_back({engine->broker.fd(), POLLIN, 0});
    }
    const int ready = ::poll(entries.data(), entries.size(), wait_milliseconds());
    Clock::current().update();
    if (ready > 0) {
        std::vector<EngineHandle*> readable;
        for (std::size_t i = 0; i < engines_.size(); ++i) {
            if (entries[1 + 2 * i].revents != 0 || entries[2 + 2 * i].revents != 0) {
                readable.push_back(engines_[i].get());
            }
        }
        for (EngineHandle* engine : readable) {
            read_engine(*engine);
        }
        if (entries[0].revents != 0) {
            while (const auto signal = read_signal(signal_fd_.get())) {
                handle_signal(*signal);
            }
        }
    }
    run_deadlines();
}

int Supervisor::wait_milliseconds() const {
    std::uint64_t earliest = 0;
    const auto consider = [&earliest](std::uint64_t at) {
        if (at != 0 && (earliest == 0 || at < earliest)) {
            earliest = at;
        }
    };
    consider(restart_at_ms_);
    consider(candidate_ ? candidate_->deadline_ms : 0);
    for (const auto& engine : engines_) {
        consider(engine->kill_at_ms);
    }
    if (earliest == 0) {
        return -1;
    }
    const std::uint64_t now = now_ms();
    return earliest <= now ? 0 : static_cast<int>(std::min<std::uint64_t>(earliest - now, 60'000));
}

void Supervisor::run_deadlines() {
    const std::uint64_t now = now_ms();
    if (restart_at_ms_ != 0 && now >= restart_at_ms_) {
        start_engine();
    }
    if (candidate_ && now >= candidate_->deadline_ms) {
        log().print(LogLevel::Alert, 0,
                    "the worker process has not confirmed the new configuration yet");
        candidate_->deadline_ms =
            0;  // it may still: what it serves and what is known here must not differ
    }
    for (const auto& engine : engines_) {
        if (engine->kill_at_ms == 0 || now < engine->kill_at_ms) {
            continue;
        }
        engine->kill_at_ms = 0;
        if (engine->pid == 0) {
            // The thread is stuck and cannot be ended alone.
            finish();
            ::_exit(0);
        }
        log().print(LogLevel::Alert, 0, "worker process {} did not exit in time, killing it",
                    engine->pid);
        ::kill(engine->pid, SIGKILL);
    }
}

void Supervisor::handle_signal(const Signal& signal) {
    const bool upgrade_ignored = serves_beside_another();
    switch (signal.number) {
        case SIGQUIT:
            log_signal(log(), signal, ", shutting down");
            quit();
            break;
        case SIGTERM:
        case SIGINT:
            log_signal(log(), signal, ", exiting");
            terminate();
            break;
        case SIGHUP:
            log_signal(log(), signal, ", reconfiguring");
            reconfigure();
            break;
        case SIGUSR1:
            log_signal(log(), signal, ", reopening logs");
            reopen();
            break;
        case SIGWINCH:
            // A terminal sends this to its foreground group whenever the window changes.
            if (setup_.background || signal.by_process) {
                log_signal(log(), signal, ", stop accepting connections");
                stop_accepting();
            }
            break;
        case SIGUSR2:
            log_signal(log(), signal, upgrade_ignored ? ", ignoring" : ", changing binary");
            if (upgrade_ignored) {
                log().write(
                    LogLevel::Crit, 0,
                    "the changing binary signal is ignored: you should shutdown or terminate "
                    "before either old or new binary's process");
            } else {
                change_binary();
            }
            break;
        case SIGCHLD:
            log_signal(log(), signal, "");
            reap_children();
            break;
        default:
            log_signal(log(), signal, "");
            break;
    }
}

void Supervisor::reap_children() {
    for (;;) {
        int status = 0;
        // In the process that also serves, Lua code has children of its own (ngx.pipe, os.execute),
        // and waits for them itself.
        const pid_t pid = started_as_master_ ? ::waitpid(-1, &status, WNOHANG)
                          : new_binary_ > 0  ? ::waitpid(new_binary_, &status, WNOHANG)
                                             : 0;
        if (pid <= 0) {
            return;
        }
        const auto found = std::ranges::find_if(
            engines_, [pid](const auto& engine) { return engine->pid == pid; });
        std::string_view name = "unknown process";
        if (found != engines_.end()) {
            name = "worker process";
        } else if (pid == new_binary_) {
            name = "new binary process";
        }
        if (WIFSIGNALED(status)) {
            log().print(LogLevel::Alert, 0, "{} {} exited on signal {}{}", name, pid,
                        WTERMSIG(status), WCOREDUMP(status) ? " (core dumped)" : "");
        } else {
            log().print(LogLevel::Notice, 0, "{} {} exited with code {}", name, pid,
                        WEXITSTATUS(status));
        }
        if (found != engines_.end()) {
            const std::unique_ptr<EngineHandle> engine = std::move(*found);
            engines_.erase(found);
            engine_exited(*engine, status);
        } else if (pid == new_binary_) {
            new_binary_exited();
        }
    }
}

void Supervisor::engine_ready(EngineHandle& engine) {
    engine.ready = true;
    served_ = true;
    end_log_echo();
    if (setup_.readiness) {
        constexpr char kServes = 1;
        [[maybe_unused]] const ssize_t told = ::write(setup_.readiness.get(), &kServes, 1);
        setup_.readiness.reset();
    }
    for (const auto& other : engines_) {
        if (other->superseded) {
            retire(*other);
        }
    }
}

void Supervisor::engine_exited(EngineHandle& engine, int wait_status) {
    if (engine.retiring || engine.superseded || mode_ != Mode::Serving) {
        return;
    }
    // A configuration that may have killed it is not tried again; who wants it sends another HUP.
    if (candidate_) {
        log().write(LogLevel::Alert, 0,
                    "the worker process died while reloading, the old configuration stays");
        abandon_candidate();
        if (current() != nullptr) {
            return;  // another HUP was waiting, and has started one
        }
    }
    const std::uint64_t lifetime = now_ms() - engine.started_ms;
    const auto pause = restart_policy_.pause_after(std::chrono::milliseconds(lifetime));
    // nginx refuses such a configuration (a failing init_by_lua) before it starts anything. One
    // that was killed gets the attempts that need no pause.
    if (!served_ && (WIFEXITED(wait_status) || pause.count() != 0)) {
        log().write(LogLevel::Emerg, 0, "the worker process could not start");
        exit_code_ = 1;
        mode_ = Mode::Quitting;
        return;
    }
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kFatalExit) {
        log().print(LogLevel::Alert, 0,
                    "worker process {} exited with fatal code {} and cannot be respawned",
                    engine.pid, kFatalExit);
        return;
    }
    if (pause.count() == 0) {
        start_engine();
        return;
    }
    log().print(LogLevel::Alert, 0, "worker process keeps exiting, starting it again after {}ms",
                pause.count());
    restart_at_ms_ = now_ms() + static_cast<std::uint64_t>(pause.count());
}

void Supervisor::new_binary_exited() {
    restore_pid_file(config().pid_path, setup_.executable, log());
    new_binary_ = 0;
    if (not_accepting_ && mode_ == Mode::Serving) {
        not_accepting_ = false;
        start_engine();
    }
}

void Supervisor::start_engine() {
    restart_at_ms_ = 0;
    not_accepting_ = false;
    log().write(LogLevel::Notice, 0, "start worker processes");
    const LaunchRequest request{.engine = setup_.engine,
                                .configuration = *setup_.configuration,
                                .load = setup_.load,
                                .listeners = setup_.listeners,
                                .close_supervisor_side = [this] {
                                    signal_fd_.reset();
                                    setup_.readiness.reset();
                                    engines_.clear();
                                }};
    auto engine = threaded() ? start_engine_thread(request) : fork_engine(request);
    if (engine == nullptr) {
        const auto pause = std::max(restart_policy_.pause_after({}), RestartPolicy::kFirstPause);
        restart_at_ms_ = now_ms() + static_cast<std::uint64_t>(pause.count());
        return;
    }
    engines_.push_back(std::move(engine));
}

EngineHandle* Supervisor::current() {
    for (auto at = engines_.rbegin(); at != engines_.rend(); ++at) {
        if (!(*at)->retiring && !(*at)->superseded) {
            return at->get();
        }
    }
    return nullptr;
}

void Supervisor::command(EngineHandle& engine, std::string_view text, int fallback_signal) {
    if (engine.commands && engine.commands.send(text)) {
        return;
    }
    if (engine.pid != 0 && ::kill(engine.pid, fallback_signal) != 0) {
        log().print(LogLevel::Alert, 0, "kill({}, {}) failed {}", engine.pid, fallback_signal,
                    errno_text(errno));
    }
}

void Supervisor::retire(EngineHandle& engine) {
    if (engine.retiring) {
        return;
    }
    engine.retiring = true;
    command(engine, protocol::kQuit, SIGQUIT);
    if (const auto limit = config().shutdown_timeout) {
        engine.kill_at_ms = now_ms() + static_cast<std::uint64_t>(limit->count()) + kQuitGraceMs;
    }
}

void Supervisor::quit() {
    if (mode_ != Mode::Serving) {
        return;
    }
    mode_ = Mode::Quitting;
    restart_at_ms_ = 0;
    abandon_candidate();
    for (const auto& engine : engines_) {
        retire(*engine);
    }
    // From here on connections are refused, as the engine has closed its copies of the sockets too.
    // Not while a new binary, or the old one that started this, serves on the same sockets' files.
    if (!serves_beside_another()) {
        setup_.listeners.remove_socket_files({}, log());
    }
    setup_.listeners = {};
}

void Supervisor::terminate() {
    if (mode_ == Mode::Terminating) {
        return;
    }
    mode_ = Mode::Terminating;
    restart_at_ms_ = 0;
    abandon_candidate();
    for (const auto& engine : engines_) {
        engine->retiring = true;
        command(*engine, protocol::kStop, SIGTERM);
        engine->kill_at_ms = now_ms() + kStopMs;
    }
}

void Supervisor::stop_accepting() {
    not_accepting_ = true;
    restart_at_ms_ = 0;
    abandon_candidate();
    for (const auto& engine : engines_) {
        retire(*engine);
    }
}

void Supervisor::reopen() {
    log().write(LogLevel::Notice, 0, "reopening logs");
    hand_over_logs(config().files, config().account, log());
    for (const Log::Output& output : log().outputs()) {
        if (!output.sink->reopen()) {
            log().print(LogLevel::Emerg, 0, "reopening an error log failed {}", errno_text(errno));
        }
    }
    redirect_stderr(config());
    for (const auto& engine : engines_) {
        command(*engine, protocol::kReopen, SIGUSR1);
    }
}

void Supervisor::change_binary() {
    log().write(LogLevel::Notice, 0, "changing binary");
    const pid_t pid = execute_new_binary({.executable = setup_.executable,
                                          .arguments = setup_.arguments,
                                          .environment_directives = config().environment,
                                          .listeners = setup_.listeners,
                                          .pid_path = config().pid_path},
                                         log());
    new_binary_ = std::max(pid, 0);
}

bool Supervisor::serves_beside_another() const {
    return new_binary_ > 0 || (setup_.upgraded_from != 0 && ::getppid() == setup_.upgraded_from);
}

void Supervisor::finish() {
    const bool upgraded = new_binary_ > 0;
    delete_pid_file(upgraded ? config().pid_path + std::string(kOldPidSuffix) : config().pid_path,
                    log());
    if (!serves_beside_another()) {
        setup_.listeners.remove_socket_files({}, log());
    }
    setup_.listeners = {};
    log().write(LogLevel::Notice, 0, "exit");
}

void Supervisor::read_engine(EngineHandle& engine) {
    const std::vector<NamedFile>* allowed[] = {
        &config().files, candidate_ ? &candidate_->configuration->process().files : nullptr};
    answer_open_requests(engine.broker, allowed, log());
    while (engine.commands) {
        auto message = engine.commands.receive();
        if (!message) {
            if (message.error().kind == ErrorKind::TimedOut) {
                return;
            }
            engine.commands.close();
            break;
        }
        const std::string_view body = message->body;
        if (body == protocol::kReady) {
            engine_ready(engine);
        } else if (const auto confirmed = protocol::parse_sequence(body, protocol::kReloaded)) {
            reload_confirmed(*confirmed);
        } else if (const auto refused = protocol::parse_sequence(body, protocol::kReloadFailed)) {
            reload_refused(*refused, body);
        }
    }
    if (engine.pid == 0 && !engine.commands) {
        // The thread has let go of its end: it is returning.
        void* code = nullptr;
        ::pthread_join(engine.thread, &code);
        exit_code_ = static_cast<int>(reinterpret_cast<std::intptr_t>(code));
        if (exit_code_ != 0 && !served_) {
            exit_code_ = 1;
        }
        mode_ = mode_ == Mode::Serving ? Mode::Quitting : mode_;
        std::erase_if(engines_, [&engine](const auto& other) { return other.get() == &engine; });
    }
}

void redirect_stderr(const ProcessConfig& config) {
    if (config.stderr_path.empty() || config.log_on_stderr) {
        return;
    }
    const UniqueFd fd(
        ::open(config.stderr_path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    if (fd) {
        ::dup2(fd.get(), STDERR_FILENO);
    }
}

}  // namespace moongate::app
