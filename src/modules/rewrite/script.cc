// See script.h. What each instruction means, nginx's quirks included, was read from the behaviour
// of ngx_http_rewrite_module; HARDENING 13 is why no length is computed ahead.
#include "modules/rewrite/script.h"

#include "base/strings.h"
#include "engine/request.h"
#include "http/uri.h"

namespace moongate::modules {

using State = ScriptRun::State;

namespace {

// Up to and including the first '?', plain or escaped; all of `url` where there is none.
std::size_t path_size(std::string_view url) {
    for (std::size_t i = 0; i < url.size(); ++i) {
        if (url[i] == '?') {
            return i + 1;
        }
        if (equals_ignore_case(url.substr(i, 3), "%3f")) {
            return i + 3;
        }
    }
    return url.size();
}

}  // namespace

State ScriptRun::run() {
    while (true) {
        Frame& frame = frames_[depth_];
        if (frame.next == frame.script->instructions.size()) {
            if (depth_ == 0) {
                return finish(engine::Action::next());
            }
            --depth_;
            continue;
        }
        const Instruction& instruction = frame.script->instructions[frame.next++];
        const auto state = std::visit([this](const auto& op) { return execute(op); }, instruction);
        if (state.has_value()) {
            return *state;
        }
    }
}

std::optional<State> ScriptRun::execute(const SetOp& op) {
    request_.assign(op.variable, op.value.evaluate(request_, quote_));
    return std::nullopt;
}

std::optional<State> ScriptRun::execute(const CodeOp& op) {
    if (op.op.wait != nullptr) {
        waiting_ = &op;
        return State::Wait;
    }
    const Result<std::string_view> value = op.op.run(request_, op.op.data.get());
    if (!value) {
        return finish(engine::Action::finish(500));
    }
    request_.assign(op.variable, *value);
    return std::nullopt;
}

std::optional<State> ScriptRun::execute(const CallOp& op) {
    std::string_view values[CallOp::kMostValues];
    std::size_t count = 0;
    for (const ScriptValue& value : op.values) {
        values[count++] = value.evaluate(request_, quote_);
    }
    const Result<std::string_view> result = op.call(request_, {values, count}, op.data.get());
    if (!result) {
        return finish(engine::Action::finish(500));
    }
    request_.assign(op.variable, *result);
    return std::nullopt;
}

std::optional<State> ScriptRun::execute(const IfOp& op) {
    switch (op.condition.evaluate(request_, quote_, log_matches_)) {
        case Condition::Result::Failed:
            return finish(engine::Action::finish(500));
        case Condition::Result::False:
            return std::nullopt;
        case Condition::Result::True:
            break;
    }
    if (op.body->location != nullptr) {
        request_.location = op.body->location;
    }
    frames_[++depth_] = {&op.body->script, 0};
    return std::nullopt;
}

std::optional<State> ScriptRun::execute(const RewriteOp& op) {
    const int matched = match_and_log(request_, op.regex, op.pattern, request_.uri, log_matches_);
    if (matched < 0) {
        return finish(engine::Action::finish(500));
    }
    if (matched == 0) {
        return std::nullopt;
    }
    request_.internal = true;
    request_.valid_unparsed_uri = false;
    request_.uri_changed = op.then != RewriteOp::Then::Break;
    if (op.then == RewriteOp::Then::Break) {
        request_.valid_location = false;
    }
    quote_ = false;
    return op.then == RewriteOp::Then::Redirect ? redirect(op) : change_uri(op);
}

std::optional<State> ScriptRun::redirect(const RewriteOp& op) {
    Arena& arena = request_.arena();
    const std::string_view target = op.target.evaluate(request_);
    // What was escaped for arguments is right behind the '?'; before it, a path needs less.
    const std::size_t path = path_size(target);
    std::string_view to = arena.concat(
        http::unescape_uri(target.substr(0, path), http::UnescapeType::Redirect, arena),
        target.substr(path));
    if (op.add_args && !request_.args.empty()) {
        to = arena.concat(to, op.has_args ? "&" : "?", request_.args);
    }
    if (log_matches_) {
        request_.log_error(LogLevel::Notice, "rewritten redirect: \"{}\"", to);
    }
    request_.response.location = to;
    return finish(engine::Action::finish(op.status));
}

std::optional<State> ScriptRun::change_uri(const RewriteOp& op) {
    const std::string_view uri = op.target.evaluate(request_);
    if (op.has_args) {
        const std::string_view args = op.args.evaluate(request_);
        request_.args = op.add_args && !request_.args.empty()
                            ? request_.arena().concat(args, "&", request_.args)
                            : args;
    } else if (!op.add_args) {
        request_.args = {};
    }
    if (log_matches_) {
        request_.log_error(LogLevel::Notice, "rewritten data: \"{}\", args: \"{}\"", uri,
                           request_.args);
    }
    request_.uri = uri;
    if (uri.empty()) {
        request_.log_error(LogLevel::Error, "the rewritten URI has a zero length");
        return finish(engine::Action::finish(500));
    }
    request_.set_extension();
    if (op.then == RewriteOp::Then::GoOn) {
        return std::nullopt;
    }
    return finish(engine::Action::next());
}

std::optional<State> ScriptRun::execute(const ReturnOp& op) {
    if (op.status >= 400 && !op.has_text) {
        return finish(engine::Action::finish(op.status));
    }
    const std::string_view text = op.text.evaluate(request_);
    switch (op.status) {
        case 301:
        case 302:
        case 303:
        case 307:
        case 308:
            request_.response.location = text;
            return finish(engine::Action::finish(op.status));
        default:
            break;
    }
    text_ = text;
    action_ = {engine::Action::Kind::Done, op.status};
    return State::Send;
}

std::optional<State> ScriptRun::execute(const BreakOp&) {
    request_.uri_changed = false;
    return finish(engine::Action::next());
}

}  // namespace moongate::modules
