// The supervisor: owns the listening sockets and the pid file, starts the engine and starts it
// again when it dies, and turns signals into what nginx's master process does with them
// ("Controlling nginx", nginx.org). One thread, which waits in poll() for signals (signalfd),
// engines (channels) and its own deadlines.
//
// A reload is in two steps, so that the running engine keeps its connections: this process loads
// and checks the configuration and opens sockets, then the engine builds it too and confirms. Only
// then the old one is let go. Changes that a running process cannot take on (user, environment,
// limits) start a second engine instead, which takes over from the first one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/engine_launch.h"
#include "app/engine_process.h"
#include "app/listeners.h"
#include "app/restart_policy.h"
#include "app/signals.h"

namespace moongate::app {

class Supervisor {
public:
    struct Setup {
        Engine& engine;
        LoadRequest load;
        std::vector<std::string> arguments;  // argv, for the upgrade and the process title
        std::string executable;
        std::unique_ptr<Configuration> configuration;
        ListenerSet listeners;
        bool background = false;  // daemonized or inherited: WINCH cannot come from a terminal
        pid_t upgraded_from = 0;  // the old supervisor that executed this binary; 0: none
        UniqueFd readiness;       // who waits at its other end learns that this serves
    };

    explicit Supervisor(Setup setup);
    ~Supervisor();

    // Signals must be blocked and the pid file written. Returns the exit code.
    int run();

private:
    enum class Mode : std::uint8_t { Serving, Quitting, Terminating };

    struct Candidate {
        std::unique_ptr<Configuration> configuration;
        ListenerSet listeners;
        std::uint64_t sequence = 0;
        std::uint64_t deadline_ms = 0;
        bool new_pid_file = false;
    };

    const ProcessConfig& config() const { return setup_.configuration->process(); }
    const Log& log() const { return config().log; }
    bool threaded() const { return !started_as_master_; }

    // supervisor.cc: the loop, signals and the life of engines
    void wait_and_dispatch();
    int wait_milliseconds() const;
    void run_deadlines();
    void handle_signal(const Signal& signal);
    void reap_children();
    void engine_ready(EngineHandle& engine);
    void engine_exited(EngineHandle& engine, int wait_status);
    void new_binary_exited();
    void start_engine();
    EngineHandle* current();
    void command(EngineHandle& engine, std::string_view text, int fallback_signal);
    void retire(EngineHandle& engine);
    void quit();
    void terminate();
    void stop_accepting();
    void reopen();
    void change_binary();
    // The binary before or after this one in an upgrade is running too.
    bool serves_beside_another() const;
    void finish();
    void read_engine(EngineHandle& engine);

    // supervisor_reload.cc
    void reconfigure();
    bool prepare_pid_file(Candidate& candidate);
    void announce(EngineHandle& engine);
    bool send_listeners(EngineHandle& engine, const ListenerSet& set);
    void adopt(Candidate candidate);
    void reload_confirmed(std::uint64_t sequence);
    void reload_refused(std::uint64_t sequence, std::string_view body);
    void abandon_candidate();

    Setup setup_;
    const bool started_as_master_;
    Mode mode_ = Mode::Serving;
    UniqueFd signal_fd_;
    std::vector<std::unique_ptr<EngineHandle>> engines_;
    RestartPolicy restart_policy_;
    std::uint64_t restart_at_ms_ = 0;  // 0: no restart is due
    std::optional<Candidate> candidate_;
    bool reload_again_ = false;
    std::uint64_t next_sequence_ = 1;
    pid_t new_binary_ = 0;
    bool not_accepting_ = false;
    bool served_ = false;  // some engine has been ready
    int exit_code_ = 0;
};

// Points standard error at the error log, so that what libraries print is found there.
void redirect_stderr(const ProcessConfig& config);

}  // namespace moongate::app
