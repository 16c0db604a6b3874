// Errors as values. Every fallible function returns Result<T>; Error is small, owns no heap memory
// and carries what the two places that decide need: the mapping to an HTTP status
// (http/status_of_error) and the retry rule of the upstream code. Any thread.
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>
#include <utility>

namespace moongate {

enum class ErrorKind : std::uint8_t {
    Closed,       // the peer ended the connection in order
    Reset,        // the peer or the network broke the connection
    TimedOut,     // a deadline from the configuration passed
    Refused,      // a connection could not be made
    Protocol,     // bytes that break the protocol's grammar or framing
    TooLarge,     // a configured limit was exceeded
    Unsupported,  // well-formed, but not something this engine does
    NotFound,     // a name, file or address that does not exist
    Denied,       // the system or a rule refused
    Exhausted,    // memory, descriptors, ports or connections ran out
    Cancelled,    // the owner no longer wants the result
    Invalid,      // a value from the configuration or from Lua that makes no sense
    Io,           // any other failure of a system call
};

enum class ErrorSide : std::uint8_t { Internal, Client, Upstream, Configuration };

// `detail` and everything it points to must have static lifetime.
struct Error {
    ErrorKind kind = ErrorKind::Io;
    ErrorSide side = ErrorSide::Internal;
    bool retry_safe = false;  // nothing of the request reached the peer: another peer may be asked
    int code = 0;             // errno, or an HTTP status where the side is Client; 0: none
    std::string_view detail;
};

template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
public:
    using std::expected<T, Error>::expected;
    Result(Error error) : std::expected<T, Error>(std::unexpect, error) {}
};

using Status = Result<void>;

// The Error of a failed system call; `call` is a literal such as "connect()".
Error errno_error(int errno_value, std::string_view call, ErrorSide side = ErrorSide::Internal);

}  // namespace moongate
