#include "lua/log_ring.h"

#include <deque>

#include "base/clock.h"
#include "base/log_hooks.h"
#include "lua/api.h"
#include "lua/ffi.h"
#include "lua/vm.h"

namespace moongate::lua {
namespace {

struct Line {
    LogLevel level = LogLevel::Stderr;
    double time = 0;
    std::string text;
};

// What a line takes beside its text.
constexpr std::size_t kOverhead = 24;

std::size_t limit() {
    const Vm* vm = Vm::current();
    return vm == nullptr ? 0 : vm->settings().capture_error_log;
}

class Ring final : public LogTap {
public:
    ~Ring() override { set_log_tap(nullptr); }

    void on_line(LogLevel level, std::string_view line) override {
        const std::size_t most = limit();
        if (level > filter || line.size() + kOverhead > most) {
            return;  // most is 0 after a reload that took the directive away
        }
        while (bytes_ + line.size() + kOverhead > most) {
            drop_first();
        }
        lines_.push_back(
            {level, static_cast<double>(Clock::current().unix_ms()) / 1000.0, std::string(line)});
        bytes_ += line.size() + kOverhead;
    }

    // Null: there is none. Valid until the next call.
    const Line* take() {
        if (lines_.empty()) {
            return nullptr;
        }
        taken_ = std::move(lines_.front());
        bytes_ -= taken_.text.size() + kOverhead;
        lines_.pop_front();
        return &taken_;
    }

    LogLevel filter = LogLevel::Debug;

private:
    void drop_first() {
        bytes_ -= lines_.front().text.size() + kOverhead;
        lines_.pop_front();
    }

    std::deque<Line> lines_;
    std::size_t bytes_ = 0;
    Line taken_;
};

thread_local Ring ring;

}  // namespace

void start_capture() {
    set_log_tap(&ring);
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
    const auto* line = ring.take();
    if (line == nullptr) {
        return kFfiDone;
    }
    *level = static_cast<int>(line->level);
    *time = line->time;
    *text = const_cast<char*>(line->text.data());
    return static_cast<int>(line->text.size());
}
