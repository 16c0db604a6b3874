#include "app/early_log.h"

#include <unistd.h>

#include <cerrno>

namespace moongate::app {
namespace {

void write_stderr(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
        if (written < 0 && errno != EINTR) {
            return;
        }
        text.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
    }
}

class EchoSink final : public LogSink {
public:
    // `line` is "DATE [level] PID#TID: message": all before the message is replaced.
    void write(LogLevel level, std::string_view line) override {
        const std::size_t ids = line.find('#');
        const std::size_t colon = ids == std::string_view::npos ? ids : line.find(": ", ids);
        const std::string_view message =
            colon == std::string_view::npos ? line : line.substr(colon + 2);
        write_stderr(fmt::format("nginx: [{}] {}", log_level_name(level), message));
    }
};

}  // namespace

Log make_early_log(const std::string& path, LogLevel level) {
    if (!path.empty()) {
        if (auto file = make_file_sink(path); file != nullptr) {
            return with_stderr_echo(Log({{std::move(file), level}}));
        }
        print_stderr(fmt::format("[alert] could not open error log file: open() \"{}\" failed {}",
                                 path, errno_text(errno)));
    }
    return Log({{make_stderr_sink(), level}});
}

Log with_stderr_echo(const Log& log) {
    std::vector<Log::Output> outputs = log.outputs();
    outputs.push_back({std::make_shared<EchoSink>(), LogLevel::Warn});
    return Log(std::move(outputs));
}

void print_stderr(std::string_view text) {
    write_stderr(fmt::format("nginx: {}\n", text));
}

}  // namespace moongate::app
