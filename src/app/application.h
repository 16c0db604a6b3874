// The program: command line to exit code, in the order in which nginx does it. main() gives it the
// engine and the sub-commands. Main thread.
#pragma once

#include <span>

#include "app/engine_process.h"
#include "app/subcommands.h"

namespace moongate::app {

// `arguments` is main()'s argv itself (its memory becomes the process title).
int run_application(std::span<char* const> arguments, Engine& engine,
                    std::span<const Subcommand> subcommands);

}  // namespace moongate::app
