#include "app/subcommands.h"

#include <fmt/format.h>

#include <cstdio>

#include "app/command_line.h"
#include "app/version.h"

namespace moongate::app {
namespace {

int print_help(std::span<const Subcommand> table) {
    std::string text = version_text() + usage_text() + "Commands:\n  help          : this help\n";
    for (const Subcommand& command : table) {
        std::string call(command.name);
        if (!command.arguments.empty()) {
            call += fmt::format(" {}", command.arguments);
        }
        text += fmt::format("  {:<14}: {}\n", call, command.summary);
    }
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

std::optional<int> run_subcommand(std::span<const Subcommand> table,
                                  std::span<char* const> arguments) {
    if (arguments.size() < 2) {
        return std::nullopt;
    }
    const std::string_view word = arguments[1];
    if (word == "help") {
        return print_help(table);
    }
    for (const Subcommand& command : table) {
        if (command.name == word) {
            return command.run(arguments.subspan(2));
        }
    }
    return std::nullopt;
}

}  // namespace moongate::app
