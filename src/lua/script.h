// Script: a Lua program that runs once, as `moongate lua` does: in the phase of a timer, on a
// worker that serves nothing, with the standard output in place of a response. What OpenResty's
// `resty` command makes of ngx.say, print, ngx.exit and the rest holds here too. Source: the
// documentation of resty-cli.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace moongate::engine {
class WorkerState;
}

namespace moongate::lua {

struct Script {
    std::string code;  // runs first; empty: none
    std::string file;  // "-": standard input; empty: none
    // The table `arg`: index and value.
    std::vector<std::pair<int, std::string>> arguments;
};

// Starts it on the worker's thread; `script` outlives it. `ended` is called with the exit code once
// the script, its light threads and what they left to do at once are over. An error or os.exit ends
// the process instead.
void start_script(engine::WorkerState& worker, const Script& script,
                  std::move_only_function<void(int)> ended);

}  // namespace moongate::lua
