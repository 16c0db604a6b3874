#include "lua/log_ring.h"

#include <deque>

#include "base/clock.h"
#include "lua/api.h"
#include "lua/ffi.h"
#include "lua/vm.h"

namespace moongate::lua {
namespace {

struct Line {
    LogLevel level;
    double time;
    std::string text;
};

struct Ring {
    std::deque<Line> lines;
    std::size_t bytes = 0;
    LogLevel filter = LogLevel::Debug;
    std::string last;  // what get_msg returned: valid until the next call
};

thread_local Ring ring;

std::size_t limit() {
    const Vm* vm = Vm::current();
    return vm == nullptr ? 0 : vm->settings().capture_error_log;
}

}  // namespace

bool capture_wants(const engine::WorkerState&, LogLevel level) {
    return limit() != 0 && level <= ring.filter;
}

void capture(engine::WorkerState&, LogLevel level, std::string_view line) {
    constexpr std::size_t kOverhead = 24;
    ring.lines.push_back(
        {level, static_cast<double>(Clock::current().unix_ms()) / 1000.0, std::string(line)});
    ring.bytes += line.size() + kOverhead;
    while (ring.bytes > limit() && !ring.lines.empty()) {
        ring.bytes -= ring.lines.front().text.size() + kOverhead;
        ring.lines.pop_front();
    }
}

}  // namespace moongate::lua

using namespace moongate::lua;

namespace {
int not_enabled(unsigned char* error, std::size_t* size) {
    constexpr std::string_view kText = "directive \"lua_capture_error_log\" is not set";
    *size = std::min(*size, kText.size());
    std::memcpy(error, kText.data(), *size);
    return kFfiError;
}
}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_errlog_set_filter_level(int level, unsigned char* error,
                                                          std::size_t* error_size) {
    if (limit() == 0) {
        return not_enabled(error, error_size);
    }
    if (level < 0 || level > 8) {
        constexpr std::string_view kText = "bad log level: ";
        const std::string text = std::string(kText) + std::to_string(level);
        *error_size = std::min(*error_size, text.size());
        std::memcpy(error, text.data(), *error_size);
        return kFfiError;
    }
    ring.filter = static_cast<moongate::LogLevel>(level);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_errlog_get_msg(char** text, int* level, unsigned char* error,
                                                 std::size_t* error_size, double* time) {
    if (limit() == 0) {
        return not_enabled(error, error_size);
    }
    if (ring.lines.empty()) {
        return kFfiDone;
    }
    ring.last = std::move(ring.lines.front().text);
    *level = static_cast<int>(ring.lines.front().level);
    *time = ring.lines.front().time;
    ring.bytes -= std::min(ring.bytes, ring.last.size() + 24);
    ring.lines.pop_front();
    *text = ring.last.data();
    return static_cast<int>(ring.last.size());
}
