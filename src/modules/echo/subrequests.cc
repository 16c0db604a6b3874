// echo_location, echo_subrequest and their _async forms: streamed subrequests. See commands.h.
#include "engine/request.h"
#include "engine/subrequest.h"
#include "http/method.h"
#include "http/uri.h"
#include "modules/answer.h"
#include "modules/echo/commands.h"

namespace moongate::modules {

namespace {

using engine::Action;
using engine::Request;
using engine::StreamedSubrequest;

struct Spec {
    engine::SubrequestOptions options;
    std::string_view target;
    std::string_view args;
    bool has_args = false;
    std::string_view body;
    std::string_view file;
};

// "METHOD uri [-q args] [-b body] [-f file]".
bool read_spec(Request& request, std::span<const std::string_view> words, Spec& spec) {
    if (words.size() < 2) {
        return false;
    }
    spec.options.method = http::parse_method(words[0]);
    spec.options.method_text = words[0];
    spec.target = words[1];
    for (std::size_t i = 2; i < words.size(); i += 2) {
        const std::string_view option = words[i];
        if (option != "-q" && option != "-b" && option != "-f") {
            request.log_error(LogLevel::Error, "unknown option for echo_subrequest*: {}", option);
            return false;
        }
        if (i + 1 == words.size()) {
            break;
        }
        const std::string_view value = words[i + 1];
        if (option == "-q") {
            spec.args = value;
            spec.has_args = true;
        } else {
            (option == "-b" ? spec.body : spec.file) = value;
        }
    }
    return true;
}

bool read_location(std::span<const std::string_view> words, Spec& spec) {
    if (words.empty()) {
        return false;
    }
    spec.target = words[0];
    spec.has_args = words.size() > 1;
    spec.args = spec.has_args ? words[1] : std::string_view();
    return true;
}

bool give_body(Request& parent, StreamedSubrequest& subrequest, const Spec& spec) {
    if (!spec.body.empty()) {
        subrequest.set_body(spec.body);
    } else if (!spec.file.empty()) {
        const std::string_view prefix = parent.get<EchoSettings>().prefix;
        const std::string_view path =
            spec.file.starts_with('/') ? spec.file : parent.arena().concat(prefix, spec.file);
        if (const Status opened = subrequest.set_body_file(path); !opened) {
            parent.log_error(LogLevel::Error, "open() \"{}\" failed {}", path,
                             errno_text(opened.error().code));
            return false;
        }
    }
    return true;
}

std::string_view directive_name(EchoOp op) {
    switch (op) {
        case EchoOp::Location:
            return "echo_location";
        case EchoOp::LocationAsync:
            return "echo_location_async";
        case EchoOp::Subrequest:
            return "echo_subrequest";
        default:
            return "echo_subrequest_async";
    }
}

}  // namespace

async::Task<Action> echo_subrequest(Request& request, const EchoCommand& command) {
    const bool with_method =
        command.op == EchoOp::Subrequest || command.op == EchoOp::SubrequestAsync;
    const bool beside =
        command.op == EchoOp::LocationAsync || command.op == EchoOp::SubrequestAsync;
    const auto words = echo_arguments(request, command);
    Spec spec;
    if (!(with_method ? read_spec(request, words, spec) : read_location(words, spec)) ||
        spec.target.empty()) {
        co_return echo_failed(request);
    }
    const auto uri = http::parse_unsafe_uri(request.arena().copy(spec.target), request.arena());
    if (!uri) {
        request.log_error(LogLevel::Debug, "{} sees unsafe uri: \"{}\"", directive_name(command.op),
                          spec.target);
        co_return echo_failed(request);
    }
    spec.options.uri = uri->path;
    spec.options.args = spec.has_args ? spec.args : uri->args;
    Status sent = co_await send_echo_head(request);
    if (sent && command.opens_body && !request.header_only) {
        sent = co_await request.send_body({});
    }
    if (!sent) {
        co_return after_send(sent);
    }
    if (request.header_only) {
        co_return beside ? Action::next() : Action::done();
    }
    if (!engine::Subrequest::allowed(request, spec.options.uri)) {
        co_return echo_failed(request);
    }
    auto subrequest = std::make_unique<StreamedSubrequest>(request, spec.options);
    if (!give_body(request, *subrequest, spec)) {
        co_return echo_failed(request);
    }
    if (beside) {
        engine::Streaming::of(request).start(std::move(subrequest));
        co_return Action::next();
    }
    co_await async::yield(request.reactor());  // behind those that were started before
    co_await subrequest->stream();
    co_return subrequest->order().failed() ? echo_failed(request) : Action::next();
}

}  // namespace moongate::modules
