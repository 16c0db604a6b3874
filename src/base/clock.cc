#include "base/clock.h"

#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/strings.h"

namespace moongate {
namespace {

constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

std::uint64_t read_ms(clockid_t id) {
    timespec now{};
    clock_gettime(id, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
           static_cast<std::uint64_t>(now.tv_nsec) / 1000000;
}

int month_of(std::string_view name) {
    for (int i = 0; i < 12; ++i) {
        if (equals_ignore_case(name, kMonths[i])) {
            return i;
        }
    }
    return -1;
}

// Reads digits, or -1.
int number_at(std::string_view text, std::size_t at, std::size_t digits) {
    if (at + digits > text.size()) {
        return -1;
    }
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) {
        if (!is_digit(text[i])) {
            if (text[i] == ' ' && i == at && digits == 2) {
                continue;  // asctime pads the day with a space
            }
            return -1;
        }
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

}  // namespace

Clock& Clock::current() {
    constinit thread_local Clock clock;
    if (clock.unix_ms_ == 0) [[unlikely]] {
        clock.update();
    }
    return clock;
}

void Clock::update() {
    monotonic_ms_ = read_ms(CLOCK_MONOTONIC);
    unix_ms_ = read_ms(CLOCK_REALTIME);
}

void Clock::format() {
    if (unix_seconds() == formatted_second_) {
        return;
    }
    formatted_second_ = unix_seconds();
    format_http_date(formatted_second_, http_date_);
    const time_t seconds = formatted_second_;
    tm local{};
    localtime_r(&seconds, &local);
    const long offset = local.tm_gmtoff / 60;
    const char sign = offset < 0 ? '-' : '+';
    const long hours = std::labs(offset) / 60;
    const long minutes = std::labs(offset) % 60;
    std::snprintf(log_date_, sizeof log_date_, "%4d/%02d/%02d %02d:%02d:%02d", local.tm_year + 1900,
                  local.tm_mon + 1, local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
    std::snprintf(common_date_, sizeof common_date_, "%02d/%s/%d:%02d:%02d:%02d %c%02ld%02ld",
                  local.tm_mday, kMonths[local.tm_mon], local.tm_year + 1900, local.tm_hour,
                  local.tm_min, local.tm_sec, sign, hours, minutes);
    std::snprintf(iso8601_, sizeof iso8601_, "%4d-%02d-%02dT%02d:%02d:%02d%c%02ld:%02ld",
                  local.tm_year + 1900, local.tm_mon + 1, local.tm_mday, local.tm_hour,
                  local.tm_min, local.tm_sec, sign, hours, minutes);
}

std::string_view Clock::http_date() {
    format();
    return {http_date_, 29};
}
std::string_view Clock::log_date() {
    format();
    return log_date_;
}
std::string_view Clock::common_date() {
    format();
    return common_date_;
}
std::string_view Clock::iso8601() {
    format();
    return iso8601_;
}

void format_http_date(std::int64_t unix_seconds, char* to) {
    const time_t seconds = unix_seconds;
    tm utc{};
    gmtime_r(&seconds, &utc);
    char text[64];  // room for years that no calendar has
    std::snprintf(text, sizeof text, "%s, %02d %s %4d %02d:%02d:%02d GMT", kDays[utc.tm_wday],
                  utc.tm_mday, kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                  utc.tm_sec);
    std::memcpy(to, text, 29);
    to[29] = '\0';
}

std::int64_t parse_http_date(std::string_view text) {
    text = trim(text);
    tm parts{};
    const auto comma = text.find(',');
    std::size_t clock_at = 0;
    if (comma == std::string_view::npos) {
        // asctime: Sun Nov  6 08:49:37 1994
        if (text.size() != 24) {
            return -1;
        }
        parts.tm_mon = month_of(text.substr(4, 3));
        parts.tm_mday = number_at(text, 8, 2);
        parts.tm_year = number_at(text, 20, 4);
        clock_at = 11;
    } else {
        std::string_view rest = trim(text.substr(comma + 1));
        if (rest.size() < 20) {
            return -1;
        }
        const std::size_t base = static_cast<std::size_t>(rest.data() - text.data());
        const char separator = rest[2];  // ' ' in IMF-fixdate, '-' in RFC 850's form
        if (separator != ' ' && separator != '-') {
            return -1;
        }
        parts.tm_mday = number_at(rest, 0, 2);
        parts.tm_mon = month_of(rest.substr(3, 3));
        if (separator == ' ') {
            parts.tm_year = number_at(rest, 7, 4);
            clock_at = base + 12;
        } else {
            parts.tm_year = number_at(rest, 7, 2);
            if (parts.tm_year >= 0) {
                parts.tm_year += parts.tm_year < 70 ? 2000 : 1900;
            }
            clock_at = base + 10;
        }
    }
    if (clock_at + 8 > text.size() || text[clock_at + 2] != ':' || text[clock_at + 5] != ':') {
        return -1;
    }
    parts.tm_hour = number_at(text, clock_at, 2);
    parts.tm_min = number_at(text, clock_at + 3, 2);
    parts.tm_sec = number_at(text, clock_at + 6, 2);
    if (parts.tm_mon < 0 || parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_year < 1970 ||
        parts.tm_hour < 0 || parts.tm_hour > 23 || parts.tm_min < 0 || parts.tm_min > 59 ||
        parts.tm_sec < 0 || parts.tm_sec > 60) {
        return -1;
    }
    const int day = parts.tm_mday;
    const int month = parts.tm_mon;
    parts.tm_year -= 1900;
    const std::int64_t seconds = timegm(&parts);
    // timegm normalises 31 February to March; such a date is not one.
    return parts.tm_mday == day && parts.tm_mon == month ? seconds : -1;
}

}  // namespace moongate
