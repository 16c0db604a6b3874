// Where access logs go. AccessLogFile is what a configuration names: shared by all that name the
// path, opened when the whole configuration was accepted. LogBuffers is what a worker holds back of
// files with `buffer=`, and the files with variables in their name that it keeps open. Each belongs
// to its worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "async/reactor.h"
#include "base/log.h"
#include "base/strings.h"
#include "conf/error.h"
#include "net/syslog_sink.h"

namespace moongate::conf {
class Compiler;
}

namespace moongate::modules {

struct AccessLogFile {
    std::string path;  // absolute; of a syslog destination: its parameters
    std::shared_ptr<LogSink> sink;
    std::shared_ptr<net::SyslogSink> syslog;  // `sink` as what it is
    std::size_t buffer_bytes = 0;             // 0: every line is written at once
    Milliseconds flush{0};                    // 0: only when the buffer is full
    bool wanted = false;                      // a location writes to it

    // Opens the file, once. nginx's message: `open() "PATH" failed (2: …)`.
    conf::Applied open(conf::Compiler& compiler);
};

// `open_log_file_cache`.
struct LogFileCache {
    std::size_t max = 0;  // 0: files are opened for every line
    Milliseconds inactive{10000};
    Milliseconds valid{60000};
};

class LogBuffers {
public:
    explicit LogBuffers(async::Reactor& reactor) : reactor_(reactor) {}
    LogBuffers(const LogBuffers&) = delete;
    LogBuffers& operator=(const LogBuffers&) = delete;
    ~LogBuffers() { flush(); }

    // `line` has its newline.
    void write(const AccessLogFile& file, std::string_view line);
    // A file whose name was computed. Null where it cannot be opened; errno says why.
    std::shared_ptr<LogSink> open(std::string_view path, const LogFileCache& cache);
    // Writes all that is held back and forgets files that nothing was held back for.
    void flush();

private:
    struct Buffer {
        explicit Buffer(std::shared_ptr<LogSink> to) : sink(std::move(to)), timer(&expire, this) {}
        void flush();
        static void expire(void* self) { static_cast<Buffer*>(self)->flush(); }

        std::shared_ptr<LogSink> sink;
        std::string held;
        async::Timer timer;
    };
    struct Cached {
        std::shared_ptr<LogSink> sink;
        std::uint64_t opened_ms = 0;
        std::uint64_t used_ms = 0;
    };

    async::Reactor& reactor_;
    std::unordered_map<const LogSink*, std::unique_ptr<Buffer>> buffers_;
    std::unordered_map<std::string, Cached, StringHash, std::equal_to<>> cached_;
};

}  // namespace moongate::modules
