// Core variables of the connection, the process and the time.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstring>

#include "base/clock.h"
#include "base/strings.h"
#include "engine/core_variables.h"
#include "engine/request.h"
#include "engine/worker_pid.h"
#include "engine/worker_state.h"

namespace moongate::engine {
namespace {

using conf::VariableFlags;
using conf::VariableRow;
using conf::VariableValue;

const http::ConnectionInfo& connection_of(Request& request) {
    return request.main->exchange.connection();
}

template <class... Args>
void set_text(Request& request, VariableValue& value, fmt::format_string<Args...> format,
              Args&&... args) {
    fmt::memory_buffer text;
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
    value.set(request.arena().copy({text.data(), text.size()}));
}

// The bytes of the address alone: 4 or 16 of them.
std::string_view address_bytes(const http::SocketAddress& address) {
    if (address.family() == AF_INET) {
        return {reinterpret_cast<const char*>(&address.v4.sin_addr), sizeof(in_addr)};
    }
    if (address.family() == AF_INET6) {
        return {reinterpret_cast<const char*>(&address.v6.sin6_addr), sizeof(in6_addr)};
    }
    return {};
}

void get_binary_remote_addr(Request& request, std::uintptr_t, VariableValue& value) {
    const auto& connection = connection_of(request);
    const std::string_view bytes = address_bytes(connection.remote);
    value.set(bytes.empty() ? connection.remote_ip : request.arena().copy(bytes));
}

void get_remote_addr(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(connection_of(request).remote_ip);
}

void get_remote_port(Request& request, std::uintptr_t, VariableValue& value) {
    const unsigned port = connection_of(request).remote_port;
    if (port == 0) {
        value.set("");
    } else {
        set_text(request, value, "{}", port);
    }
}

void get_server_addr(Request& request, std::uintptr_t, VariableValue& value) {
    const http::SocketAddress& local = connection_of(request).local;
    const std::string_view bytes = address_bytes(local);
    char text[INET6_ADDRSTRLEN] = "unix:";
    if (!bytes.empty()) {
        inet_ntop(local.family(), bytes.data(), text, sizeof(text));
    }
    value.set(request.arena().copy(text));
}

void get_server_port(Request& request, std::uintptr_t, VariableValue& value) {
    const unsigned port = connection_of(request).local.port();
    if (port == 0) {
        value.set("");
    } else {
        set_text(request, value, "{}", port);
    }
}

void get_scheme(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(connection_of(request).tls ? "https" : "http");
}

void get_https(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(connection_of(request).tls ? "on" : "");
}

void get_connection(Request& request, std::uintptr_t, VariableValue& value) {
    set_text(request, value, "{}", connection_of(request).number);
}

void get_connection_requests(Request& request, std::uintptr_t, VariableValue& value) {
    set_text(request, value, "{}", connection_of(request).requests);
}

void set_seconds(Request& request, VariableValue& value, std::uint64_t milliseconds) {
    set_text(request, value, "{}.{:03}", milliseconds / 1000, milliseconds % 1000);
}

std::uint64_t since(std::uint64_t start) {
    const std::uint64_t now = Clock::current().monotonic_ms();
    return now > start ? now - start : 0;
}

void get_connection_time(Request& request, std::uintptr_t, VariableValue& value) {
    set_seconds(request, value, since(connection_of(request).start_ms));
}

void get_request_time(Request& request, std::uintptr_t, VariableValue& value) {
    set_seconds(request, value, since(request.start_mono_ms));
}

// Without the PROXY protocol on the connection there is no value.
void get_missing(Request&, std::uintptr_t, VariableValue& value) {
    value.set_missing();
}

void get_nginx_version(Request&, std::uintptr_t, VariableValue& value) {
    value.set("1.31.5");
}

void get_hostname(Request&, std::uintptr_t, VariableValue& value) {
    static const std::string name = [] {
        char text[HOST_NAME_MAX + 1] = {};
        gethostname(text, sizeof(text) - 1);
        return to_lower(text);
    }();
    value.set(name);
}

void get_pid(Request& request, std::uintptr_t, VariableValue& value) {
    set_text(request, value, "{}", worker_pid(request.worker.worker));
}

void get_msec(Request& request, std::uintptr_t, VariableValue& value) {
    set_seconds(request, value, Clock::current().unix_ms());
}

void get_time_iso8601(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.arena().copy(Clock::current().iso8601()));
}

void get_time_local(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.arena().copy(Clock::current().common_date()));
}

// 16 random bytes in hexadecimal; taken from the system in larger pieces.
void get_request_id(Request& request, std::uintptr_t, VariableValue& value) {
    constexpr std::size_t kBytes = 16;
    static thread_local std::array<unsigned char, 256> pool;  // what getrandom() never cuts short
    static thread_local std::size_t used = pool.size();
    if (used == pool.size()) {
        if (getrandom(pool.data(), pool.size(), 0) != static_cast<ssize_t>(pool.size())) {
            value.set_missing();
            return;
        }
        used = 0;
    }
    char* text = request.arena().allocate_chars(2 * kBytes);
    for (std::size_t i = 0; i < kBytes; ++i) {
        constexpr std::string_view kDigits = "0123456789abcdef";
        const unsigned char byte = pool[used + i];
        text[2 * i] = kDigits[byte >> 4];
        text[2 * i + 1] = kDigits[byte & 15];
    }
    std::memset(pool.data() + used, 0, kBytes);
    used += kBytes;
    value.set({text, 2 * kBytes});
}

constexpr auto kNoCache = VariableFlags::NoCache;
constexpr auto kNone = VariableFlags::None;

constexpr VariableRow kRows[] = {
    {"binary_remote_addr", &get_binary_remote_addr, nullptr, 0, kNone,
     "The client's address in 4 or 16 bytes."},
    {"remote_addr", &get_remote_addr, nullptr, 0, kNone, "The client's address."},
    {"remote_port", &get_remote_port, nullptr, 0, kNone, "The client's port."},
    {"proxy_protocol_addr", &get_missing, nullptr, 0, kNone,
     "The client's address of the PROXY protocol."},
    {"proxy_protocol_port", &get_missing, nullptr, 0, kNone,
     "The client's port of the PROXY protocol."},
    {"proxy_protocol_server_addr", &get_missing, nullptr, 0, kNone,
     "The server's address of the PROXY protocol."},
    {"proxy_protocol_server_port", &get_missing, nullptr, 0, kNone,
     "The server's port of the PROXY protocol."},
    {"proxy_protocol_tlv_", &get_missing, nullptr, 0, VariableFlags::Prefix,
     "A TLV of the PROXY protocol."},
    {"server_addr", &get_server_addr, nullptr, 0, kNone,
     "The address that the connection was accepted at."},
    {"server_port", &get_server_port, nullptr, 0, kNone,
     "The port that the connection was accepted at."},
    {"scheme", &get_scheme, nullptr, 0, kNone, "http or https."},
    {"https", &get_https, nullptr, 0, kNone, "\"on\" over TLS, else empty."},
    {"connection", &get_connection, nullptr, 0, kNone, "The connection's number."},
    {"connection_requests", &get_connection_requests, nullptr, 0, kNone,
     "How many requests the connection had, this one included."},
    {"connection_time", &get_connection_time, nullptr, 0, kNoCache,
     "The connection's age in seconds with milliseconds."},
    {"request_time", &get_request_time, nullptr, 0, kNoCache,
     "Seconds with milliseconds since the first byte of the request."},
    {"request_id", &get_request_id, nullptr, 0, kNone, "16 random bytes in hexadecimal."},
    {"nginx_version", &get_nginx_version, nullptr, 0, kNone,
     "The nginx version whose behaviour is followed."},
    {"hostname", &get_hostname, nullptr, 0, kNone, "The machine's name."},
    {"pid", &get_pid, nullptr, 0, kNone,
     "The worker's process number, or its thread's where there are several workers."},
    {"msec", &get_msec, nullptr, 0, kNoCache, "The time in seconds with milliseconds."},
    {"time_iso8601", &get_time_iso8601, nullptr, 0, kNoCache, "The local time in ISO 8601."},
    {"time_local", &get_time_local, nullptr, 0, kNoCache, "The local time in the log's form."},
    {"tcpinfo_rtt", &get_missing, nullptr, 0, kNoCache,
     "TCP's round trip time; not available yet."},
    {"tcpinfo_rttvar", &get_missing, nullptr, 0, kNoCache,
     "The variance of TCP's round trip time; not available yet."},
    {"tcpinfo_snd_cwnd", &get_missing, nullptr, 0, kNoCache,
     "TCP's congestion window; not available yet."},
    {"tcpinfo_rcv_space", &get_missing, nullptr, 0, kNoCache,
     "TCP's receive window; not available yet."},
};

}  // namespace

std::span<const VariableRow> connection_variable_rows() {
    return kRows;
}

}  // namespace moongate::engine
