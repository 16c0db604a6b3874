// The time as the event loop sees it: refreshed once a turn, so that asking costs a load, as
// nginx's cached time. Per thread. Formatted forms are rebuilt at most once a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace moongate {

using Milliseconds = std::chrono::milliseconds;

class Clock {
public:
    // The calling thread's clock.
    static Clock& current();

    // Reads the system's clocks. Called by the reactor after each wait, and by ngx.update_time().
    void update();

    // Since an arbitrary start, never backwards.
    std::uint64_t monotonic_ms() const { return monotonic_ms_; }
    // Since the epoch.
    std::uint64_t unix_ms() const { return unix_ms_; }
    std::int64_t unix_seconds() const { return static_cast<std::int64_t>(unix_ms_ / 1000); }

    // Valid until the thread's next update() in a later second.
    std::string_view http_date();    // Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110 §5.6.7)
    std::string_view log_date();     // 1994/11/06 08:49:37, local: the error log's form
    std::string_view common_date();  // 06/Nov/1994:08:49:37 +0000, local: $time_local
    std::string_view iso8601();      // 1994-11-06T08:49:37+00:00, local: $time_iso8601

private:
    void format();

    std::uint64_t monotonic_ms_ = 0;
    std::uint64_t unix_ms_ = 0;
    std::int64_t formatted_second_ = -1;
    char http_date_[32] = {};
    char log_date_[32] = {};
    char common_date_[40] = {};
    char iso8601_[40] = {};
};

// RFC 9110 §5.6.7, IMF-fixdate. `to` must have room for 30 bytes; writes 29 and a NUL.
void format_http_date(std::int64_t unix_seconds, char* to);
// All three forms of RFC 9110 §5.6.7; -1 where `text` is none of them.
std::int64_t parse_http_date(std::string_view text);

}  // namespace moongate
