// What a rejected configuration says. Messages are dynamic and take nginx's wording, so they travel
// in their own small type and not in moongate::Error. Any thread.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace moongate::conf {

// `message` has no position while it travels up from an apply function; the compiler appends ` in
// FILE:LINE` of the current statement, once. An error without a place in a file sets `positioned`
// itself, through unplaced().
struct ConfError {
    std::string message;
    bool positioned = false;

    ConfError() = default;
    ConfError(std::string text) : message(std::move(text)) {}
    ConfError(const char* text) : message(text) {}
    static ConfError unplaced(std::string text) {
        ConfError error(std::move(text));
        error.positioned = true;
        return error;
    }
};

template <class T>
using Expected = std::expected<T, ConfError>;
// What directive functions return: nothing, or why the statement is refused.
using Applied = Expected<void>;

// `return reject("invalid value \"x\"");` from any function that returns Expected or Applied.
inline std::unexpected<ConfError> reject(std::string message) {
    return std::unexpected(ConfError(std::move(message)));
}
// nginx's form for a whole directive: `"NAME" directive WHAT`.
std::unexpected<ConfError> reject_directive(std::string_view name, std::string_view what);
// nginx's `invalid value "X"`.
std::unexpected<ConfError> reject_value(std::string_view value);

}  // namespace moongate::conf
