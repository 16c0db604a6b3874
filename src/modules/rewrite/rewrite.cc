// The directives of the rewrite module and the handlers that run its scripts. See rewrite.h.
#include "modules/rewrite/rewrite.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/strings.h"
#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/request.h"
#include "modules/answer.h"
#include "modules/rewrite/script.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;

// What the compiling of one configuration keeps between the two passes.
struct RewriteScope {
    Script* if_script = nullptr;  // of the `if` whose body is being walked
    std::unordered_map<const Statement*, std::shared_ptr<IfBody>> bodies;
};

Script& current_script(Compiler& compiler) {
    auto& scope = compiler.extension<RewriteScope>();
    if (scope.if_script != nullptr) {
        return *scope.if_script;
    }
    const auto* owner = engine::current_location(compiler);
    auto& settings = compiler.level().edit<RewriteSettings>();
    if (settings.script == nullptr || settings.script->owner != owner) {
        settings.script = std::make_shared<Script>();
        settings.script->owner = owner;
    }
    return *settings.script;
}

bool is_absolute(std::string_view url) {
    return url.starts_with("http://") || url.starts_with("https://") || url.starts_with("$scheme");
}

void uninitialized(engine::Request& request, std::uintptr_t index, conf::VariableValue& value) {
    if (request.get<RewriteSettings>().warn_uninitialized) {
        request.log_error(LogLevel::Warn, "using uninitialized \"{}\" variable",
                          request.variable_table().at(static_cast<int>(index)).name);
    }
    value.set("");
}

Applied apply_set(Compiler& compiler, const Statement& statement) {
    auto variable = rewrite_define(compiler, statement.arg(1));
    if (!variable) {
        return std::unexpected(std::move(variable.error()));
    }
    auto value = ScriptValue::compile(compiler, statement.arg(2));
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    current_script(compiler).instructions.emplace_back(SetOp{*variable, std::move(*value)});
    return {};
}

Applied apply_break(Compiler& compiler, const Statement&) {
    current_script(compiler).instructions.emplace_back(BreakOp{});
    return {};
}

Applied apply_return(Compiler& compiler, const Statement& statement) {
    ReturnOp op;
    const std::string_view first = statement.arg(1);
    std::string_view text;
    bool has_value = true;
    if (const auto status = parse_number<int>(first); status.has_value() && *status <= 999) {
        op.status = *status;
        has_value = statement.args.size() > 1;
        text = statement.arg(2);
    } else if (!status.has_value() && statement.args.size() == 1 && is_absolute(first)) {
        op.status = 302;
        text = first;
    } else {
        return conf::reject(fmt::format("invalid return code \"{}\"", first));
    }
    if (has_value) {
        auto compiled = compiler.compile_string(text);
        if (!compiled) {
            return std::unexpected(std::move(compiled.error()));
        }
        op.text = std::move(*compiled);
        op.has_text = !text.empty();
    }
    Script& script = current_script(compiler);
    script.may_wait = true;
    script.instructions.emplace_back(std::move(op));
    return {};
}

Applied set_flag(RewriteOp& op, std::string_view flag) {
    if (flag == "last") {
        op.then = RewriteOp::Then::Last;
    } else if (flag == "break") {
        op.then = RewriteOp::Then::Break;
    } else if (flag == "redirect" || flag == "permanent") {
        op.then = RewriteOp::Then::Redirect;
        op.status = flag == "permanent" ? 301 : 302;
    } else {
        return conf::reject(fmt::format("invalid parameter \"{}\"", flag));
    }
    return {};
}

Applied compile_replacement(Compiler& compiler, RewriteOp& op, std::string_view text) {
    const std::size_t mark = text.find('?');
    op.has_args = mark != std::string_view::npos;
    const bool redirect = op.then == RewriteOp::Then::Redirect;
    auto target = compiler.compile_string(redirect ? text : text.substr(0, mark),
                                          {.escape_captures = redirect});
    if (!target) {
        return std::unexpected(std::move(target.error()));
    }
    op.target = std::move(*target);
    if (op.has_args && !redirect) {
        auto args = compiler.compile_string(text.substr(mark + 1), {.escape_captures = true});
        if (!args) {
            return std::unexpected(std::move(args.error()));
        }
        op.args = std::move(*args);
    }
    return {};
}

Applied apply_rewrite(Compiler& compiler, const Statement& statement) {
    RewriteOp op;
    std::string_view replacement = statement.arg(2);
    if (replacement.empty()) {
        return conf::reject("empty replacement");
    }
    auto regex = compiler.compile_regex(statement.arg(1));
    if (!regex) {
        return std::unexpected(std::move(regex.error()));
    }
    op.regex = std::move(*regex);
    op.pattern = statement.arg(1);
    if (replacement.back() == '?') {
        replacement.remove_suffix(1);  // the last one drops the original arguments
        op.add_args = false;
    }
    const bool absolute = is_absolute(replacement);
    if (absolute) {
        op.then = RewriteOp::Then::Redirect;
        op.status = 302;
    }
    if (statement.args.size() > 2) {
        if (Applied set = set_flag(op, statement.arg(3)); !set) {
            return set;
        }
        if (absolute && op.then != RewriteOp::Then::Redirect) {
            op.then = RewriteOp::Then::Redirect;  // an absolute target is a redirect in any case
        }
    }
    if (Applied compiled = compile_replacement(compiler, op, replacement); !compiled) {
        return compiled;
    }
    current_script(compiler).instructions.emplace_back(std::move(op));
    return {};
}

// Pass 1: the condition at its place. The body is filled in when it is walked, in pass 2.
Applied place_if(Compiler& compiler, const Statement& statement) {
    auto condition = Condition::compile(compiler, statement);
    if (!condition) {
        return std::unexpected(std::move(condition.error()));
    }
    auto body = std::make_shared<IfBody>();
    compiler.extension<RewriteScope>().bodies[&statement] = body;
    Script& script = current_script(compiler);
    script.may_wait =
        script.may_wait || std::ranges::any_of(statement.body, [](const Statement& inner) {
            return inner.name == "return" || inner.name.starts_with("set_by_lua");
        });
    script.instructions.emplace_back(IfOp{std::move(*condition), std::move(body)});
    return {};
}

Applied enter_if(Compiler& compiler, const Statement& statement) {
    auto& scope = compiler.extension<RewriteScope>();
    const std::shared_ptr<IfBody> body = scope.bodies[&statement];
    const engine::Location& parent = *engine::current_location(compiler);
    const bool in_location = compiler.context() != conf::kServer;

    auto& location = engine::add_child_location(compiler, engine::LocationKind::If, parent.name);
    location.auto_redirect = parent.auto_redirect;
    location.content = parent.content;  // unless the body names another
    if (in_location) {
        body->location = &location;
    }
    scope.if_script = &body->script;
    Applied compiled = engine::compile_location(
        compiler, statement, in_location ? conf::kLocationIf : conf::kServerIf, location);
    scope.if_script = nullptr;
    return compiled;
}

engine::Action run_script(engine::Request& request) {
    const auto& settings = request.get<RewriteSettings>();
    ScriptRun run(request, *settings.script, settings.log);
    if (run.run() != ScriptRun::State::Finished) {
        request.log_error(LogLevel::Alert, "a script that must not wait wants to");
        return engine::Action::finish(500);
    }
    return run.action();
}

async::Task<Status> send_text(engine::Request& request, const ScriptRun& run) {
    const std::string_view type =
        request.response.content_type.empty() ? media_type(request) : request.response.content_type;
    return request.send(run.status(), type, run.text());
}

engine::Action after_text(const Status& sent) {
    // Not done(): that would go on with the next phase.
    return sent ? engine::Action::finish(0) : after_send(sent);
}

async::Task<engine::Action> finish_sending(async::Task<Status> sending) {
    co_return after_text(co_await std::move(sending));
}

// From an operation that waits to the end of the script.
async::Task<engine::Action> go_on_waiting(engine::Request& request, ScriptRun& run) {
    for (;;) {
        const CodeOp& code = run.waiting();
        const Result<std::string_view> value = co_await code.op.wait(request, code.op.data.get());
        if (!value) {
            const Error& error = value.error();
            const bool status =
                error.side == ErrorSide::Client && error.code >= 400 && error.code < 600;
            co_return engine::Action::finish(status ? error.code : 500);
        }
        request.assign(code.variable, *value);
        const ScriptRun::State state = run.run();
        if (state == ScriptRun::State::Finished) {
            co_return run.action();
        }
        if (state == ScriptRun::State::Send) {
            co_return after_text(co_await send_text(request, run));
        }
    }
}

// A plain function while nothing waits: `return 200 "text"` costs no coroutine.
async::Task<engine::Action> run_script_waiting(engine::Request& request) {
    using Answer = async::Task<engine::Action>;
    const auto& settings = request.get<RewriteSettings>();
    auto* run = request.arena().make<ScriptRun>(request, *settings.script, settings.log);
    switch (run->run()) {
        case ScriptRun::State::Finished:
            return Answer::ready(run->action());
        case ScriptRun::State::Send: {
            async::Task<Status> sending = send_text(request, *run);
            return sending.is_ready() ? Answer::ready(after_text(sending.take_result()))
                                      : finish_sending(std::move(sending));
        }
        default:
            return go_on_waiting(request, *run);
    }
}

void install(engine::Location& location) {
    const Script* script = location.settings->get<RewriteSettings>().script.get();
    if (script == nullptr || script->owner != &location) {
        return;
    }
    const auto phase = location.kind == engine::LocationKind::Server ? engine::Phase::ServerRewrite
                                                                     : engine::Phase::Rewrite;
    engine::Handler handler{.name = "rewrite"};
    if (script->may_wait) {
        handler.wait = &run_script_waiting;
    } else {
        handler.run = &run_script;
    }
    location.handlers.add(phase, handler);
}

constexpr conf::Contexts kScriptContexts =
    conf::kServer | conf::kServerIf | conf::kLocation | conf::kLocationIf;
constexpr conf::Contexts kFlagContexts = kScriptContexts | conf::kHttp;

constexpr std::array kRows{
    conf::custom<apply_rewrite>("rewrite", kScriptContexts, conf::kTake23, "",
                                "Changes the URI where it matches the regular expression.")
        .syntax("regex replacement [last | break | redirect | permanent]"),
    conf::custom<apply_return>("return", kScriptContexts, conf::kTake12, "",
                               "Ends the request with a status, a text or a redirect; 444 closes "
                               "the connection without a response.")
        .syntax("code [text] | code URL | URL"),
    conf::custom<apply_break>("break", kScriptContexts, conf::kNoArgs, "",
                              "Ends this module's directives for the request."),
    conf::block<enter_if>("if", conf::kServer | conf::kLocation, conf::kOneOrMore,
                          "Directives for requests that meet a condition.")
        .syntax("(condition)")
        .in_order<place_if>(),
    conf::custom<apply_set>("set", kScriptContexts, conf::kTake2, "",
                            "Sets a variable to a text, which may have variables itself.")
        .syntax("$variable value"),
    conf::flag<&RewriteSettings::log>("rewrite_log", kFlagContexts, "off",
                                      "Logs what regular expressions match, at level notice."),
    conf::flag<&RewriteSettings::warn_uninitialized>(
        "uninitialized_variable_warn", kFlagContexts, "on",
        "Logs a warning where a variable is used that no `set` has reached."),
};

}  // namespace

conf::Expected<int> rewrite_define(Compiler& compiler, std::string_view dollar_name) {
    if (dollar_name.size() < 2 || dollar_name[0] != '$') {
        return conf::reject(fmt::format("invalid variable name \"{}\"", dollar_name));
    }
    const std::string_view name = dollar_name.substr(1);
    auto& variables = compiler.variables();
    constexpr auto kFlags = conf::VariableFlags::Changeable | conf::VariableFlags::Weak;
    if (auto defined = variables.define(name, kFlags); !defined) {
        return std::unexpected(std::move(defined.error()));
    }
    const int index = variables.index(name);
    // Asked again, since giving an index may have moved it.
    conf::Variable* variable = *variables.define(name, kFlags);
    if (variable->get == nullptr) {
        variable->get = &uninitialized;
        variable->data = static_cast<std::uintptr_t>(index);
    }
    return index;
}

Applied rewrite_append_set(Compiler& compiler, int variable, ValueOp op) {
    Script& script = current_script(compiler);
    script.may_wait = script.may_wait || op.wait != nullptr;
    script.instructions.emplace_back(CodeOp{variable, std::move(op)});
    return {};
}

namespace {

// A member of a family ($arg_name) has its own value until the script sets another, as in
// ngx_devel_kit; `set` makes it a variable like any other.
conf::Expected<int> define_target(Compiler& compiler, std::string_view dollar_name) {
    if (dollar_name.size() > 1 && dollar_name[0] == '$') {
        auto& variables = compiler.variables();
        const std::string name = to_lower(dollar_name.substr(1));
        const conf::Variable* known = variables.find(name);
        const bool own = known != nullptr && known->defined && !known->from_family;
        if (!own && variables.family(name) != nullptr) {
            return variables.index(name);
        }
    }
    return rewrite_define(compiler, dollar_name);
}

}  // namespace

Applied rewrite_append_call(Compiler& compiler, std::string_view dollar_name,
                            std::span<const std::string_view> texts, SetCall call,
                            std::shared_ptr<const void> data) {
    if (texts.size() > CallOp::kMostValues) {
        return conf::reject("too many values");
    }
    auto variable = define_target(compiler, dollar_name);
    if (!variable) {
        return std::unexpected(std::move(variable.error()));
    }
    CallOp op{.variable = *variable, .values = {}, .call = call, .data = std::move(data)};
    for (const std::string_view text : texts) {
        auto value = ScriptValue::compile(compiler, text);
        if (!value) {
            return std::unexpected(std::move(value.error()));
        }
        op.values.push_back(std::move(*value));
    }
    current_script(compiler).instructions.emplace_back(std::move(op));
    return {};
}

const engine::Module rewrite_module{
    .directives = {.module = "rewrite", .rows = kRows},
    .install = &install,
};

}  // namespace moongate::modules
