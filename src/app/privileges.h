// What an engine process takes on before it serves: priority, limits, the unprivileged account, the
// working directory and its environment. Order and messages are those of nginx's worker processes.
// Called in the freshly forked child (or, with master_process off, in the only process) while it
// has one thread.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "app/engine_process.h"
#include "base/log.h"

namespace moongate::app {

// The account of `user NAME [GROUP];`: without a group, the group is named like the user. The error
// is nginx's message, such as `getpwnam("foo") failed`.
std::expected<Account, std::string> resolve_account(const std::string& user,
                                                    const std::string& group);
// Where there is no `user` directive: nobody, with nogroup or nobody.
std::expected<Account, std::string> default_account();

// Failures are logged and change nothing.
void apply_process_limits(const ProcessConfig& config, const Log& log);
// False where serving would be wrong (the account could not be taken on): exit with code 2 then.
bool drop_privileges(const ProcessConfig& config, const Log& log);

// The variables of `env` as NAME=VALUE, always with TZ where it is set.
std::vector<std::string> select_environment(const std::vector<std::string>& directives);
// Everything else is unset.
void apply_environment(const std::vector<std::string>& directives);

}  // namespace moongate::app
