// `moongate lua`: runs a Lua script with everything that Lua code of a configuration has, as
// OpenResty's `resty` does and with its options. A configuration text is made of the options and
// loaded; one worker thread runs the script; nothing is listened on and no file is written. Main
// thread. Source: the documentation of resty-cli.
#pragma once

#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moongate::app {

struct LuaCommandLine {
    std::vector<std::string> code;  // of -e, -l and -j, in order
    std::string file;               // "-": standard input; empty: none
    // Index in the arguments: of FILE, and one past the end where there is none.
    std::size_t file_index = 0;
    std::vector<std::string> include_dirs;
    std::vector<std::string> shared_dicts;  // "name size"
    std::vector<std::string> name_servers;
    std::vector<std::string> main_conf;
    std::vector<std::string> main_includes;
    std::vector<std::string> http_conf;
    std::vector<std::string> http_includes;
    std::string connections = "64";
    std::string log_level = "warn";
    bool resolve_ipv6 = false;
    bool help = false;
    bool version = false;
    bool dump = false;
};

// `arguments` are those behind the word `lua`. The error is the message for the user.
std::expected<LuaCommandLine, std::string> parse_lua_command(std::span<char* const> arguments);

// The configuration that the options describe. `name_servers`: the system's, where the options name
// none.
std::string script_configuration(const LuaCommandLine& options,
                                 const std::vector<std::string>& name_servers);

// The `nameserver` addresses of a resolv.conf text as the resolver directive takes them.
std::vector<std::string> name_servers_of(std::string_view resolv_conf);

int run_lua_command(std::span<char* const> arguments);

}  // namespace moongate::app
