// lua_capture_error_log: the last log lines of Lua code of one worker, for ngx.errlog.get_logs. A
// ring of the configured size; the oldest lines go first. One thread.
#pragma once

#include <string_view>

#include "base/log.h"

namespace moongate::engine {
class WorkerState;
}

namespace moongate::lua {

// Whether a line of that level is to be kept.
bool capture_wants(const engine::WorkerState& worker, LogLevel level);
void capture(engine::WorkerState& worker, LogLevel level, std::string_view line);

}  // namespace moongate::lua
