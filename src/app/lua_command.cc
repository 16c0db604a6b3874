#include "app/lua_command.h"

#include <fmt/ranges.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>

#include "app/early_log.h"
#include "app/http_engine.h"
#include "app/modules.h"
#include "app/privileges.h"
#include "app/version.h"
#include "base/clock.h"
#include "conf/syntax.h"
#include "lua/script.h"

namespace moongate::app {
namespace {

constexpr std::string_view kUsage = R"(moongate lua [OPTIONS] [FILE [ARGUMENTS]]

Runs a Lua script with cosockets, timers, light threads and shared dictionaries. FILE may be - for
standard input. Several -e, -l and -j add up and run before FILE.

Options:
  -c NUM               connections (worker_connections; default 64)
  -e CODE              run this code
  -I DIR               search Lua modules in DIR
  -j off|v|dump        JIT compiler off; jit.v; jit.dump
  -l LIB               require LIB
  -h, --help           this help
  -V                   the version
  --dump-nginx-conf    print the configuration and run nothing
  --errlog-level LEVEL what goes to standard error: debug to emerg (default warn)
  --http-conf TEXT     directives for http {}
  --http-include FILE  a file of such directives
  --main-conf TEXT     directives for the main context
  --main-include FILE  a file of such directives
  --no-stream          accepted; there is no stream {}
  --ns IP              a name server (default: those of /etc/resolv.conf)
  --resolve-ipv6       look up IPv6 addresses too
  --shdict 'NAME SIZE' a shared dictionary
)";

bool is_number(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string lua_quoted(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        quoted += fmt::format("\\{:03}", static_cast<unsigned char>(c));
    }
    return quoted + '"';
}

// "name size", with size as in lua_shared_dict.
bool is_shared_dict(std::string_view text) {
    const std::size_t name = text.find_first_of(" \t");
    const std::size_t size = text.find_first_not_of(" \t", name);
    if (name == std::string_view::npos || name == 0 || size == std::string_view::npos) {
        return false;
    }
    std::string_view digits = text.substr(size);
    if (std::string_view("kKmM").contains(digits.back())) {
        digits.remove_suffix(1);
    }
    return is_number(digits) && std::ranges::all_of(text.substr(0, name), [](char c) {
               return c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0;
           });
}

bool is_address(std::string_view text) {
    if (text.starts_with('[')) {
        return text.ends_with(']') && text.size() > 3 &&
               text.substr(1, text.size() - 2).find_first_not_of("0123456789abcdefABCDEF:.") ==
                   std::string_view::npos;
    }
    return std::ranges::count(text, '.') == 3 &&
           text.find_first_not_of("0123456789.") == std::string_view::npos;
}

using Problem = std::optional<std::string>;

std::string absolute(const std::string& path) {
    char here[PATH_MAX];
    if (path.starts_with('/') || ::getcwd(here, sizeof here) == nullptr) {
        return path;
    }
    return fmt::format("{}/{}", here, path);
}

Problem add_include(std::vector<std::string>& list, const std::string& path, const char* where) {
    if (::access(path.c_str(), F_OK) != 0) {
        return fmt::format("could not find {} include file \"{}\"", where, path);
    }
    list.push_back(absolute(path));
    return std::nullopt;
}

// The value of an option that has one.
Problem take(LuaCommandLine& line, std::string_view name, const std::string& value) {
    if (name == "-c") {
        if (!is_number(value)) {
            return fmt::format("option -c value must be a number but found \"{}\"", value);
        }
        line.connections = value;
    } else if (name == "-e") {
        line.code.push_back(value);
    } else if (name == "-I") {
        line.include_dirs.push_back(value);
    } else if (name == "-l") {
        line.code.push_back(fmt::format("require({})", lua_quoted(value)));
    } else if (name == "-j") {
        if (value != "off" && value != "v" && value != "dump") {
            return fmt::format("unknown -j option value: {}", value);
        }
        line.code.insert(line.code.begin(), value == "off"
                                                ? "jit.off()"
                                                : fmt::format("require \"jit.{}\".on()", value));
    } else if (name == "--ns") {
        if (!is_address(value)) {
            return fmt::format("invalid --ns option value: {} (expecting an IP address)", value);
        }
        line.name_servers.push_back(value);
    } else if (name == "--shdict") {
        if (!is_shared_dict(value)) {
            return fmt::format("invalid --shdict option value: {} (expecting NAME SIZE)", value);
        }
        line.shared_dicts.push_back(value);
    } else if (name == "--http-conf") {
        line.http_conf.push_back(value);
    } else if (name == "--main-conf") {
        line.main_conf.push_back(value);
    } else if (name == "--http-include") {
        return add_include(line.http_includes, value, "http");
    } else if (name == "--main-include") {
        return add_include(line.main_includes, value, "main");
    } else {
        line.log_level = value;  // an unknown one is refused by error_log
    }
    return std::nullopt;
}

constexpr std::string_view kWithValue[] = {"-c",
                                           "-e",
                                           "-I",
                                           "-l",
                                           "-j",
                                           "--ns",
                                           "--shdict",
                                           "--http-conf",
                                           "--main-conf",
                                           "--http-include",
                                           "--main-include",
                                           "--errlog-level"};

// Whether `option` is `name`, with its value joined as in -Idir, -I=dir, --ns=IP.
bool matches(std::string_view option, std::string_view name, std::optional<std::string>& value) {
    if (!option.starts_with(name)) {
        return false;
    }
    std::string_view rest = option.substr(name.size());
    if (rest.empty()) {
        return true;
    }
    if (rest.starts_with('=')) {
        rest.remove_prefix(1);
    } else if (name.starts_with("--")) {
        return false;
    }
    value = rest;
    return true;
}

bool take_flag(LuaCommandLine& line, std::string_view option) {
    if (option == "-h" || option == "--help") {
        line.help = true;
    } else if (option == "-V" || option == "-v") {
        line.version = true;
    } else if (option == "--dump-nginx-conf") {
        line.dump = true;
    } else if (option == "--resolve-ipv6") {
        line.resolve_ipv6 = true;
    } else {
        return option == "--no-stream";
    }
    return true;
}

std::string read_resolv_conf() {
    const auto text = conf::make_file_reader()->read("/etc/resolv.conf");
    return text ? *text : std::string();
}

lua::Script make_script(const LuaCommandLine& line, std::span<char* const> arguments) {
    lua::Script script;
    script.code = fmt::format("{}", fmt::join(line.code, "; "));
    script.file = line.file;
    const auto at_file = static_cast<int>(line.file_index);
    script.arguments = {{-at_file - 1, "moongate lua"}, {0, line.file.empty() ? "-e" : line.file}};
    for (int i = 0; i < static_cast<int>(arguments.size()); ++i) {
        if (i != at_file) {
            script.arguments.emplace_back(i - at_file, arguments[static_cast<std::size_t>(i)]);
        }
    }
    return script;
}

int fail(std::string_view message) {
    std::fputs(fmt::format("ERROR: {}\n", message).c_str(), stderr);
    return 1;
}

int print(std::string_view text) {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                   std::fflush(stdout) == 0
               ? 0
               : 1;
}

}  // namespace

std::expected<LuaCommandLine, std::string> parse_lua_command(std::span<char* const> arguments) {
    LuaCommandLine line;
    std::size_t at = 0;
    for (; at < arguments.size(); ++at) {
        const std::string_view option = arguments[at];
        if (option == "--") {
            ++at;
            break;
        }
        if (!option.starts_with('-') || option == "-") {
            break;
        }
        if (take_flag(line, option)) {
            continue;
        }
        std::optional<std::string> value;
        const auto* name = std::ranges::find_if(
            kWithValue, [&](std::string_view each) { return matches(option, each, value); });
        if (name == std::end(kWithValue)) {
            return std::unexpected(
                fmt::format("unknown option {}; \"moongate lua -h\" lists them", option));
        }
        if (!value) {
            if (++at == arguments.size()) {
                return std::unexpected(
                    fmt::format("option {} takes an argument but found none", *name));
            }
            value = arguments[at];
        }
        if (Problem problem = take(line, *name, *value)) {
            return std::unexpected(std::move(*problem));
        }
    }
    line.file_index = at;
    if (at < arguments.size()) {
        line.file = arguments[at];
    }
    const bool runs = !line.help && !line.version && !line.dump;
    if (runs && line.file.empty() && line.code.empty()) {
        return std::unexpected("neither a Lua input file nor the -e option was given");
    }
    if (runs && !line.file.empty() && line.file != "-" && ::access(line.file.c_str(), F_OK) != 0) {
        return std::unexpected(fmt::format("Lua input file {} not found", line.file));
    }
    return line;
}

std::vector<std::string> name_servers_of(std::string_view resolv_conf) {
    constexpr std::string_view kBlank = " \t\r";
    std::vector<std::string> found;
    while (!resolv_conf.empty()) {
        const std::size_t end = std::min(resolv_conf.find('\n'), resolv_conf.size());
        std::string_view text = resolv_conf.substr(0, end);
        resolv_conf.remove_prefix(std::min(end + 1, resolv_conf.size()));
        if (!text.starts_with("nameserver")) {
            continue;
        }
        text.remove_prefix(std::string_view("nameserver").size());
        const std::size_t start = text.find_first_not_of(kBlank);
        if (start == 0 || start == std::string_view::npos) {
            continue;
        }
        text = text.substr(start);
        text = text.substr(0, text.find_first_of(kBlank));
        const std::string address =
            text.contains(':') ? fmt::format("[{}]", text) : std::string(text);
        if (is_address(address)) {  // not one with a zone, which no directive can say
            found.push_back(address);
        }
    }
    return found;
}

std::string script_configuration(const LuaCommandLine& line,
                                 const std::vector<std::string>& name_servers) {
    std::vector<std::string> servers = line.name_servers.empty() ? name_servers : line.name_servers;
    if (servers.empty()) {
        servers.emplace_back("127.0.0.1");  // as resolv.conf(5) has it
    }
    std::string text = fmt::format(
        "worker_processes 1;\nerror_log stderr {};\nevents {{\n    worker_connections {};\n}}\n",
        conf::quote(line.log_level), line.connections);
    for (const std::string& each : line.main_conf) {
        text += each + "\n";
    }
    for (const std::string& each : line.main_includes) {
        text += fmt::format("include {};\n", conf::quote(each));
    }
    text += fmt::format(
        "http {{\n    access_log off;\n    lua_socket_log_errors off;\n    lua_max_run_time 0;\n"
        "    lua_regex_cache_max_entries 40960;\n    resolver {}{};\n",
        fmt::join(servers, " "), line.resolve_ipv6 ? "" : " ipv6=off");
    for (const std::string& each : line.shared_dicts) {
        text += fmt::format("    lua_shared_dict {};\n", each);
    }
    if (!line.include_dirs.empty()) {
        std::string path;
        std::string cpath;
        for (const std::string& dir : line.include_dirs) {
            path += fmt::format("{0}/?.ljbc;{0}/?.lua;{0}/?/init.ljbc;{0}/?/init.lua;", dir);
            cpath += fmt::format("{}/?.so;", dir);
        }
        text += fmt::format("    lua_package_path {};\n    lua_package_cpath {};\n",
                            conf::quote(path + ";"), conf::quote(cpath + ";"));
    }
    for (const std::string& each : line.http_conf) {
        text += fmt::format("    {}\n", each);
    }
    for (const std::string& each : line.http_includes) {
        text += fmt::format("    include {};\n", conf::quote(each));
    }
    return text + "}\n";
}

int run_lua_command(std::span<char* const> arguments) {
    const auto line = parse_lua_command(arguments);
    if (!line) {
        return fail(line.error());
    }
    if (line->help) {
        return print(kUsage);
    }
    if (line->version) {
        return print(version_text() + build_text());
    }
    LoadRequest request;
    request.prefix = absolute("");
    request.configuration_path = request.prefix + "(moongate lua)";
    request.configuration_text = script_configuration(*line, name_servers_of(read_resolv_conf()));
    if (line->dump) {
        return print(*request.configuration_text);
    }
    Clock::current().update();
    HttpEngine engine(modules());
    const LoadResult loaded = engine.load(request);
    Clock::current().update();
    const Log log = make_early_log("", LogLevel::Warn);
    for (const Message& message : loaded.messages) {
        log.write(message.level, 0, message.text);
    }
    if (loaded.configuration == nullptr) {
        return 1;
    }
    const ProcessConfig& process = loaded.configuration->process();
    apply_process_limits(process, log);
    for (const std::string& variable : process.environment) {
        if (const std::size_t equals = variable.find('='); equals != std::string::npos) {
            ::setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 1);
        }
    }
    ::signal(SIGPIPE, SIG_IGN);  // of sockets; standard output tells it by an error
    return engine.run_script(*loaded.configuration, make_script(*line, arguments));
}

}  // namespace moongate::app
