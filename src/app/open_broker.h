// Opens files on behalf of an engine that runs as an unprivileged account: certificates that only
// root may read, logs in directories that only root may write. What it is not allowed to become is
// a way for a hijacked engine to reach other files, so only paths are opened that the configuration
// names (compared as text), each only in the mode it is named for; logs never through a symbolic
// link in the last component, since the account may own their directory. A supervisor without
// privileges of its own has nothing to lend and refuses. Supervisor thread.
#pragma once

#include <span>
#include <string>

#include "app/channel.h"
#include "app/engine_process.h"

namespace moongate::app {

// Answers all requests waiting on `channel`. Requests for a file that is in none of the lists get
// EACCES.
void answer_open_requests(Channel& channel, std::span<const std::vector<NamedFile>* const> allowed,
                          const Log& log);

// USR1: makes sure that the logs exist and that the account may open them again itself.
void hand_over_logs(const std::vector<NamedFile>& files, const Account& account, const Log& log);

}  // namespace moongate::app
