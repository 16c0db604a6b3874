// The value of `expires`: parsed with the configuration, or for each request where it has
// variables. Source: nginx's documentation of ngx_http_headers_module.
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>

namespace moongate::modules {

struct Expires {
    enum class Kind : std::uint8_t { Off, Epoch, Max, Access, Modified, Daily };
    Kind kind = Kind::Off;
    std::int64_t seconds =
        0;  // after the access or the modification, or of the day; may be negative
};

// `modified`: the value follows that word. The error is nginx's message.
std::expected<Expires, std::string_view> parse_expires(std::string_view text, bool modified);

// The next time the local clock shows `seconds` since midnight; `now` in seconds since the epoch.
std::int64_t next_time_of_day(std::int64_t seconds, std::int64_t now);

}  // namespace moongate::modules
