// Messages before the configuration's own log is known: they go to the file of -e (or standard
// error), and those of level warn and above also to standard error as `nginx: [emerg] …`, the form
// that tools search for. Main thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"

namespace moongate::app {

// `path` empty: standard error. A file that cannot be opened is reported, and standard error used.
Log make_early_log(const std::string& path, LogLevel level);

// `log` with the `nginx: [level] …` echo on standard error. Not for a log that goes to standard
// error itself.
Log with_stderr_echo(const Log& log);

// "nginx: text" on standard error, for what is not logged.
void print_stderr(std::string_view text);

}  // namespace moongate::app
