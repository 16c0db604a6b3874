// The error log: levels, sinks and nginx's line shape
// `2026/01/31 12:00:00 [error] PID#TID: *CONNECTION message, client: …`. A LogSink is a file,
// stderr or syslog, opened by the application and shared by every level of configuration that names
// it. A Log is what code holds: the sinks that apply, and a threshold. Any thread: each line is one
// write() (one datagram for syslog).
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace moongate {

// nginx's levels; smaller is graver. Stderr lines carry no level.
enum class LogLevel : std::uint8_t { Stderr, Emerg, Alert, Crit, Error, Warn, Notice, Info, Debug };

std::string_view log_level_name(LogLevel level);

class LogSink {
public:
    virtual ~LogSink() = default;
    // `line` is complete, with its newline.
    virtual void write(LogLevel level, std::string_view line) = 0;
    // Opens the file again under its name (after it was rotated). Returns false where that failed;
    // the old file stays in use then.
    virtual bool reopen() { return true; }
};

std::shared_ptr<LogSink> make_stderr_sink();
// Appends to `path`, created with mode 0644. Null where it cannot be opened; errno says why.
std::shared_ptr<LogSink> make_file_sink(const std::string& path);
// Over a descriptor that someone with the right to open `path` opened for appending; the sink owns
// it.
std::shared_ptr<LogSink> make_file_sink(const std::string& path, int fd);

class Log {
public:
    struct Output {
        std::shared_ptr<LogSink> sink;
        LogLevel level;
    };

    Log() = default;
    explicit Log(std::vector<Output> outputs);

    bool enabled(LogLevel level) const { return level <= level_; }
    LogLevel level() const { return level_; }
    const std::vector<Output>& outputs() const { return outputs_; }

    // Writes the line; `connection` 0 leaves the `*N` out. Control characters in `message` are
    // escaped as \xNN: what peers send cannot forge a line.
    void write(LogLevel level, std::uint64_t connection, std::string_view message) const;

    template <class... Args>
    void print(LogLevel level, std::uint64_t connection, fmt::format_string<Args...> format,
               Args&&... args) const {
        if (enabled(level)) {
            write(level, connection, fmt::format(format, std::forward<Args>(args)...));
        }
    }

private:
    std::vector<Output> outputs_;
    LogLevel level_ = LogLevel::Stderr;
};

// "(2: No such file or directory)", as nginx ends lines about system calls.
std::string errno_text(int errno_value);

}  // namespace moongate
