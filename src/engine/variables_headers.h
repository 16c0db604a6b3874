// Headers under the names that variables have: $http_x_real_ip for X-Real-IP. Any module with such
// a family uses this. One worker.
#pragma once

#include <string_view>

#include "conf/variables.h"
#include "http/header_list.h"

namespace moongate::engine {

// The headers that `name` (lower case, '_' for '-') stands for: one is a view, several are joined
// with `separator` in `arena`; none: not_found.
void get_header_by_variable_name(const http::HeaderList& headers, std::string_view name,
                                 Arena& arena, conf::VariableValue& value,
                                 std::string_view separator);

}  // namespace moongate::engine
