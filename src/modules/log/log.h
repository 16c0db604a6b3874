// The log module: access_log and log_format. Source: nginx's documentation of ngx_http_log_module.
#pragma once

#include "engine/module.h"

namespace moongate::engine {
class WorkerState;
}

namespace moongate::modules {

extern const engine::Module log_module;

// Writes what a worker's buffers hold: before files are reopened (USR1). On the worker's thread.
void flush_access_logs(engine::WorkerState& worker);

}  // namespace moongate::modules
