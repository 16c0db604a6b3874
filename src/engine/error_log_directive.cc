#include "engine/error_log_directive.h"

#include <fmt/format.h>

#include <array>

#include "engine/log_opener.h"

namespace moongate::engine {
namespace {

constexpr std::array<std::string_view, 8> kLevels{"emerg", "alert",  "crit", "error",
                                                  "warn",  "notice", "info", "debug"};
// nginx's parts of debug; here they all mean debug.
constexpr std::array<std::string_view, 7> kDebugParts{"debug_core",  "debug_alloc", "debug_mutex",
                                                      "debug_event", "debug_http",  "debug_mail",
                                                      "debug_stream"};

template <std::size_t N>
int index_of(const std::array<std::string_view, N>& words, std::string_view word) {
    for (std::size_t i = 0; i < N; ++i) {
        if (words[i] == word) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

conf::Expected<LogLevel> parse_levels(const conf::Statement& statement) {
    if (statement.args.size() < 2) {
        return LogLevel::Error;
    }
    bool plain = false;
    bool parts = false;
    LogLevel level = LogLevel::Debug;
    for (std::size_t n = 2; n <= statement.args.size(); ++n) {
        const std::string_view word = statement.arg(n);
        if (const int found = index_of(kLevels, word); found >= 0) {
            if (plain || parts) {
                return conf::reject(fmt::format("duplicate log level \"{}\"", word));
            }
            plain = true;
            level = static_cast<LogLevel>(found + 1);
        } else if (index_of(kDebugParts, word) >= 0 && !plain) {
            parts = true;
        } else {
            return conf::reject(fmt::format("invalid log level \"{}\"", word));
        }
    }
    return level;
}

}  // namespace

conf::Applied add_error_log(conf::Compiler& compiler, const conf::Statement& statement,
                            std::shared_ptr<const Log>& log, std::string* file) {
    auto& opener = compiler.extension<LogOpener>();
    const std::string_view target = statement.arg(1);
    constexpr std::string_view kSyslog = "syslog:";
    LogOpener::Opened sink;
    if (target == "stderr") {
        sink = opener.standard_error();
    } else if (target.starts_with("memory:")) {
        return conf::reject("nginx was built without debug support");
    } else if (target.starts_with(kSyslog)) {
        sink = opener.syslog(target.substr(kSyslog.size()));
    } else {
        const std::string path = compiler.full_path(target);
        sink = opener.file(path);
        if (file != nullptr) {
            *file = path;
        }
    }
    if (!sink) {
        return std::unexpected(std::move(sink.error()));
    }
    const auto level = parse_levels(statement);
    if (!level) {
        return std::unexpected(level.error());
    }
    std::vector<Log::Output> outputs;
    if (log != nullptr) {
        outputs = log->outputs();
    }
    outputs.push_back({std::move(*sink), *level});
    log = std::make_shared<const Log>(std::move(outputs));
    return {};
}

conf::Expected<std::shared_ptr<const Log>> default_error_log(conf::Compiler& compiler,
                                                             std::string* file) {
    auto& opener = compiler.extension<LogOpener>();
    const std::string path =
        opener.has_default_path ? opener.default_path : compiler.full_path("logs/error.log");
    LogOpener::Opened sink;
    if (path.empty()) {
        sink = opener.standard_error();
    } else {
        sink = opener.file(path);
        *file = path;
    }
    if (!sink) {
        return std::unexpected(conf::ConfError::unplaced(sink.error().message));
    }
    std::vector<Log::Output> outputs{{std::move(*sink), LogLevel::Error}};
    return std::make_shared<const Log>(std::move(outputs));
}

}  // namespace moongate::engine
