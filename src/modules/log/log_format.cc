// See log_format.h.
#include "modules/log/log_format.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

#include "base/clock.h"
#include "base/strings.h"
#include "conf/variables.h"
#include "engine/request.h"

namespace moongate::modules {

namespace {

constexpr char kHex[] = "0123456789ABCDEF";

bool needs_escape(unsigned char c) {
    return c < 0x20 || c >= 0x7f || c == '"' || c == '\\';
}

bool is_name_char(char c) {
    return is_alpha(c) || is_digit(c) || c == '_';
}

void append_seconds(std::uint64_t milliseconds, std::string& line) {
    fmt::format_to(std::back_inserter(line), "{}.{:03}", milliseconds / 1000, milliseconds % 1000);
}

void append_number(std::uint64_t number, std::string& line) {
    const fmt::format_int digits(number);
    line.append(digits.data(), digits.size());
}

}  // namespace

void append_escaped(std::string_view text, std::string& line) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (needs_escape(byte)) {
            const char escaped[] = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
            line.append(escaped, sizeof(escaped));
        } else {
            line.push_back(c);
        }
    }
}

void append_json_escaped(std::string_view text, std::string& line) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20) {
            if (c == '\\' || c == '"') {
                line.push_back('\\');
            }
            line.push_back(c);
            continue;
        }
        line.push_back('\\');
        switch (c) {
            case '\n':
                line.push_back('n');
                break;
            case '\r':
                line.push_back('r');
                break;
            case '\t':
                line.push_back('t');
                break;
            case '\b':
                line.push_back('b');
                break;
            case '\f':
                line.push_back('f');
                break;
            default:
                line += "u00";
                line.push_back(kHex[byte >> 4]);
                line.push_back(kHex[byte & 15]);
                break;
        }
    }
}

LogFormat::Kind LogFormat::known_kind(std::string_view name) {
    struct Known {
        std::string_view name;
        Kind kind;
    };
    static constexpr std::array kKnown{
        Known{"pipe", Kind::Pipe},
        Known{"time_local", Kind::TimeLocal},
        Known{"time_iso8601", Kind::TimeIso8601},
        Known{"msec", Kind::Msec},
        Known{"request_time", Kind::RequestTime},
        Known{"status", Kind::Status},
        Known{"bytes_sent", Kind::BytesSent},
        Known{"body_bytes_sent", Kind::BodyBytesSent},
        Known{"request_length", Kind::RequestLength},
    };
    for (const Known& known : kKnown) {
        if (known.name == name) {
            return known.kind;
        }
    }
    return Kind::Variable;
}

conf::Expected<LogFormat> LogFormat::compile(std::span<const std::string> parts, LogEscape escape,
                                             conf::VariableTable& variables) {
    LogFormat format;
    format.escape_ = escape;
    for (const std::string& part : parts) {
        if (auto compiled = format.compile_part(part, variables); !compiled) {
            return std::unexpected(std::move(compiled.error()));
        }
    }
    return format;
}

conf::Expected<LogFormat> LogFormat::combined(conf::VariableTable& variables) {
    const std::string text =
        "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent "
        "\"$http_referer\" \"$http_user_agent\"";
    return compile({&text, 1}, LogEscape::Default, variables);
}

conf::Expected<void> LogFormat::compile_part(std::string_view text,
                                             conf::VariableTable& variables) {
    while (!text.empty()) {
        if (text[0] != '$') {
            const std::size_t end = std::min(text.find('$'), text.size());
            parts_.push_back({.kind = Kind::Text, .text = std::string(text.substr(0, end))});
            text.remove_prefix(end);
            continue;
        }
        const std::string_view whole = text;
        text.remove_prefix(1);
        const bool bracket = text.starts_with('{');
        text.remove_prefix(bracket ? 1 : 0);
        std::size_t end = 0;
        while (end < text.size() && is_name_char(text[end])) {
            ++end;
        }
        const std::string_view name = text.substr(0, end);
        if (bracket && (end == text.size() || text[end] != '}')) {
            if (text.empty()) {
                return conf::reject(fmt::format("invalid parameter \"{}\"", whole));
            }
            return conf::reject(
                fmt::format("the closing bracket in \"{}\" variable is missing", name));
        }
        if (name.empty()) {
            return conf::reject(fmt::format("invalid parameter \"{}\"", whole));
        }
        text.remove_prefix(end + (bracket ? 1 : 0));
        Part part{.kind = known_kind(name)};
        if (part.kind == Kind::Variable) {
            part.variable = variables.index(name);
        }
        parts_.push_back(std::move(part));
    }
    return {};
}

void LogFormat::append_variable(engine::Request& request, int variable, std::string& line) const {
    const conf::VariableValue& value = request.variable(variable);
    if (!value.valid) {
        if (escape_ == LogEscape::Default) {
            line.push_back('-');
        }
        return;
    }
    switch (escape_) {
        case LogEscape::Default:
            append_escaped(value.text(), line);
            break;
        case LogEscape::Json:
            append_json_escaped(value.text(), line);
            break;
        case LogEscape::None:
            line += value.text();
            break;
    }
}

void LogFormat::append(engine::Request& request, std::string& line) const {
    Clock& clock = Clock::current();
    for (const Part& part : parts_) {
        switch (part.kind) {
            case Kind::Text:
                line += part.text;
                break;
            case Kind::Variable:
                append_variable(request, part.variable, line);
                break;
            case Kind::Pipe:
                line.push_back('.');  // the exchange does not tell pipelined requests apart
                break;
            case Kind::TimeLocal:
                line += clock.common_date();
                break;
            case Kind::TimeIso8601:
                line += clock.iso8601();
                break;
            case Kind::Msec:
                append_seconds(clock.unix_ms(), line);
                break;
            case Kind::RequestTime:
                append_seconds(clock.monotonic_ms() - request.start_mono_ms, line);
                break;
            case Kind::Status:
                fmt::format_to(std::back_inserter(line), "{:03}", request.response.status);
                break;
            case Kind::BytesSent:
                append_number(request.exchange.bytes_sent(), line);
                break;
            case Kind::BodyBytesSent:
                append_number(request.exchange.body_bytes_sent(), line);
                break;
            case Kind::RequestLength:
                append_number(request.exchange.request_bytes(), line);
                break;
        }
    }
}

}  // namespace moongate::modules
