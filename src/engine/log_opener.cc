#include "engine/log_opener.h"

#include <fmt/format.h>

#include <cerrno>

namespace moongate::engine {

LogOpener::Opened LogOpener::file(const std::string& path) {
    if (const auto found = sinks_.find(path); found != sinks_.end()) {
        return found->second;
    }
    Opened opened;
    if (open_file) {
        opened = open_file(path);
    } else {
        opened = make_file_sink(path);
        if (*opened == nullptr) {
            return conf::reject(fmt::format("open() \"{}\" failed {}", path, errno_text(errno)));
        }
    }
    if (opened) {
        sinks_.emplace(path, *opened);
        paths_.push_back(path);
    }
    return opened;
}

LogOpener::Opened LogOpener::syslog(std::string_view parameters) {
    if (!open_syslog) {
        return conf::reject("logging to syslog is not available here");
    }
    const std::string key = fmt::format("syslog:{}", parameters);
    if (const auto found = sinks_.find(key); found != sinks_.end()) {
        return found->second;
    }
    auto opened = open_syslog(parameters);
    if (opened) {
        sinks_.emplace(key, *opened);
    }
    return opened;
}

std::shared_ptr<LogSink> LogOpener::standard_error() {
    if (stderr_ == nullptr) {
        stderr_ = open_stderr ? open_stderr() : make_stderr_sink();
    }
    return stderr_;
}

}  // namespace moongate::engine
