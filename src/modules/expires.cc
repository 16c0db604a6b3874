// See expires.h.
#include "modules/expires.h"

#include <ctime>

#include "conf/values.h"

namespace moongate::modules {

std::expected<Expires, std::string_view> parse_expires(std::string_view text, bool modified) {
    Expires expires{.kind = modified ? Expires::Kind::Modified : Expires::Kind::Access};
    if (!modified) {
        if (text == "epoch") {
            return Expires{.kind = Expires::Kind::Epoch};
        }
        if (text == "max") {
            return Expires{.kind = Expires::Kind::Max};
        }
        if (text == "off") {
            return Expires{};
        }
    }
    const char sign = text.empty() ? '\0' : text.front();
    if (sign == '@') {
        if (modified) {
            return std::unexpected("daily time cannot be used with \"modified\" parameter");
        }
        expires.kind = Expires::Kind::Daily;
    }
    if (sign == '@' || sign == '+' || sign == '-') {
        text.remove_prefix(1);
    }
    const auto seconds = conf::parse_seconds(text);
    if (!seconds.has_value()) {
        return std::unexpected("invalid value");
    }
    constexpr std::int64_t kDay = 24 * 60 * 60;
    if (expires.kind == Expires::Kind::Daily && *seconds > kDay) {
        return std::unexpected("daily time value must be less than 24 hours");
    }
    expires.seconds = sign == '-' ? -*seconds : *seconds;
    return expires;
}

std::int64_t next_time_of_day(std::int64_t seconds, std::int64_t now) {
    const auto clock = static_cast<std::time_t>(now);
    std::tm day{};
    ::localtime_r(&clock, &day);
    day.tm_hour = static_cast<int>(seconds / 3600);
    day.tm_min = static_cast<int>(seconds / 60 % 60);
    day.tm_sec = static_cast<int>(seconds % 60);
    day.tm_isdst = -1;
    const std::time_t today = std::mktime(&day);
    if (today > clock) {
        return today;
    }
    ++day.tm_mday;  // mktime() makes a valid date of the 32nd
    day.tm_isdst = -1;
    return std::mktime(&day);
}

}  // namespace moongate::modules
