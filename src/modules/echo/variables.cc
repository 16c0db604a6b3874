// The $echo_* variables. See echo.h.
#include <fmt/format.h>

#include "base/clock.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "modules/echo/commands.h"

namespace moongate::modules {

namespace {

using conf::VariableFlags;
using conf::VariableRow;
using conf::VariableValue;
using engine::Request;

void get_timer_elapsed(Request& request, std::uintptr_t, VariableValue& value) {
    const EchoContext* context = request.context<EchoContext>(echo_context_slot);
    const std::uint64_t start = context != nullptr && context->timer_start_ms != 0
                                    ? context->timer_start_ms
                                    : request.start_ms;
    const std::uint64_t now = Clock::current().unix_ms();
    const std::uint64_t elapsed = now > start ? now - start : 0;
    value.set(request.arena().copy(fmt::format("{}.{:03}", elapsed / 1000, elapsed % 1000)));
}

// Of the subrequest itself, where $request_method is the main request's.
void get_request_method(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.method_text);
}

void get_client_request_method(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.main->method_text);
}

void get_uri(Request& request, std::uintptr_t no_cache, VariableValue& value) {
    if (request.uri.empty()) {
        value.set_missing();
        return;
    }
    value.set(request.uri);
    value.no_cache = no_cache != 0;
}

void get_request_body(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.body == nullptr || request.body->file >= 0 || request.body->size == 0) {
        value.set_missing();
    } else {
        value.set(request.body->memory);
    }
}

void get_client_request_headers(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.main->exchange.raw_head());
}

void get_it(Request& request, std::uintptr_t, VariableValue& value) {
    const EchoContext* context = request.context<EchoContext>(echo_context_slot);
    if (context != nullptr && context->in_loop && context->choice < context->choices.size()) {
        value.set(context->choices[context->choice]);
    } else {
        value.set_missing();
    }
}

void get_incr(Request& request, std::uintptr_t, VariableValue& value) {
    const std::uint64_t count = ++echo_context(*request.main).counter;
    value.set(request.arena().copy(fmt::format("{}", count)));
}

void get_response_status(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.response.status == 0) {
        value.set_missing();
    } else {
        value.set(request.arena().copy(fmt::format("{}", request.response.status)));
    }
}

constexpr auto kNoCache = VariableFlags::NoCache;

constexpr VariableRow kRows[] = {
    {"echo_timer_elapsed", &get_timer_elapsed, nullptr, 0, kNoCache,
     "Seconds since the request began or echo_reset_timer, with milliseconds."},
    {"echo_request_method", &get_request_method, nullptr, 0, kNoCache,
     "The method of this request, which may be a subrequest."},
    {"echo_client_request_method", &get_client_request_method, nullptr, 0, kNoCache,
     "The method of the main request."},
    {"echo_cacheable_request_uri", &get_uri, nullptr, 0, VariableFlags::None,
     "The URI of this request as it was at the first use."},
    {"echo_request_uri", &get_uri, nullptr, 1, VariableFlags::None,
     "The URI of this request, decoded, without arguments."},
    {"echo_request_body", &get_request_body, nullptr, 0, kNoCache,
     "The request's body, if it was read and is in memory."},
    {"echo_client_request_headers", &get_client_request_headers, nullptr, 0, kNoCache,
     "The main request's line and headers as they came."},
    {"echo_it", &get_it, nullptr, 0, kNoCache, "The current part in echo_foreach_split."},
    {"echo_incr", &get_incr, nullptr, 0, kNoCache,
     "Counts its uses in a request and its subrequests."},
    {"echo_response_status", &get_response_status, nullptr, 0, kNoCache,
     "The response's status, once it is known."},
};

}  // namespace

std::span<const VariableRow> echo_variable_rows() {
    return kRows;
}

}  // namespace moongate::modules
