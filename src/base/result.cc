#include "base/result.h"

#include <cerrno>

namespace moongate {

Error errno_error(int errno_value, std::string_view call, ErrorSide side) {
    Error error{.side = side, .code = errno_value, .detail = call};
    switch (errno_value) {
        case ECONNRESET:
        case EPIPE:
        case ENOTCONN:
            error.kind = ErrorKind::Reset;
            break;
        case ETIMEDOUT:
            error.kind = ErrorKind::TimedOut;
            break;
        case ECONNREFUSED:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EADDRNOTAVAIL:
            error.kind = ErrorKind::Refused;
            error.retry_safe = true;
            break;
        case ENOENT:
        case ENOTDIR:
        case ENAMETOOLONG:
            error.kind = ErrorKind::NotFound;
            break;
        case EACCES:
        case EPERM:
            error.kind = ErrorKind::Denied;
            break;
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
            error.kind = ErrorKind::Exhausted;
            break;
        case ECANCELED:
            error.kind = ErrorKind::Cancelled;
            break;
        default:
            error.kind = ErrorKind::Io;
    }
    return error;
}

}  // namespace moongate
