// The supervisor's part of a reload: load, open, announce to the engine, and adopt what it
// confirmed.
#include <signal.h>

#include <algorithm>

#include "app/pid_file.h"
#include "app/supervisor.h"
#include "app/supervisor_protocol.h"
#include "base/clock.h"

namespace moongate::app {
namespace {

// An engine that takes longer to build the configuration gets a line in the log.
constexpr std::uint64_t kReloadMs = 60'000;
constexpr std::size_t kListenersPerMessage = 100;

// What a process takes on once, at its start.
bool needs_new_process(const ProcessConfig& from, const ProcessConfig& to) {
    return from.account != to.account || from.environment != to.environment ||
           from.open_files_limit != to.open_files_limit ||
           from.core_bytes_limit != to.core_bytes_limit || from.priority != to.priority ||
           from.working_directory != to.working_directory || from.workers != to.workers ||
           from.worker_cpus != to.worker_cpus;
}

}  // namespace

void Supervisor::reconfigure() {
    if (mode_ != Mode::Serving) {
        return;
    }
    if (current() == nullptr && new_binary_ > 0) {
        // After WINCH during an upgrade: back to the old binary, with the configuration it had.
        start_engine();
        return;
    }
    if (candidate_) {
        reload_again_ = true;
        return;
    }
    log().write(LogLevel::Notice, 0, "reconfiguring");
    LoadResult loaded = setup_.engine.load(setup_.load);
    Clock::current().update();
    for (const Message& message : loaded.messages) {
        log().write(message.level, 0, message.text);
    }
    if (loaded.configuration == nullptr) {
        return;
    }
    Candidate candidate;
    candidate.configuration = std::move(loaded.configuration);
    const ProcessConfig& wanted = candidate.configuration->process();
    if (!prepare_pid_file(candidate)) {
        return;
    }
    auto listeners = open_listeners(wanted.listen, setup_.listeners, log());
    Clock::current().update();
    if (!listeners) {
        if (candidate.new_pid_file) {
            delete_pid_file(wanted.pid_path, log());
        }
        return;
    }
    candidate.listeners = std::move(*listeners);
    EngineHandle* engine = current();
    if (engine != nullptr && (threaded() || !needs_new_process(config(), wanted))) {
        candidate_ = std::move(candidate);
        announce(*engine);
        return;
    }
    adopt(std::move(candidate));
    restart_policy_.reset();
    for (const auto& other : engines_) {
        other->superseded = !other->retiring;
    }
    start_engine();
}

bool Supervisor::prepare_pid_file(Candidate& candidate) {
    const std::string& path = candidate.configuration->process().pid_path;
    if (path == config().pid_path) {
        return true;
    }
    candidate.new_pid_file = write_pid_file(path, ::getpid(), log());
    return candidate.new_pid_file;
}

void Supervisor::announce(EngineHandle& engine) {
    candidate_->sequence = next_sequence_++;
    candidate_->deadline_ms = Clock::current().monotonic_ms() + kReloadMs;
    if (!engine.commands.send(protocol::kForget) ||
        !send_listeners(engine, candidate_->listeners) ||
        !engine.commands.send(fmt::format("{}{}", protocol::kReload, candidate_->sequence))) {
        log().print(LogLevel::Alert, 0,
                    "the worker process takes no commands, the old configuration stays");
        abandon_candidate();
    }
}

bool Supervisor::send_listeners(EngineHandle& engine, const ListenerSet& set) {
    const std::vector<ListenSocket> sockets = set.sockets();
    for (std::size_t first = 0; first < sockets.size(); first += kListenersPerMessage) {
        std::string body(protocol::kListeners);
        std::vector<int> fresh;
        for (std::size_t i = first; i < std::min(first + kListenersPerMessage, sockets.size());
             ++i) {
            const bool known =
                setup_.listeners.find(sockets[i].name, sockets[i].type, sockets[i].copy) != nullptr;
            body += protocol::format_listener(sockets[i], !known);
            if (!known) {
                fresh.push_back(sockets[i].fd);
            }
        }
        if (!engine.commands.send(body, fresh)) {
            return false;
        }
    }
    return true;
}

void Supervisor::adopt(Candidate candidate) {
    const std::string old_pid_path = config().pid_path;
    const ListenerSet old_listeners = std::move(setup_.listeners);
    setup_.configuration = std::move(candidate.configuration);
    setup_.listeners = std::move(candidate.listeners);
    configure_listeners(setup_.listeners, config().listen, log());
    old_listeners.remove_socket_files(setup_.listeners, log());
    if (candidate.new_pid_file) {
        delete_pid_file(old_pid_path, log());
    }
    redirect_stderr(config());
    log().write(LogLevel::Notice, 0, "using the \"epoll\" event method");
}

void Supervisor::reload_confirmed(std::uint64_t sequence) {
    if (!candidate_ || candidate_->sequence != sequence) {
        return;
    }
    Candidate candidate = std::move(*candidate_);
    candidate_.reset();
    adopt(std::move(candidate));
    log().write(LogLevel::Notice, 0, "reconfigured");
    if (std::exchange(reload_again_, false)) {
        reconfigure();
    }
}

void Supervisor::reload_refused(std::uint64_t sequence, std::string_view body) {
    if (!candidate_ || candidate_->sequence != sequence) {
        return;
    }
    for (const Message& message : protocol::parse_messages(body)) {
        log().write(message.level, 0, message.text);
    }
    abandon_candidate();
}

void Supervisor::abandon_candidate() {
    if (!candidate_) {
        return;
    }
    const Candidate candidate = std::move(*candidate_);
    candidate_.reset();
    if (candidate.new_pid_file) {
        delete_pid_file(candidate.configuration->process().pid_path, log());
    }
    candidate.listeners.remove_socket_files(setup_.listeners, log());
    if (std::exchange(reload_again_, false) && mode_ == Mode::Serving) {
        reconfigure();
    }
}

}  // namespace moongate::app
