// lua_capture_error_log: the last lines that one worker wrote to its error logs, whoever wrote
// them, for ngx.errlog.get_logs. A ring of the configured size; the oldest lines go first. One
// thread.
#pragma once

namespace moongate::lua {

// From here on the calling thread's lines are kept, while the VM in use has a size for them.
void start_capture();

}  // namespace moongate::lua
