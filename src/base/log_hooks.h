// Who else sees the lines of the error log. A tap is one thread's: it gets each line that the
// thread writes (lua_capture_error_log). The echo is the process's: while a server starts, what
// goes wrong is also told to whoever started it, on the standard error of that command.
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

// Lines of level warn and graver are also written to `fd`, as "nginx: [level] message", each text
// once: workers that start alike say the same. Owns `fd`; -1: nothing is echoed.
void start_log_echo(int fd);
void end_log_echo();

}  // namespace moongate
