// The rows of the echo directives. See echo.h.
#include <algorithm>
#include <array>

#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/location.h"
#include "modules/echo/commands.h"
#include "modules/echo/echo.h"

namespace moongate::modules {

int echo_context_slot = -1;

namespace {

using conf::Applied;

// Leading words that begin with '-' are options, up to a "--" or the first other word. A word with
// a variable in it is none.
Applied compile_arguments(conf::Compiler& compiler, const conf::Statement& statement,
                          EchoCommand& command) {
    bool options = true;
    for (const std::string& word : statement.args) {
        if (options && word.size() > 1 && word[0] == '-' && !conf::has_variables(word)) {
            if (word[1] == '-') {
                options = false;
            } else if (word == "-n") {
                command.no_newline = true;
            }
            continue;
        }
        options = false;
        auto compiled = compiler.compile_string(word, {.captures = true});
        if (!compiled) {
            return std::unexpected(std::move(compiled.error()));
        }
        command.args.push_back(std::move(*compiled));
    }
    return {};
}

bool is_subrequest(EchoOp op) {
    return op == EchoOp::Location || op == EchoOp::LocationAsync || op == EchoOp::Subrequest ||
           op == EchoOp::SubrequestAsync;
}

bool has_output(const EchoCommand& command) {
    return command.op == EchoOp::Echo || command.op == EchoOp::Duplicate ||
           command.op == EchoOp::Flush || command.op == EchoOp::RequestBody ||
           is_subrequest(command.op);
}

template <EchoOp Op>
Applied apply_command(conf::Compiler& compiler, const conf::Statement& statement,
                      EchoSettings& settings) {
    EchoCommand command{.op = Op};
    if (Applied compiled = compile_arguments(compiler, statement, command); !compiled) {
        return compiled;
    }
    if (settings.commands.empty()) {
        settings.prefix = compiler.prefix();
        if (engine::Location* location = engine::current_location(compiler)) {
            location->content = {.name = "echo", .wait = &run_echo};
        }
    }
    command.opens_body = is_subrequest(Op) && std::ranges::none_of(settings.commands, has_output);
    settings.commands.push_back(std::move(command));
    return {};
}

template <auto Member>
Applied apply_filter(conf::Compiler& compiler, const conf::Statement& statement,
                     EchoSettings& settings) {
    EchoCommand command;
    if (Applied compiled = compile_arguments(compiler, statement, command); !compiled) {
        return compiled;
    }
    (settings.*Member).push_back(std::move(command));
    return {};
}

void install(engine::Location& location) {
    const EchoSettings& settings = location.settings->get<EchoSettings>();
    if (!settings.before_body.empty() || !settings.after_body.empty()) {
        location.filters.push_back(&echo_body_filter);
    }
}

constexpr conf::Contexts kContexts = conf::kLocation | conf::kLocationIf;

template <EchoOp Op>
constexpr conf::Directive command(std::string_view name, conf::Arity arity, std::string_view syntax,
                                  std::string_view doc) {
    return conf::custom<apply_command<Op>>(name, kContexts, arity, "", doc)
        .syntax(syntax)
        .template clears<&EchoSettings::commands>()
        .group("echo");
}

constexpr std::array kRows{
    command<EchoOp::Echo>("echo", conf::kAnyNumber, "[-n] [string ...]",
                          "Sends its arguments, with spaces between them and a line end behind."),
    command<EchoOp::Duplicate>("echo_duplicate", conf::kTwoOrMore, "count string",
                               "Sends a string as often as said."),
    command<EchoOp::Flush>("echo_flush", conf::kNoArgs, "-",
                           "Sends what was written so far at once."),
    command<EchoOp::Sleep>("echo_sleep", conf::kTake1, "seconds",
                           "Waits, with up to three digits behind the point."),
    command<EchoOp::Sleep>("echo_blocking_sleep", conf::kTake1, "seconds",
                           "As echo_sleep: here only the request waits, not the worker."),
    command<EchoOp::ResetTimer>("echo_reset_timer", conf::kNoArgs, "-",
                                "$echo_timer_elapsed counts from now."),
    command<EchoOp::ReadRequestBody>("echo_read_request_body", conf::kNoArgs, "-",
                                     "Reads the request's body whole."),
    command<EchoOp::RequestBody>("echo_request_body", conf::kNoArgs, "-",
                                 "Sends the request's body, if it was read."),
    command<EchoOp::Location>(
        "echo_location", conf::kTake12, "location [args]",
        "Sends the response's body of a GET subrequest, and goes on when that has ended."),
    command<EchoOp::LocationAsync>("echo_location_async", conf::kTake12, "location [args]",
                                   "As echo_location, but the next command begins at once; output "
                                   "stays in order."),
    command<EchoOp::Subrequest>("echo_subrequest", conf::kTwoOrMore,
                                "method location [-q args] [-b body] [-f file]",
                                "As echo_location, with a method, arguments and a body."),
    command<EchoOp::SubrequestAsync>("echo_subrequest_async", conf::kTwoOrMore,
                                     "method location [-q args] [-b body] [-f file]",
                                     "As echo_location_async, with a method, arguments and a "
                                     "body."),
    command<EchoOp::ForeachSplit>(
        "echo_foreach_split", conf::kTwoOrMore, "delimiter string",
        "Repeats the commands up to echo_end with $echo_it as each part of the string."),
    command<EchoOp::End>("echo_end", conf::kNoArgs, "-", "Ends an echo_foreach_split."),
    command<EchoOp::Exec>("echo_exec", conf::kTake12, "location [args] | @name",
                          "Goes to another location."),
    command<EchoOp::AbortParent>("echo_abort_parent", conf::kNoArgs, "-",
                                 "In a streamed subrequest: the response ends here; what would "
                                 "have come behind is cancelled."),
    conf::custom<apply_filter<&EchoSettings::before_body>>(
        "echo_before_body", kContexts, conf::kAnyNumber, "",
        "Sends its arguments as echo does, before the response's body.")
        .syntax("[-n] [string ...]")
        .clears<&EchoSettings::before_body>(),
    conf::custom<apply_filter<&EchoSettings::after_body>>(
        "echo_after_body", kContexts, conf::kAnyNumber, "",
        "Sends its arguments as echo does, behind the response's body.")
        .syntax("[-n] [string ...]")
        .clears<&EchoSettings::after_body>(),
    conf::number<&EchoSettings::status>("echo_status", kContexts, "200",
                                        "The status of what the echo commands send."),
};

}  // namespace

const engine::Module echo_module{
    .directives = {.module = "echo", .rows = kRows},
    .variables = echo_variable_rows(),
    .context_slot = &echo_context_slot,
    .install = &install,
};

}  // namespace moongate::modules
