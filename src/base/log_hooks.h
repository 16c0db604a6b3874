// Who else sees the lines of the error log. A tap is one thread's: it gets each line that the
// thread writes (lua_capture_error_log).
#pragma once

#include <string_view>

#include "base/log.h"

namespace moongate {

class LogTap {
public:
    virtual ~LogTap() = default;
    // `line` as it stands in the file, without its newline. Must not write to a log.
    virtual void on_line(LogLevel level, std::string_view line) = 0;
};

// The calling thread's; null: none.
void set_log_tap(LogTap* tap);

}  // namespace moongate
