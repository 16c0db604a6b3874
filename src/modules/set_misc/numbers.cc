// Random numbers and texts, and numbers that go round.
#include <sys/random.h>

#include <random>

#include "base/strings.h"
#include "engine/request.h"
#include "modules/set_misc/functions.h"

namespace moongate::modules {

namespace {

constexpr std::int64_t kLongestRandom = 64;
constexpr std::string_view kAlphanum =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

struct Bounds {
    std::int64_t from = 0;
    std::int64_t to = 0;
};

// What a directive writes around a wrong value.
struct Complaint {
    std::string_view directive;
    std::string_view before;
    std::string_view after;
};

// Plain digits in either order; nothing (logged) where one is not.
std::optional<Bounds> read_bounds(engine::Request& request, const Complaint& complaint,
                                  std::string_view from, std::string_view to) {
    const auto low = parse_number<std::int64_t>(from);
    if (!low) {
        request.log_error(LogLevel::Error, "{}: bad \"from\" argument{}{}{}", complaint.directive,
                          complaint.before, from, complaint.after);
        return std::nullopt;
    }
    const auto high = parse_number<std::int64_t>(to);
    if (!high) {
        request.log_error(LogLevel::Error, "{}: bad \"to\" argument{}{}{}", complaint.directive,
                          complaint.before, to, complaint.after);
        return std::nullopt;
    }
    return Bounds{std::min(*low, *high), std::max(*low, *high)};
}

std::string_view text_of(engine::Request& request, std::int64_t number) {
    return request.arena().copy(fmt::format("{}", number));
}

Result<std::string_view> secure_random(engine::Request& request, std::string_view length,
                                       std::string_view alphabet) {
    const auto size = parse_number<std::int64_t>(length);
    if (!size || *size < 1 || *size > kLongestRandom) {
        request.log_error(LogLevel::Error, "set_random: bad \"length\" argument: {}", length);
        return set_failure();
    }
    // Bytes beyond the last whole round of the alphabet are drawn again: no letter is likelier.
    const auto fair = 256 / alphabet.size() * alphabet.size();
    const auto wanted = static_cast<std::size_t>(*size);
    char* to = request.arena().allocate_chars(wanted);
    std::size_t made = 0;
    while (made < wanted) {
        unsigned char bytes[kLongestRandom];
        if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
            request.log_error(LogLevel::Error, "set_secure_random: getrandom() failed {}",
                              errno_text(errno));
            return set_failure();
        }
        for (std::size_t i = 0; i < sizeof bytes && made < wanted; ++i) {
            if (bytes[i] < fair) {
                to[made++] = alphabet[bytes[i] % alphabet.size()];
            }
        }
    }
    return std::string_view(to, wanted);
}

}  // namespace

Result<std::string_view> set_random(engine::Request& request, SetValues values, const void*) {
    const auto bounds = read_bounds(request, {"set_random", ": ", ""}, values[0], values[1]);
    if (!bounds) {
        return set_failure();
    }
    thread_local std::minstd_rand seed{std::random_device{}()};
    thread_local std::mt19937_64 generator{seed()};
    std::uniform_int_distribution<std::int64_t> any(bounds->from, bounds->to);
    return text_of(request, any(generator));
}

Result<std::string_view> set_secure_random_alphanum(engine::Request& request, SetValues values,
                                                    const void*) {
    return secure_random(request, values[0], kAlphanum);
}
Result<std::string_view> set_secure_random_lcalpha(engine::Request& request, SetValues values,
                                                   const void*) {
    return secure_random(request, values[0], kAlphanum.substr(0, 26));
}

// values: the variable as it is, from, to. A variable without a value goes on with what this
// location had last.
Result<std::string_view> set_rotate(engine::Request& request, SetValues values, const void* data) {
    auto& counter = *static_cast<RotateCounter*>(const_cast<void*>(data));
    const auto bounds =
        read_bounds(request, {"set_rotate", " value: \"", "\""}, values[1], values[2]);
    if (!bounds) {
        return set_failure();
    }
    const auto next = [&](std::int64_t current) {
        const bool inside = current >= bounds->from && current < bounds->to;
        return inside ? current + 1 : bounds->from;
    };
    if (const auto current = parse_number<std::int64_t>(values[0])) {
        const std::int64_t number = next(*current);
        counter.current.store(number, std::memory_order_relaxed);
        return text_of(request, number);
    }
    if (!values[0].empty()) {
        request.log_error(LogLevel::Error, "set_rotate: bad current value: \"{}\"", values[0]);
    }
    std::int64_t last = counter.current.load(std::memory_order_relaxed);
    while (!counter.current.compare_exchange_weak(last, next(last), std::memory_order_relaxed)) {
    }
    return text_of(request, next(last));
}

}  // namespace moongate::modules
