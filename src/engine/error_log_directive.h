// `error_log` at every level: destinations and levels, as nginx's ngx_log_set_log. Compiling thread
// only.
#pragma once

#include <memory>

#include "base/log.h"
#include "conf/compiler.h"

namespace moongate::engine {

// Adds the destination that `statement` names to `log`, which is null at the first of a level.
// `file`, where given, receives the path of a file (empty for other destinations).
conf::Applied add_error_log(conf::Compiler& compiler, const conf::Statement& statement,
                            std::shared_ptr<const Log>& log, std::string* file = nullptr);

// What a main level without error_log has.
conf::Expected<std::shared_ptr<const Log>> default_error_log(conf::Compiler& compiler,
                                                             std::string* file);

}  // namespace moongate::engine
