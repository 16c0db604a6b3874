// $upstream_*: the attempts of a request, and its last response's head. Formats are nginx's: tries
// are separated by ", ", upstreams (after an internal redirect) by " : ".
#include <fmt/format.h>

#include <iterator>

#include "base/strings.h"
#include "upstream/flow.h"
#include "upstream/proxy_module.h"

namespace moongate::upstream {
namespace {

using conf::VariableFlags;
using conf::VariableRow;
using conf::VariableValue;
using engine::Request;
using Text = fmt::memory_buffer;

template <class Write>
void list(Request& request, VariableValue& value, Write write) {
    const AttemptLog* log = UpstreamFlow::attempts_of(request);
    if (log == nullptr || log->count == 0) {
        value.set_missing();
        return;
    }
    Text text;
    bool first = true;
    for (std::size_t i = 0; i < log->count; ++i) {
        const Attempt& attempt = (*log)[i];
        if (attempt.separator) {
            fmt::format_to(std::back_inserter(text), " : ");
            first = true;
            continue;
        }
        if (!first) {
            fmt::format_to(std::back_inserter(text), ", ");
        }
        first = false;
        write(text, attempt);
    }
    value.set(request.arena().copy({text.data(), text.size()}));
}

void get_addr(Request& request, std::uintptr_t, VariableValue& value) {
    list(request, value, [](Text& text, const Attempt& attempt) {
        text.append(attempt.peer.data(), attempt.peer.data() + attempt.peer.size());
    });
}
void get_status(Request& request, std::uintptr_t, VariableValue& value) {
    list(request, value, [](Text& text, const Attempt& attempt) {
        if (attempt.status != 0) {
            fmt::format_to(std::back_inserter(text), "{}", attempt.status);
        } else {
            text.push_back('-');
        }
    });
}
template <std::int64_t Attempt::* Member>
void get_time(Request& request, std::uintptr_t, VariableValue& value) {
    list(request, value, [](Text& text, const Attempt& attempt) {
        const std::int64_t ms = attempt.*Member;
        if (ms < 0) {
            text.push_back('-');
        } else {
            fmt::format_to(std::back_inserter(text), "{}.{:03}", ms / 1000, ms % 1000);
        }
    });
}
template <std::uint64_t Attempt::* Member>
void get_bytes(Request& request, std::uintptr_t, VariableValue& value) {
    list(request, value, [](Text& text, const Attempt& attempt) {
        fmt::format_to(std::back_inserter(text), "{}", attempt.*Member);
    });
}

// A variable's name against a header's: case aside, '-' is written '_'.
bool same_name(std::string_view header, std::string_view variable) {
    if (header.size() != variable.size()) {
        return false;
    }
    for (std::size_t i = 0; i < header.size(); ++i) {
        const char c = header[i] == '-' ? '_' : ascii_lower(header[i]);
        if (c != variable[i]) {
            return false;
        }
    }
    return true;
}

void find_field(Request& request, const http::HeaderList* headers, std::uintptr_t data,
                VariableValue& value) {
    const auto& name = *reinterpret_cast<const conf::PrefixName*>(data);
    std::string_view found;
    bool any = false;
    if (headers != nullptr) {
        for (const http::Header& header : *headers) {
            if (same_name(header.name, name.rest)) {
                found = any ? request.arena().concat(found, ", ", header.value) : header.value;
                any = true;
            }
        }
    }
    if (any) {
        value.set(found);
    } else {
        value.set_missing();
    }
}

const UpstreamFlow* answered(Request& request) {
    const UpstreamFlow* flow = UpstreamFlow::of(request);
    return flow != nullptr && flow->response_read() ? flow : nullptr;
}
void get_header(Request& request, std::uintptr_t data, VariableValue& value) {
    const UpstreamFlow* flow = answered(request);
    find_field(request, flow != nullptr ? &flow->protocol().headers() : nullptr, data, value);
}
void get_trailer(Request& request, std::uintptr_t data, VariableValue& value) {
    const UpstreamFlow* flow = answered(request);
    find_field(request, flow != nullptr ? flow->protocol().trailers() : nullptr, data, value);
}
void get_cookie(Request& request, std::uintptr_t data, VariableValue& value) {
    const auto& name = *reinterpret_cast<const conf::PrefixName*>(data);
    value.set_missing();
    const UpstreamFlow* flow = answered(request);
    if (flow == nullptr) {
        return;
    }
    const http::HeaderList& headers = flow->protocol().headers();
    for (const http::Header* header = headers.find(http::HeaderId::SetCookie); header != nullptr;
         header = headers.next(header)) {
        const std::string_view pair = trim(header->value.substr(0, header->value.find(';')));
        const std::size_t equals = pair.find('=');
        if (equals != std::string_view::npos &&
            equals_ignore_case(trim(pair.substr(0, equals)), name.rest)) {
            value.set(trim(pair.substr(equals + 1)));
            return;
        }
    }
}

constexpr VariableFlags kFlags = VariableFlags::NoCache;
constexpr VariableFlags kFamily = VariableFlags::NoCache | VariableFlags::Prefix;

constexpr VariableRow kRows[] = {
    {"upstream_addr", &get_addr, nullptr, 0, kFlags, "Addresses of the servers asked."},
    {"upstream_status", &get_status, nullptr, 0, kFlags, "Statuses of their responses."},
    {"upstream_connect_time", &get_time<&Attempt::connect_ms>, nullptr, 0, kFlags,
     "Seconds until the connections were made."},
    {"upstream_header_time", &get_time<&Attempt::header_ms>, nullptr, 0, kFlags,
     "Seconds until the response heads were read."},
    {"upstream_response_time", &get_time<&Attempt::response_ms>, nullptr, 0, kFlags,
     "Seconds until the responses were read."},
    {"upstream_response_length", &get_bytes<&Attempt::response_length>, nullptr, 0, kFlags,
     "Bytes of the responses' bodies."},
    {"upstream_bytes_received", &get_bytes<&Attempt::bytes_received>, nullptr, 0, kFlags,
     "Bytes received."},
    {"upstream_bytes_sent", &get_bytes<&Attempt::bytes_sent>, nullptr, 0, kFlags, "Bytes sent."},
    {"upstream_http_", &get_header, nullptr, 0, kFamily, "A header of the last response."},
    {"upstream_trailer_", &get_trailer, nullptr, 0, kFamily, "A trailer of the last response."},
    {"upstream_cookie_", &get_cookie, nullptr, 0, kFamily, "A cookie that the last response sets."},
};

}  // namespace

std::span<const conf::VariableRow> upstream_variables() {
    return kRows;
}

}  // namespace moongate::upstream
