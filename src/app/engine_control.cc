#include "app/engine_control.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "app/signals.h"
#include "app/supervisor_protocol.h"
#include "base/log_hooks.h"

namespace moongate::app {
namespace {

constexpr int kBrokerWaitMs = 10'000;

void watch(int poll_fd, int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    ::epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
}

bool names_same(const ListenSocket& a, const ListenSocket& b) {
    return a.copy == b.copy && a.type == b.type && a.name == b.name;
}

UniqueFd open_here(const std::string& path, OpenMode mode) {
    const int flags = mode == OpenMode::Read ? O_RDONLY : O_WRONLY | O_APPEND | O_CREAT;
    return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
}

}  // namespace

EngineControl::EngineControl(Ends ends, std::vector<ListenSocket> listeners, LoadRequest load,
                             Log log, bool take_signals)
    : commands_(std::move(ends.commands)),
      broker_(std::move(ends.broker)),
      poll_fd_(::epoll_create1(EPOLL_CLOEXEC)),
      listeners_(std::move(listeners)),
      load_(std::move(load)),
      log_(std::move(log)) {
    load_.control = this;
    watch(poll_fd_.get(), commands_.fd());
    if (take_signals) {
        signal_fd_ = open_engine_signals();
        watch(poll_fd_.get(), signal_fd_.get());
    }
}

EngineControl::~EngineControl() {
    close_listeners();
}

std::optional<Command> EngineControl::receive() {
    if (auto command = receive_signal()) {
        return command;
    }
    return receive_message();
}

std::optional<Command> EngineControl::deliver(CommandKind kind) {
    if (kind == CommandKind::Quit) {
        if (quitting_) {
            return std::nullopt;
        }
        quitting_ = true;
        log_.write(LogLevel::Notice, 0, "gracefully shutting down");
    }
    if (kind == CommandKind::Reopen) {
        log_.write(LogLevel::Notice, 0, "reopening logs");
    }
    return Command{.kind = kind};
}

std::optional<Command> EngineControl::receive_signal() {
    if (!signal_fd_) {
        return std::nullopt;
    }
    while (const auto signal = read_signal(signal_fd_.get())) {
        std::optional<CommandKind> kind;
        std::string_view action = ", ignoring";
        if (signal->number == SIGTERM || signal->number == SIGINT) {
            kind = CommandKind::Stop;
            action = ", exiting";
        } else if (signal->number == SIGQUIT) {
            kind = CommandKind::Quit;
            action = ", shutting down";
        } else if (signal->number == SIGUSR1) {
            kind = CommandKind::Reopen;
            action = ", reopening logs";
        } else if (signal->number == SIGWINCH) {
            // A terminal sends this to the whole foreground group when its window changes.
            kind = signal->by_process ? std::optional(CommandKind::Quit) : std::nullopt;
            action = signal->by_process ? ", shutting down" : "";
        }
        log_signal(log_, *signal, action);
        if (kind) {
            if (auto command = deliver(*kind)) {
                return command;
            }
        }
    }
    return std::nullopt;
}

std::optional<Command> EngineControl::receive_message() {
    while (commands_) {
        auto message = commands_.receive();
        if (!message) {
            if (message.error().kind == ErrorKind::TimedOut) {
                return std::nullopt;
            }
            // Without a supervisor nobody would restart, reload or stop this process.
            log_.write(LogLevel::Alert, 0, "the supervisor is gone, exiting");
            commands_.close();
            return deliver(CommandKind::Stop);
        }
        const std::string_view body = message->body;
        std::optional<Command> command;
        if (body == protocol::kStop) {
            command = deliver(CommandKind::Stop);
        } else if (body == protocol::kQuit) {
            command = deliver(CommandKind::Quit);
        } else if (body == protocol::kReopen) {
            command = deliver(CommandKind::Reopen);
        } else if (body == protocol::kForget) {
            close_unlisted(incoming_, listeners_);
            incoming_.clear();
        } else if (body.starts_with(protocol::kListeners)) {
            accept_listeners(*message);
        } else if (const auto sequence = protocol::parse_sequence(body, protocol::kReload)) {
            previous_ = std::exchange(listeners_, std::exchange(incoming_, {}));
            command = Command{.kind = CommandKind::Reload, .sequence = *sequence};
        }
        if (command) {
            return command;
        }
    }
    return std::nullopt;
}

void EngineControl::accept_listeners(ChannelMessage& message) {
    std::size_t next_fd = 0;
    for (protocol::ListenerLine& line : protocol::parse_listeners(message.body)) {
        ListenSocket socket = std::move(line.socket);
        if (line.attached && next_fd < message.fds.size()) {
            socket.fd = message.fds[next_fd++].release();
        } else {
            for (const ListenSocket& known : listeners_) {
                if (names_same(known, socket)) {
                    socket.fd = known.fd;
                }
            }
        }
        if (socket.fd >= 0) {
            incoming_.push_back(std::move(socket));
        }
    }
}

void EngineControl::close_unlisted(const std::vector<ListenSocket>& closing,
                                   const std::vector<ListenSocket>& keeping) {
    for (const ListenSocket& socket : closing) {
        const bool kept = std::ranges::any_of(
            keeping, [&socket](const ListenSocket& other) { return other.fd == socket.fd; });
        if (!kept) {
            ::close(socket.fd);
        }
    }
}

void EngineControl::close_listeners() {
    close_unlisted(listeners_, {});
    close_unlisted(previous_, listeners_);
    close_unlisted(incoming_, listeners_);
    listeners_.clear();
    previous_.clear();
    incoming_.clear();
}

void EngineControl::ready() {
    end_log_echo();
    (void)commands_.send(protocol::kReady);
}

void EngineControl::reloaded(const Command& command, Log log) {
    close_unlisted(previous_, listeners_);
    previous_.clear();
    log_ = std::move(log);
    (void)commands_.send(fmt::format("{}{}", protocol::kReloaded, command.sequence));
}

void EngineControl::reload_failed(const Command& command, const std::vector<Message>& messages) {
    std::swap(listeners_, previous_);
    close_unlisted(previous_, listeners_);
    previous_.clear();
    (void)commands_.send(protocol::format_reload_failed(command.sequence, messages));
}

Result<UniqueFd> EngineControl::open(const std::string& path, OpenMode mode) {
    UniqueFd fd = open_here(path, mode);
    if (fd) {
        return fd;
    }
    const Error own = errno_error(errno, "open()", ErrorSide::Configuration);
    if (own.code != EACCES && own.code != EPERM) {
        return own;
    }
    const std::lock_guard lock(broker_mutex_);
    if (!broker_ || !broker_.send(protocol::format_open(path, mode))) {
        return own;
    }
    if (!broker_.wait_readable(kBrokerWaitMs)) {
        // An answer that came later would be taken for that of the next question.
        broker_.close();
        return own;
    }
    auto answer = broker_.receive();
    if (!answer) {
        broker_.close();
        return own;
    }
    if (answer->fds.size() == 1) {
        return std::move(answer->fds.front());
    }
    return errno_error(protocol::parse_errno(answer->body).value_or(own.code), "open()",
                       ErrorSide::Configuration);
}

}  // namespace moongate::app
