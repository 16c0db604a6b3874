// See log_file.h.
#include "modules/log/log_file.h"

#include <algorithm>

#include "conf/compiler.h"
#include "engine/log_opener.h"

namespace moongate::modules {

conf::Applied AccessLogFile::open(conf::Compiler& compiler) {
    if (sink != nullptr) {
        return {};
    }
    auto opened = compiler.extension<engine::LogOpener>().file(path);
    if (!opened) {
        opened.error().positioned = true;  // nginx names no line here
        return std::unexpected(std::move(opened.error()));
    }
    sink = std::move(*opened);
    return {};
}

void LogBuffers::Buffer::flush() {
    timer.clear();
    if (!held.empty()) {
        sink->write(LogLevel::Info, held);
        held.clear();
    }
}

void LogBuffers::write(const AccessLogFile& file, std::string_view line) {
    if (file.syslog != nullptr) {
        file.syslog->write_access(line);
        return;
    }
    if (file.sink == nullptr) {
        return;
    }
    if (file.buffer_bytes == 0) {
        file.sink->write(LogLevel::Info, line);
        return;
    }
    std::unique_ptr<Buffer>& buffer = buffers_[file.sink.get()];
    if (buffer == nullptr) {
        buffer = std::make_unique<Buffer>(file.sink);
    }
    if (buffer->held.size() + line.size() > file.buffer_bytes) {
        buffer->flush();
    }
    if (line.size() > file.buffer_bytes) {
        file.sink->write(LogLevel::Info, line);
        return;
    }
    buffer->held += line;
    if (file.flush > Milliseconds::zero() && !buffer->timer.is_set()) {
        reactor_.set_timer(buffer->timer, file.flush);
    }
}

std::shared_ptr<LogSink> LogBuffers::open(std::string_view path, const LogFileCache& cache) {
    if (cache.max == 0) {
        return make_file_sink(std::string(path));
    }
    const std::uint64_t now = reactor_.now_ms();
    const auto is_stale = [&](const auto& entry) {
        const Cached& file = entry.second;
        return now - file.used_ms > static_cast<std::uint64_t>(cache.inactive.count()) ||
               now - file.opened_ms > static_cast<std::uint64_t>(cache.valid.count());
    };
    if (const auto found = cached_.find(path); found != cached_.end() && !is_stale(*found)) {
        found->second.used_ms = now;
        return found->second.sink;
    }
    std::erase_if(cached_, is_stale);
    while (cached_.size() >= cache.max) {
        cached_.erase(std::ranges::min_element(
            cached_, {}, [](const auto& entry) { return entry.second.used_ms; }));
    }
    auto sink = make_file_sink(std::string(path));
    if (sink != nullptr) {
        cached_.insert_or_assign(std::string(path), Cached{sink, now, now});
    }
    return sink;
}

void LogBuffers::flush() {
    std::erase_if(buffers_, [](const auto& entry) { return entry.second->held.empty(); });
    for (auto& [sink, buffer] : buffers_) {
        buffer->flush();
    }
    cached_.clear();
}

}  // namespace moongate::modules
