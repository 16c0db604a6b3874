// memc_pass: the command and its parts come from the variables $memc_cmd, $memc_key, $memc_value,
// $memc_flags and $memc_exptime; what they lack, from the request's method and body.
#include "modules/memc/memc.h"

#include <algorithm>

#include "base/clock.h"
#include "base/strings.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "engine/snapshot.h"
#include "http/uri.h"
#include "modules/memc/pass.h"
#include "modules/memc/protocol.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;
using engine::Action;
using engine::Request;

int memc_context_slot = -1;

struct MemcSettings {
    std::shared_ptr<MemcTarget> target;
    Milliseconds connect_timeout{60000};
    Milliseconds send_timeout{60000};
    Milliseconds read_timeout{60000};
    std::size_t buffer_size = 4096;
    std::uint32_t next_upstream = 0;
    std::uint32_t commands = 0;  // a bit each; 0: all
    bool flags_to_last_modified = false;
    bool ignore_client_abort = false;
    upstream::FlowOptions flow;  // from the above, once a level is complete
};

// Where the variables' values are kept; the same in all locations of a configuration.
struct MemcVariables {
    int cmd = -1;
    int key = -1;
    int value = -1;
    int flags = -1;
    int exptime = -1;
};

// --- what a request asks for

constexpr std::size_t kDigits32 = 10;
constexpr std::size_t kDigits64 = 20;

bool is_number(std::string_view text, std::size_t most) {
    return text.size() <= most && std::ranges::all_of(text, is_digit);
}

std::uint32_t bit(MemcCommand command) {
    return std::uint32_t{1} << static_cast<unsigned>(command);
}

struct MemcRequest {
    MemcCommand command = MemcCommand::Get;
    std::string_view key;
    std::string_view flags;
    std::string_view exptime;
    std::string_view value;
    bool has_value = false;  // $memc_value is defined, be it empty
};

std::optional<MemcCommand> command_of_method(http::Method method) {
    switch (method) {
        case http::Method::Get:
        case http::Method::Head:
            return MemcCommand::Get;
        case http::Method::Post:
            return MemcCommand::Add;
        case http::Method::Put:
            return MemcCommand::Set;
        case http::Method::Delete:
            return MemcCommand::Delete;
        default:
            return std::nullopt;
    }
}

// 0, or the status that ends the request (logged).
int read_command(Request& request, const MemcVariables& variables, MemcRequest& memc) {
    const std::string_view name = request.text(variables.cmd);
    const auto command = name.empty() ? command_of_method(request.method) : memc_command(name);
    if (!command) {
        if (name.empty()) {
            request.log_error(LogLevel::Error,
                              "ngx_memc: $memc_cmd variable not found for HTTP {} requests",
                              request.method_text);
        } else {
            request.log_error(LogLevel::Error, "ngx_memc: unknown $memc_cmd \"{}\"", name);
        }
        return 400;
    }
    memc.command = *command;
    if (name.empty()) {
        request.store(variables.cmd, memc_name(*command));
    }
    const auto& settings = request.get<MemcSettings>();
    if (settings.commands != 0 && (settings.commands & bit(*command)) == 0) {
        request.log_error(LogLevel::Error, "ngx_memc: memcached command \"{}\" not allowed",
                          memc_name(*command));
        return 403;
    }
    return 0;
}

int read_parameters(Request& request, const MemcVariables& variables, MemcRequest& memc) {
    const bool stores = memc_stores(memc.command);
    if (stores || memc.command == MemcCommand::FlushAll || memc.command == MemcCommand::Delete) {
        memc.exptime = request.text(variables.exptime);
        if (!is_number(memc.exptime, kDigits32)) {
            request.log_error(LogLevel::Error, "variable \"$memc_exptime\" takes invalid value: {}",
                              memc.exptime);
            return 400;
        }
    }
    if (stores && memc.exptime.empty()) {
        memc.exptime = "0";
        request.store(variables.exptime, memc.exptime);
    }
    if (stores) {
        memc.flags = request.text(variables.flags);
        if (!is_number(memc.flags, kDigits32)) {
            request.log_error(LogLevel::Error, "variable \"$memc_flags\" takes invalid value: {}",
                              memc.flags);
            return 400;
        }
        if (memc.flags.empty()) {
            memc.flags = "0";
            request.store(variables.flags, memc.flags);
        }
    }
    const conf::VariableValue& value = request.variable(variables.value);
    memc.has_value = !value.not_found;
    memc.value = value.text();
    if (memc.command == MemcCommand::Incr || memc.command == MemcCommand::Decr) {
        if (memc.value.empty()) {
            request.log_error(LogLevel::Error,
                              "the \"$memc_value\" variable is required for command \"{}\"",
                              memc_name(memc.command));
            return 400;
        }
        if (!is_number(memc.value, kDigits64)) {
            request.log_error(LogLevel::Error,
                              "variable \"$memc_value\" is invalid for incr/decr: {}", memc.value);
            return 400;
        }
    }
    const bool keyless = memc.command == MemcCommand::FlushAll ||
                         memc.command == MemcCommand::Stats || memc.command == MemcCommand::Version;
    if (!keyless) {
        const std::string_view key = request.text(variables.key);
        if (key.empty()) {
            request.log_error(LogLevel::Error, "the \"$memc_key\" variable is not set");
            return 500;
        }
        // Spaces and control characters would end the key, or the command.
        memc.key = http::escape_uri(key, http::EscapeType::Memcached, request.arena());
    }
    return 0;
}

// The command up to its value.
std::string_view command_line(Request& request, const MemcRequest& memc, std::uint64_t size) {
    std::string line(memc_name(memc.command));
    const auto add = [&line](std::string_view part) {
        if (!part.empty()) {
            line.append(" ").append(part);
        }
    };
    add(memc.key);
    if (memc_stores(memc.command)) {
        add(memc.flags);
        add(memc.exptime);
        add(fmt::format("{}", size));
    } else if (memc.command == MemcCommand::Incr || memc.command == MemcCommand::Decr) {
        add(memc.value);
    } else {
        add(memc.exptime);
    }
    line += "\r\n";
    return request.arena().copy(line);
}

async::Task<Action> memc_handler(Request& request) {
    const auto& settings = request.get<MemcSettings>();
    const auto& variables = *request.snapshot.get<MemcVariables>();
    MemcRequest memc;
    if (const int status = read_command(request, variables, memc); status != 0) {
        co_return Action::finish(status);
    }
    int failure = 0;
    auto upstream = co_await memc_upstream(request, *settings.target, failure);
    if (upstream == nullptr) {
        co_return Action::finish(failure);
    }
    if (const Status read = co_await engine::read_request_body(request); !read) {
        co_return Action::finish(read.error().code >= 400 ? read.error().code : 400);
    }
    if (const int status = read_parameters(request, variables, memc); status != 0) {
        co_return Action::finish(status);
    }
    const bool stores = memc_stores(memc.command);
    const bool from_body = stores && !memc.has_value;
    if (from_body && request.body->size == 0) {
        request.log_error(LogLevel::Error,
                          "neither the \"$memc_value\" variable nor the request body is available");
        co_return Action::finish(500);
    }
    const std::uint64_t size = from_body ? request.body->size : memc.value.size();
    auto* protocol = request.arena().make<MemcProtocol>(
        request, memc.command, command_line(request, memc, size), memc.key,
        MemcFlags{.variable = variables.flags,
                  .to_last_modified = settings.flags_to_last_modified,
                  .gzip = 0});
    request.context<MemcProtocol>(memc_context_slot) = protocol;
    auto* flow = request.arena().make<upstream::UpstreamFlow>(request, settings.flow, *protocol,
                                                              std::move(upstream));
    flow->describe("memcached://", "");
    flow->set_location(&settings);
    if (stores) {
        http::BodyPart value;
        if (from_body && request.body->file >= 0) {
            value = request.body->part();
            flow->send_tail("\r\n");
        } else {
            const std::string_view text = from_body ? request.body->memory : memc.value;
            value.bytes = request.arena().concat(text, "\r\n");
        }
        protocol->set_value(value);
        flow->send_body(value);
    }
    co_return co_await flow->run();
}

// --- variables

void no_value(Request&, std::uintptr_t, conf::VariableValue& value) {
    value.set_missing();
}

// The flags as a time in seconds since the epoch.
void flags_as_http_time(Request& request, std::uintptr_t, conf::VariableValue& value) {
    value.set_missing();
    const auto* variables = request.snapshot.get<MemcVariables>();
    if (variables == nullptr || request.context<MemcProtocol>(memc_context_slot) == nullptr) {
        return;
    }
    if (const auto time = parse_number<std::int64_t>(request.text(variables->flags))) {
        char* date = request.arena().allocate_chars(30);
        format_http_date(*time, date);
        value.set({date, 29});
    }
}

constexpr auto kSettable = conf::VariableFlags::Changeable | conf::VariableFlags::Weak;
constexpr conf::VariableRow kVariables[] = {
    {.name = "memc_cmd", .get = &no_value, .flags = kSettable, .doc = "The command of memc_pass."},
    {.name = "memc_key", .get = &no_value, .flags = kSettable, .doc = "The key of memc_pass."},
    {.name = "memc_value",
     .get = &no_value,
     .flags = kSettable,
     .doc = "The value that memc_pass stores; where it is not set, the request's body."},
    {.name = "memc_flags",
     .get = &no_value,
     .flags = kSettable,
     .doc = "The flags that memc_pass stores, or those of the value it found."},
    {.name = "memc_exptime",
     .get = &no_value,
     .flags = kSettable,
     .doc = "When what memc_pass stores expires."},
    {.name = "memc_flags_as_http_time",
     .get = &flags_as_http_time,
     .flags = conf::VariableFlags::NoCache,
     .doc = "The flags of memc_pass, taken as a time, in the form of Last-Modified."},
};

// --- directives

Applied apply_pass(Compiler& compiler, const Statement& statement, MemcSettings& settings) {
    auto& known = compiler.extension<MemcVariables>();
    known.cmd = compiler.variables().index("memc_cmd");
    known.key = compiler.variables().index("memc_key");
    known.value = compiler.variables().index("memc_value");
    known.flags = compiler.variables().index("memc_flags");
    known.exptime = compiler.variables().index("memc_exptime");
    return set_memc_target(compiler, statement, settings.target);
}

Applied apply_commands(Compiler&, const Statement& statement, MemcSettings& settings) {
    settings.commands = 0;
    for (const std::string& name : statement.args) {
        const auto command = memc_command(name);
        if (!command) {
            return conf::reject(fmt::format(
                "Unknown memcached command \"{}\" used in \"memc_cmds_allowed\"", name));
        }
        settings.commands |= bit(*command);
    }
    return {};
}

Applied refuse_moved(Compiler&, const Statement& statement) {
    const std::string_view parameter = std::string_view(statement.name).substr(14);
    return conf::reject(
        fmt::format("\"{}\" is not supported, use the \"{}\" parameter of the \"server\" directive "
                    "inside the \"upstream\" block",
                    statement.name, parameter));
}

Applied finish_level(Compiler&, conf::Level& level) {
    auto& settings = level.edit<MemcSettings>();
    derive_memc_flow(settings);
    settings.flow.ignore_client_abort = settings.ignore_client_abort;
    return {};
}

Applied keep_variables(Compiler& compiler, engine::Snapshot& snapshot) {
    const auto& known = compiler.extension<MemcVariables>();
    if (known.cmd >= 0) {
        snapshot.put(std::make_shared<const MemcVariables>(known));
    }
    return {};
}

void install(engine::Location& location) {
    install_memc_pass(location, location.settings->get<MemcSettings>().target.get(),
                      {.name = "memc_pass", .wait = &memc_handler});
}

using S = MemcSettings;
constexpr conf::Contexts kLevels = conf::kHttpLevels;
constexpr conf::Contexts kIfLevels = conf::kHttpLevels | conf::kLocationIf;

constexpr std::array kRows{
    conf::custom<apply_pass>("memc_pass", conf::kLocation | conf::kLocationIf, conf::kTake1, "",
                             "Requests become commands for the memcached server or upstream named.")
        .syntax("address | upstream"),
    conf::custom<apply_commands>("memc_cmds_allowed", kIfLevels, conf::kOneOrMore, "",
                                 "The commands that requests may give; all where it is not set.")
        .syntax("command ...")
        .merged(conf::Merge::Inherit),
    conf::msec<&S::connect_timeout>("memc_connect_timeout", kLevels, "60s",
                                    "How long a connection may take to be made."),
    conf::msec<&S::send_timeout>("memc_send_timeout", kLevels, "60s",
                                 "Between two writes to the server."),
    conf::msec<&S::read_timeout>("memc_read_timeout", kLevels, "60s",
                                 "Between two reads from the server."),
    conf::size<&S::buffer_size>("memc_buffer_size", kLevels, "4k",
                                "For the first line of a value, and for other answers whole.")
        .within(128, 64 * 1024 * 1024),
    conf::bitmask<&S::next_upstream>("memc_next_upstream", kLevels, kMemcNext, "error timeout",
                                     "When the next server is asked."),
    conf::custom<refuse_moved>("memc_upstream_max_fails", kLevels, conf::kTake1, "",
                               "Refused: a parameter of the upstream's `server` takes its place.")
        .syntax("number"),
    conf::custom<refuse_moved>("memc_upstream_fail_timeout", kLevels, conf::kTake1, "",
                               "Refused: a parameter of the upstream's `server` takes its place.")
        .syntax("time"),
    conf::flag<&S::flags_to_last_modified>("memc_flags_to_last_modified", kIfLevels, "off",
                                           "Takes a value's flags as the time of its last change."),
    conf::flag<&S::ignore_client_abort>("memc_ignore_client_abort", kIfLevels, "off",
                                        "Goes on where the client left."),
};

}  // namespace

const engine::Module memc_module{
    .directives = {.module = "memc", .rows = kRows, .finish = &finish_level},
    .variables = kVariables,
    .context_slot = &memc_context_slot,
    .install = &install,
    .finish_snapshot = &keep_variables,
};

}  // namespace moongate::modules
