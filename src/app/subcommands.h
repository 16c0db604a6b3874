// Sub-commands: `moongate WORD …`, where nginx's command line has only options. The one table of
// them; each is a function over the arguments behind its word. Main thread.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace moongate::app {

struct Subcommand {
    std::string_view name;
    std::string_view arguments;  // as the help shows them
    std::string_view summary;
    // Gets what follows the word; returns the exit code.
    int (*run)(std::span<char* const> arguments);
};

// The exit code where argv[1] names a sub-command of `table` or is "help"; nullopt: the line is
// nginx's.
std::optional<int> run_subcommand(std::span<const Subcommand> table,
                                  std::span<char* const> arguments);

}  // namespace moongate::app
