// Today's date, and the time in strftime's formats.
#include <ctime>

#include "base/clock.h"
#include "engine/request.h"
#include "modules/set_misc/functions.h"

namespace moongate::modules {

namespace {

constexpr std::size_t kLongestTime = 256;

using Convert = std::tm* (*)(const std::time_t*, std::tm*);

Result<std::string_view> format_time(engine::Request& request, std::string_view format,
                                     Convert convert) {
    if (format.empty()) {
        return set_result("");
    }
    const std::time_t now = Clock::current().unix_seconds();
    std::tm parts{};
    convert(&now, &parts);
    const std::string_view ended = request.arena().copy(format);
    char* to = request.arena().allocate_chars(kLongestTime);
    const std::size_t size = std::strftime(to, kLongestTime, ended.data(), &parts);
    if (size == 0) {
        request.log_error(LogLevel::Error, "the time in the format \"{}\" is too long or empty",
                          format);
        return set_failure();
    }
    return std::string_view(to, size);
}

}  // namespace

Result<std::string_view> set_local_today(engine::Request& request, SetValues, const void*) {
    return format_time(request, "%Y-%m-%d", &::localtime_r);
}
Result<std::string_view> set_formatted_gmt_time(engine::Request& request, SetValues values,
                                                const void*) {
    return format_time(request, values[0], &::gmtime_r);
}
Result<std::string_view> set_formatted_local_time(engine::Request& request, SetValues values,
                                                  const void*) {
    return format_time(request, values[0], &::localtime_r);
}

}  // namespace moongate::modules
