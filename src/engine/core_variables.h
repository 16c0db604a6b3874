// The variables of nginx's core (ngx_http_variables.c), by file, put together in core_module.cc.
#pragma once

#include <span>

#include "conf/variables.h"

namespace moongate::engine {

std::span<const conf::VariableRow> request_variable_rows();     // the request line and its parts
std::span<const conf::VariableRow> connection_variable_rows();  // addresses, TCP, the process, time
std::span<const conf::VariableRow> response_variable_rows();    // what was sent, bodies, limits

}  // namespace moongate::engine
