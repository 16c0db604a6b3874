// An engine for the supervisor's tests: real sockets, a line protocol, one thread. A configuration
// is lines of "word value"; a client sends "who", "slow MS", "env NAME" or "open PATH" and gets one
// line back, over a connection that stays open. Quit ends it when no request is being answered.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <list>
#include <sstream>

#include "app/engine_control.h"
#include "app/engine_process.h"
#include "app/privileges.h"
#include "base/clock.h"
#include "base/strings.h"

namespace moongate::app {

class TestConfiguration final : public Configuration {
public:
    const ProcessConfig& process() const override { return config; }
    std::vector<SourceFile> sources() const override { return {source}; }

    ProcessConfig config;
    SourceFile source;
    std::string text;  // what "who" answers
    int exit_at_start = -1;
    int exit_once_ready = -1;
};

class TestEngine final : public Engine {
public:
    LoadResult load(const LoadRequest& request) override {
        std::ifstream file(request.configuration_path);
        if (!file) {
            return {.messages = {{LogLevel::Emerg,
                                  fmt::format("open() \"{}\" failed {}", request.configuration_path,
                                              errno_text(ENOENT))}}};
        }
        std::stringstream content;
        content << file.rdbuf();
        auto result = std::make_unique<TestConfiguration>();
        result->source = {request.configuration_path, content.str()};
        ProcessConfig& config = result->config;
        config.pid_path = request.prefix + "nginx.pid";
        config.daemon = false;
        std::string word;
        std::string value;
        while (content >> word >> value) {
            if (word == "bad" || (word == "engine_refuses" && request.control != nullptr)) {
                return {.syntax_ok = word != "bad",
                        .messages = {
                            {LogLevel::Emerg, fmt::format("unknown directive \"{}\" in {}:1", value,
                                                          request.configuration_path)}}};
            }
            apply(*result, word, value);
        }
        if (::geteuid() == 0 && config.account.user.empty()) {
            config.account = {.user = "root"};
        }
        const std::string log_path = request.prefix + "error.log";
        config.stderr_path = log_path;
        config.files.push_back({log_path, OpenMode::Append});
        if (request.control == nullptr) {
            config.log = Log({{make_file_sink(log_path), LogLevel::Info}});
        } else if (auto fd = request.control->open(log_path, OpenMode::Append)) {
            config.log = Log({{make_file_sink(log_path, fd->release()), LogLevel::Info}});
        } else {
            return {.messages = {{LogLevel::Emerg, "the log cannot be opened"}}};
        }
        return {.configuration = std::move(result), .syntax_ok = true};
    }

    int run(const Configuration& configuration, EngineControl& control) override {
        const auto& settings = static_cast<const TestConfiguration&>(configuration);
        if (settings.exit_at_start >= 0) {
            return settings.exit_at_start;
        }
        text_ = settings.text;
        control.ready();
        if (settings.exit_once_ready >= 0) {
            return settings.exit_once_ready;
        }
        bool quitting = false;
        for (;;) {
            std::vector<pollfd> entries{{control.fd(), POLLIN, 0}};
            if (!quitting) {
                for (const ListenSocket& socket : control.listeners()) {
                    entries.push_back({socket.fd, POLLIN, 0});
                }
            }
            for (const Connection& connection : connections_) {
                entries.push_back({connection.fd.get(), POLLIN, 0});
            }
            ::poll(entries.data(), entries.size(), 5);
            Clock::current().update();
            if (!quitting) {
                accept_all(control);
            }
            serve_all(control);
            while (const auto command = control.receive()) {
                if (command->kind == CommandKind::Stop) {
                    return 0;
                }
                if (command->kind == CommandKind::Quit) {
                    quitting = true;
                    control.close_listeners();
                }
                if (command->kind == CommandKind::Reopen) {
                    for (const Log::Output& output : control.log().outputs()) {
                        output.sink->reopen();
                    }
                }
                if (command->kind == CommandKind::Reload) {
                    reload(control, *command);
                }
            }
            if (quitting && std::ranges::none_of(
                                connections_, [](const Connection& c) { return c.due_ms != 0; })) {
                return 0;
            }
        }
    }

private:
    struct Connection {
        UniqueFd fd;
        std::string input;
        std::uint64_t due_ms = 0;  // of a slow answer
    };

    static void apply(TestConfiguration& result, const std::string& word,
                      const std::string& value) {
        ProcessConfig& config = result.config;
        if (word == "listen") {
            ListenSpec spec;
            sockaddr_in address{.sin_family = AF_INET,
                                .sin_port = htons(parse_number<std::uint16_t>(value).value_or(0)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
            std::memcpy(&spec.address, &address, sizeof address);
            spec.address_bytes = sizeof address;
            config.listen.push_back(spec);
        } else if (word == "text") {
            result.text = value;
        } else if (word == "daemon") {
            config.daemon = value == "on";
        } else if (word == "master") {
            config.master_process = value == "on";
        } else if (word == "user") {
            config.account = resolve_account(value, "nogroup").value_or(Account{});
        } else if (word == "env") {
            config.environment.push_back(value);
        } else if (word == "names") {
            config.files.push_back({value, OpenMode::Read});
        } else if (word == "exit") {
            result.exit_at_start = parse_number<int>(value).value_or(0);
        } else if (word == "exit_ready") {
            result.exit_once_ready = parse_number<int>(value).value_or(0);
        }
    }

    void accept_all(EngineControl& control) {
        for (const ListenSocket& socket : control.listeners()) {
            for (int fd = 0; fd >= 0;) {
                fd = ::accept4(socket.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0) {
                    connections_.push_back({UniqueFd(fd), {}, 0});
                }
            }
        }
    }

    void serve_all(EngineControl& control) {
        for (auto at = connections_.begin(); at != connections_.end();) {
            at = serve(*at, control) ? std::next(at) : connections_.erase(at);
        }
    }

    // False where the connection ended.
    bool serve(Connection& connection, EngineControl& control) {
        char buffer[512];
        const ssize_t bytes = ::recv(connection.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (bytes == 0 || (bytes < 0 && errno != EAGAIN)) {
            return false;
        }
        connection.input.append(buffer, bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
        if (connection.due_ms != 0 && Clock::current().monotonic_ms() >= connection.due_ms) {
            connection.due_ms = 0;
            answer(connection, text_);
        }
        const std::size_t end = connection.input.find('\n');
        if (end == std::string::npos) {
            return true;
        }
        const std::string line = connection.input.substr(0, end);
        connection.input.erase(0, end + 1);
        const std::string value = line.substr(std::min(line.size(), line.find(' ') + 1));
        if (line == "who") {
            answer(connection, fmt::format("{} {}", ::getpid(), text_));
        } else if (line.starts_with("slow ")) {
            connection.due_ms =
                Clock::current().monotonic_ms() + parse_number<std::uint64_t>(value).value_or(1);
        } else if (line.starts_with("env ")) {
            const char* variable = ::getenv(value.c_str());
            answer(connection, variable != nullptr ? variable : "(unset)");
        } else if (line.starts_with("open ")) {
            auto fd = control.open(value, OpenMode::Read);
            const ssize_t read = fd ? ::read(fd->get(), buffer, sizeof buffer) : -1;
            answer(connection, read < 0 ? fmt::format("errno {}", fd ? errno : fd.error().code)
                                        : std::string(buffer, static_cast<std::size_t>(read)));
        }
        return true;
    }

    static void answer(const Connection& connection, std::string line) {
        line += '\n';
        (void)::send(connection.fd.get(), line.data(), line.size(), MSG_NOSIGNAL);
    }

    void reload(EngineControl& control, const Command& command) {
        LoadResult loaded = load(control.load_request());
        if (loaded.configuration == nullptr) {
            control.reload_failed(command, loaded.messages);
            return;
        }
        text_ = static_cast<const TestConfiguration&>(*loaded.configuration).text;
        control.reloaded(command, loaded.configuration->process().log);
    }

    std::string text_;
    std::list<Connection> connections_;
};

}  // namespace moongate::app
