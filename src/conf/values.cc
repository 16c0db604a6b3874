#include "conf/values.h"

#include <fmt/format.h>

#include <limits>

#include "base/strings.h"
#include "conf/compiler.h"

namespace moongate::conf {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

std::optional<std::int64_t> parse_scaled(std::string_view text, bool giga) {
    std::int64_t scale = 1;
    switch (text.empty() ? '\0' : ascii_lower(text.back())) {
        case 'k':
            scale = 1 << 10;
            break;
        case 'm':
            scale = 1 << 20;
            break;
        case 'g':
            scale = giga ? 1 << 30 : 1;
            break;
        default:
            break;
    }
    if (scale != 1) {
        text.remove_suffix(1);
    }
    const auto value = parse_integer(text);
    if (!value || *value > kMax / scale) {
        return std::nullopt;
    }
    return *value * scale;
}

// Units must come in this order, each at most once; a space after a number means seconds and ends
// the list.
enum TimeStep { kStart, kYear, kMonth, kWeek, kDay, kHour, kMinute, kSecond, kMillisecond, kLast };

struct TimeUnit {
    char letter;
    TimeStep step;
    std::int64_t seconds;
};
constexpr TimeUnit kTimeUnits[] = {
    {'y', kYear, 31536000}, {'M', kMonth, 2592000}, {'w', kWeek, 604800}, {'d', kDay, 86400},
    {'h', kHour, 3600},     {'m', kMinute, 60},     {'s', kSecond, 1},
};

// `per_second` 1 for the seconds grammar, 1000 for the milliseconds grammar.
std::optional<std::int64_t> parse_time(std::string_view text, std::int64_t per_second) {
    TimeStep step = per_second == 1 ? kStart : kMonth;
    std::int64_t total = 0;
    std::int64_t value = 0;
    bool any_digit = false;
    const auto add = [&total, &value](std::int64_t scale) {
        if (value > kMax / scale || total > kMax - value * scale) {
            return false;
        }
        total += value * scale;
        value = 0;
        return true;
    };
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i++];
        if (is_digit(c)) {
            if (value > (kMax - (c - '0')) / 10) {
                return std::nullopt;
            }
            value = value * 10 + (c - '0');
            any_digit = true;
            continue;
        }
        std::int64_t scale = per_second;
        TimeStep next = kLast;
        if (c == 'm' && i < text.size() && text[i] == 's') {
            if (per_second == 1) {
                return std::nullopt;
            }
            ++i;
            next = kMillisecond;
            scale = 1;
        } else if (c != ' ') {
            for (const TimeUnit& unit : kTimeUnits) {
                if (unit.letter == c) {
                    next = unit.step;
                    scale = unit.seconds * per_second;
                }
            }
            if (next == kLast) {
                return std::nullopt;
            }
        }
        if (step >= (next == kLast ? kSecond : next) || !add(scale)) {
            return std::nullopt;
        }
        step = next;
        while (i < text.size() && text[i] == ' ') {
            ++i;
        }
    }
    if (!any_digit || !add(per_second)) {
        return std::nullopt;
    }
    return total;
}

Expected<std::int64_t> checked(std::optional<std::int64_t> value, const Directive& row,
                               std::string_view what) {
    if (!value) {
        return reject_directive(row.name, what);
    }
    if (*value >= row.minimum && *value <= row.maximum) {
        return *value;
    }
    if (row.maximum == kMax) {
        return reject(fmt::format("value must be equal to or greater than {}", row.minimum));
    }
    return reject(fmt::format("value must be between {} and {}", row.minimum, row.maximum));
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) {
    return parse_number<std::int64_t>(text);
}
std::optional<std::int64_t> parse_size(std::string_view text) {
    return parse_scaled(text, false);
}
std::optional<std::int64_t> parse_offset(std::string_view text) {
    return parse_scaled(text, true);
}
std::optional<std::int64_t> parse_msec(std::string_view text) {
    return parse_time(text, 1000);
}
std::optional<std::int64_t> parse_seconds(std::string_view text) {
    return parse_time(text, 1);
}

std::optional<std::int64_t> parse_fixed(std::string_view text, unsigned digits) {
    const std::size_t dot = text.find('.');
    std::string plain(text.substr(0, dot));
    const std::string_view fraction =
        dot == std::string_view::npos ? std::string_view() : text.substr(dot + 1);
    if (fraction.size() > digits) {
        return std::nullopt;
    }
    plain += fraction;
    if (plain.empty()) {
        return std::nullopt;
    }
    plain.append(digits - fraction.size(), '0');
    return parse_integer(plain);
}

Expected<std::int64_t> read_flag(const Statement& statement, const Directive& row) {
    const std::string_view value = statement.arg(1);
    if (equals_ignore_case(value, "on")) {
        return 1;
    }
    if (equals_ignore_case(value, "off")) {
        return 0;
    }
    return reject(fmt::format(
        "invalid value \"{}\" in \"{}\" directive, it must be \"on\" or \"off\"", value, row.name));
}

Expected<std::int64_t> read_size(const Statement& statement, const Directive& row) {
    return checked(parse_size(statement.arg(1)), row, "invalid value");
}

Expected<std::int64_t> read_offset(const Statement& statement, const Directive& row) {
    return checked(parse_offset(statement.arg(1)), row, "invalid value");
}

Expected<std::int64_t> read_number(const Statement& statement, const Directive& row) {
    return checked(parse_integer(statement.arg(1)), row, "invalid number");
}

Expected<std::int64_t> read_msec(const Statement& statement, const Directive& row) {
    return checked(parse_msec(statement.arg(1)), row, "invalid value");
}

Expected<std::int64_t> read_seconds(const Statement& statement, const Directive& row) {
    return checked(parse_seconds(statement.arg(1)), row, "invalid value");
}

Expected<std::int64_t> read_enumeration(const Statement& statement, const Directive& row) {
    for (const EnumValue& value : row.values) {
        if (equals_ignore_case(value.name, statement.arg(1))) {
            return value.value;
        }
    }
    return reject_value(statement.arg(1));
}

Expected<std::int64_t> read_bitmask(Compiler& compiler, const Statement& statement,
                                    const Directive& row, std::int64_t bits) {
    for (const auto& arg : statement.args) {
        bool known = false;
        for (const EnumValue& value : row.values) {
            if (!equals_ignore_case(value.name, arg)) {
                continue;
            }
            if ((bits & value.value) == value.value) {
                compiler.warn(fmt::format("duplicate value \"{}\"", arg));
            }
            bits |= value.value;
            known = true;
            break;
        }
        if (!known) {
            return reject_value(arg);
        }
    }
    return bits;
}

Expected<Buffers> read_buffers(const Statement& statement, const Directive& row) {
    const auto count = parse_integer(statement.arg(1));
    const auto size = parse_size(statement.arg(2));
    if (!count || !size || *count == 0 || *size == 0 || *size > kMax / *count) {
        return reject_directive(row.name, "invalid value");
    }
    if (auto in_bounds = checked(count, row, "invalid value"); !in_bounds) {
        return std::unexpected(std::move(in_bounds.error()));
    }
    return Buffers{static_cast<std::size_t>(*count), static_cast<std::size_t>(*size)};
}

Expected<CompiledString> read_complex(Compiler& compiler, std::string_view text) {
    return compiler.compile_string(text);
}

std::string prefixed_path(const Compiler& compiler, std::string_view name) {
    return compiler.full_path(name);
}

}  // namespace moongate::conf
