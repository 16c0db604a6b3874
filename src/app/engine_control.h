// The engine process's end of the supervisor: commands arrive here, from the channel and from
// signals sent to the engine itself; answers and requests to open files leave here. It also owns
// the listening sockets on the engine's side. One thread receives; open() may be called on any
// thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/channel.h"
#include "app/engine_process.h"

namespace moongate::app {

enum class CommandKind : std::uint8_t {
    Stop,    // end at once
    Quit,    // close listeners, finish the requests (bounded by worker_shutdown_timeout), return
    Reload,  // load() again, serve it on listeners(), then call reloaded() or reload_failed()
    Reopen,  // open the log files again
};

struct Command {
    CommandKind kind = CommandKind::Stop;
    std::uint64_t sequence = 0;  // of a Reload, for the answer
};

class EngineControl {
public:
    struct Ends {
        Channel commands;
        Channel broker;
    };

    // `take_signals`: TERM, INT, QUIT, USR1 and WINCH to this process become commands (they must be
    // blocked).
    EngineControl(Ends ends, std::vector<ListenSocket> listeners, LoadRequest load, Log log,
                  bool take_signals);
    ~EngineControl();
    EngineControl(const EngineControl&) = delete;
    EngineControl& operator=(const EngineControl&) = delete;

    // Readable where receive() has something; usable in epoll, also edge-triggered if receive() is
    // called until it has nothing more.
    int fd() const { return poll_fd_.get(); }
    // Never waits. The supervisor's end is reported as Stop.
    std::optional<Command> receive();

    // What to listen on now; after a Reload was received, the new set. The descriptors stay this
    // object's: stop watching those that are gone before calling reloaded(), which closes them.
    const std::vector<ListenSocket>& listeners() const { return listeners_; }
    // Part of obeying Quit: from here on connections are refused, unless another process serves
    // these addresses.
    void close_listeners();
    // How to load the configuration again after Reload.
    const LoadRequest& load_request() const { return load_; }

    // The main error log in force.
    const Log& log() const { return log_; }

    // The engine serves: call it once after the start.
    void ready();
    // Every worker serves the new configuration. `log` is the new main error log.
    void reloaded(const Command& command, Log log);
    // Nothing changed: listeners() is the old set again.
    void reload_failed(const Command& command, const std::vector<Message>& messages);

    // Opens for reading, or for appending (created with mode 0644), with this process's rights
    // first and, where they do not suffice, by the supervisor. The supervisor opens only what the
    // configuration that it loaded names in ProcessConfig::files. Waits for the answer (the
    // supervisor's disk access), at most 10 s.
    Result<UniqueFd> open(const std::string& path, OpenMode mode);

private:
    std::optional<Command> receive_signal();
    std::optional<Command> receive_message();
    void accept_listeners(ChannelMessage& message);
    std::optional<Command> deliver(CommandKind kind);
    static void close_unlisted(const std::vector<ListenSocket>& closing,
                               const std::vector<ListenSocket>& keeping);

    Channel commands_;
    std::mutex broker_mutex_;
    Channel broker_;
    UniqueFd signal_fd_;
    UniqueFd poll_fd_;
    std::vector<ListenSocket> listeners_;
    std::vector<ListenSocket> previous_;  // until a reload is answered
    std::vector<ListenSocket> incoming_;  // of a reload that comes in several messages
    bool quitting_ = false;
    LoadRequest load_;
    Log log_;
};

}  // namespace moongate::app
