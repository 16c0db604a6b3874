// The command line: nginx's options, read as nginx reads them (letters may be joined, a value may
// follow its letter directly). Source: the "Command-line parameters" page of nginx.org. Main
// thread, before anything else.
#pragma once

#include <expected>
#include <optional>
#include <span>
#include <string>

namespace moongate::app {

struct CommandLine {
    bool show_version = false;
    bool show_help = false;
    bool show_configure = false;
    bool test = false;
    bool dump = false;
    bool quiet = false;
    std::optional<std::string> prefix;
    std::optional<std::string> error_log;  // empty: standard error
    std::optional<std::string> configuration;
    std::string directives;
    std::string signal;  // stop, quit, reload or reopen; empty: none
};

// The error is nginx's message without its "nginx: " prefix.
std::expected<CommandLine, std::string> parse_command_line(std::span<char* const> arguments);

// Where things are, after defaults: paths are absolute unless the prefix given is relative.
struct Paths {
    std::string prefix;         // ends in '/'
    std::string configuration;  // relative names are under the prefix
    std::string error_log;      // likewise; empty: standard error
};

Paths resolve_paths(const CommandLine& options);

// What -h prints below the version.
std::string usage_text();

}  // namespace moongate::app
