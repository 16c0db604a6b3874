#include "app/command_line.h"

#include <fmt/format.h>

#include <string_view>

#include "app/version.h"

namespace moongate::app {
namespace {

struct ValueOption {
    char letter;
    std::string_view wanted;  // as nginx names it where it is missing
};

constexpr ValueOption kValueOptions[] = {
    {'p', "directory name"}, {'e', "file name"}, {'c', "file name"},
    {'g', "parameter"},      {'s', "parameter"},
};

constexpr std::string_view kSignals[] = {"stop", "quit", "reopen", "reload"};

const ValueOption* find_value_option(char letter) {
    for (const ValueOption& option : kValueOptions) {
        if (option.letter == letter) {
            return &option;
        }
    }
    return nullptr;
}

// False where the letter is no flag.
bool set_flag(CommandLine& options, char letter) {
    switch (letter) {
        case '?':
        case 'h':
            options.show_version = true;
            options.show_help = true;
            return true;
        case 'v':
            options.show_version = true;
            return true;
        case 'V':
            options.show_version = true;
            options.show_configure = true;
            return true;
        case 't':
            options.test = true;
            return true;
        case 'T':
            options.test = true;
            options.dump = true;
            return true;
        case 'q':
            options.quiet = true;
            return true;
        default:
            return false;
    }
}

std::expected<void, std::string> set_value(CommandLine& options, char letter, std::string value) {
    switch (letter) {
        case 'p':
            options.prefix = std::move(value);
            break;
        case 'e':
            options.error_log = value == "stderr" ? std::string() : std::move(value);
            break;
        case 'c':
            options.configuration = std::move(value);
            break;
        case 'g':
            options.directives = std::move(value);
            break;
        default:
            for (std::string_view known : kSignals) {
                if (known == value) {
                    options.signal = std::move(value);
                    return {};
                }
            }
            return std::unexpected(fmt::format("invalid option: \"-s {}\"", value));
    }
    return {};
}

std::string under(const std::string& prefix, std::string_view path) {
    return path.starts_with('/') ? std::string(path) : prefix + std::string(path);
}

}  // namespace

std::expected<CommandLine, std::string> parse_command_line(std::span<char* const> arguments) {
    CommandLine options;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view argument = arguments[i];
        if (!argument.starts_with('-')) {
            return std::unexpected(fmt::format("invalid option: \"{}\"", argument));
        }
        for (std::size_t at = 1; at < argument.size(); ++at) {
            const char letter = argument[at];
            if (set_flag(options, letter)) {
                continue;
            }
            const ValueOption* option = find_value_option(letter);
            if (option == nullptr) {
                return std::unexpected(fmt::format("invalid option: \"{}\"", letter));
            }
            std::string_view value = argument.substr(at + 1);
            if (value.empty()) {
                if (i + 1 >= arguments.size()) {
                    return std::unexpected(
                        fmt::format("option \"-{}\" requires {}", letter, option->wanted));
                }
                value = arguments[++i];
            }
            if (auto set = set_value(options, letter, std::string(value)); !set) {
                return std::unexpected(std::move(set.error()));
            }
            break;
        }
    }
    return options;
}

Paths resolve_paths(const CommandLine& options) {
    Paths paths;
    paths.prefix = options.prefix.value_or(std::string(kDefaultPrefix));
    if (!paths.prefix.empty() && !paths.prefix.ends_with('/')) {
        paths.prefix += '/';
    }
    paths.configuration =
        under(paths.prefix, options.configuration.value_or(std::string(kDefaultConfiguration)));
    const std::string log = options.error_log.value_or(std::string(kDefaultErrorLog));
    paths.error_log = log.empty() ? log : under(paths.prefix, log);
    return paths;
}

std::string usage_text() {
    return fmt::format(
        "Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]\n"
        "             [-e filename] [-c filename] [-g directives]\n\n"
        "Options:\n"
        "  -?,-h         : this help\n"
        "  -v            : show version and exit\n"
        "  -V            : show version and configure options then exit\n"
        "  -t            : test configuration and exit\n"
        "  -T            : test configuration, dump it and exit\n"
        "  -q            : suppress non-error messages during configuration testing\n"
        "  -s signal     : send signal to a master process: stop, quit, reopen, reload\n"
        "  -p prefix     : set prefix path (default: {})\n"
        "  -e filename   : set error log file (default: {})\n"
        "  -c filename   : set configuration file (default: {})\n"
        "  -g directives : set global directives out of configuration file\n\n",
        kDefaultPrefix, kDefaultErrorLog, kDefaultConfiguration);
}

}  // namespace moongate::app
