#include "base/log.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/log_hooks.h"

namespace moongate {
namespace {

constexpr std::string_view kNames[] = {"stderr", "emerg",  "alert", "crit", "error",
                                       "warn",   "notice", "info",  "debug"};

thread_local LogTap* log_tap = nullptr;

struct Echo {
    std::atomic<int> fd = -1;
    std::mutex mutex;  // over all that follows, and changes of fd
    std::vector<std::string> shown;

    void write(LogLevel level, std::string_view message);
};

Echo echo;

void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written <= 0) {
            return;  // a full disk must not stop the server
        }
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

class StderrSink final : public LogSink {
public:
    void write(LogLevel, std::string_view line) override { write_all(STDERR_FILENO, line); }
};

class FileSink final : public LogSink {
public:
    FileSink(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
    ~FileSink() override { ::close(fd_); }

    void write(LogLevel, std::string_view line) override { write_all(fd_, line); }

    bool reopen() override {
        const int fresh = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (fresh < 0) {
            return false;
        }
        // dup3 swaps the file under the number that other threads may be writing to right now.
        const bool swapped = ::dup3(fresh, fd_, O_CLOEXEC) >= 0;
        ::close(fresh);
        return swapped;
    }

private:
    std::string path_;
    int fd_;
};

void append_escaped(std::string& line, std::string_view message) {
    for (char c : message) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\t' && c != '\n') || byte == 0x7f) {
            fmt::format_to(std::back_inserter(line), "\\x{:02X}", byte);
        } else {
            line.push_back(c);
        }
    }
}

void Echo::write(LogLevel level, std::string_view message) {
    constexpr std::size_t kMostShown = 64;
    std::string line = fmt::format("nginx: [{}] ", log_level_name(level));
    append_escaped(line, message);
    line.push_back('\n');
    const std::lock_guard lock(mutex);
    if (fd >= 0 && shown.size() < kMostShown && std::ranges::find(shown, line) == shown.end()) {
        write_all(fd, line);
        shown.push_back(std::move(line));
    }
}

}  // namespace

std::string_view log_level_name(LogLevel level) {
    return kNames[static_cast<std::size_t>(level)];
}

std::shared_ptr<LogSink> make_stderr_sink() {
    return std::make_shared<StderrSink>();
}

std::shared_ptr<LogSink> make_file_sink(const std::string& path) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? nullptr : std::make_shared<FileSink>(path, fd);
}

std::shared_ptr<LogSink> make_file_sink(const std::string& path, int fd) {
    return std::make_shared<FileSink>(path, fd);
}

Log::Log(std::vector<Output> outputs) : outputs_(std::move(outputs)) {
    for (const Output& output : outputs_) {
        level_ = std::max(level_, output.level);
    }
}

void Log::write(LogLevel level, std::uint64_t connection, std::string_view message) const {
    if (!enabled(level)) {
        return;
    }
    // A forked child starts with its parent's thread-local values: both ids are asked for again
    // there.
    thread_local pid_t process_id = 0;
    thread_local long thread_id = 0;
    if (const pid_t now = ::getpid(); now != process_id) {
        process_id = now;
        thread_id = ::syscall(SYS_gettid);
    }
    std::string line;
    line.reserve(message.size() + 64);
    fmt::format_to(std::back_inserter(line), "{} [{}] {}#{}: ", Clock::current().log_date(),
                   level == LogLevel::Stderr ? "" : log_level_name(level), process_id, thread_id);
    if (connection != 0) {
        fmt::format_to(std::back_inserter(line), "*{} ", connection);
    }
    append_escaped(line, message);
    if (level <= LogLevel::Warn && echo.fd.load(std::memory_order_relaxed) >= 0) {
        echo.write(level, message);
    }
    if (log_tap != nullptr) {
        log_tap->on_line(level, line);
    }
    line.push_back('\n');
    for (const Output& output : outputs_) {
        if (level <= output.level) {
            output.sink->write(level, line);
        }
    }
}

void set_log_tap(LogTap* tap) {
    log_tap = tap;
}

void start_log_echo(int fd) {
    const std::lock_guard lock(echo.mutex);
    echo.fd = fd;
}

void end_log_echo() {
    const std::lock_guard lock(echo.mutex);
    if (const int fd = echo.fd.exchange(-1); fd >= 0) {
        ::close(fd);
    }
    echo.shown.clear();
}

std::string errno_text(int errno_value) {
    char buffer[128];
    return fmt::format("({}: {})", errno_value, strerror_r(errno_value, buffer, sizeof buffer));
}

}  // namespace moongate
