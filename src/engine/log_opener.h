// How error_log opens its destinations. Lives in the compiler's extension bag
// (`compiler.extension<LogOpener>()`); the application sets the functions before compiling to share
// open files and to use its privileges. One opener may serve several compilations, so that a reload
// keeps the sinks of files that stay. Compiling thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "conf/error.h"

namespace moongate::engine {

class LogOpener {
public:
    using Opened = conf::Expected<std::shared_ptr<LogSink>>;

    // A file by its absolute path. Unset: opened by this process for appending.
    std::function<Opened(const std::string& path)> open_file;
    // What follows "syslog:", such as "server=127.0.0.1:514,tag=x". Unset: refused.
    std::function<Opened(std::string_view parameters)> open_syslog;
    // Unset: standard error itself.
    std::function<std::shared_ptr<LogSink>()> open_stderr;
    // Where the main level has no error_log: an absolute path; empty: standard error. Unset: the
    // prefix's logs/error.log.
    bool has_default_path = false;
    std::string default_path;

    // The sink for `path`, each path opened once.
    Opened file(const std::string& path);
    Opened syslog(std::string_view parameters);
    std::shared_ptr<LogSink> standard_error();

    // The absolute paths opened so far, in order.
    const std::vector<std::string>& paths() const { return paths_; }
    // Opens every file again (USR1). Any thread.
    void reopen() const {
        for (const auto& [path, sink] : sinks_) {
            sink->reopen();
        }
    }

private:
    std::unordered_map<std::string, std::shared_ptr<LogSink>> sinks_;
    std::vector<std::string> paths_;
    std::shared_ptr<LogSink> stderr_;
};

}  // namespace moongate::engine
