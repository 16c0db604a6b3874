// Finding the end of a head in a stream: see h1_parser.h.
#include <algorithm>
#include <cstring>

#include "http/byte_scan.h"
#include "http/h1_parser.h"

namespace moongate::http {
namespace {

constexpr std::size_t kNpos = std::string_view::npos;
// Empty lines before a request line that RFC 9112 §2.2 asks to pass over: four, then it is an
// attack.
constexpr std::size_t kMaxLeading = 8;

std::size_t leading_line_ends(std::string_view bytes) {
    std::size_t n = 0;
    while (n < bytes.size() && (bytes[n] == '\r' || bytes[n] == '\n')) {
        ++n;
    }
    return n;
}

bool ends_head(const char* newline) {
    return newline[-1] == '\n' || (newline[-1] == '\r' && newline[-2] == '\n');
}

// The newline of an empty line that follows another, from `at` (≥ 2) on.
std::size_t find_empty_line(std::string_view bytes, std::size_t at) {
    const char* data = bytes.data();
    const std::size_t size = bytes.size();
#if defined(__SSE2__)
    using scan::equal;
    using scan::load16;
    const auto empty_lines = [data](std::size_t from) {
        const __m128i before = load16(data + from - 1);
        const __m128i empty =
            _mm_or_si128(equal(before, '\n'),
                         _mm_and_si128(equal(before, '\r'), equal(load16(data + from - 2), '\n')));
        return scan::mask(_mm_and_si128(equal(load16(data + from), '\n'), empty));
    };
    for (; size - at >= 16; at += 16) {
        const unsigned hits = empty_lines(at);
        if (hits != 0) {
            return at + static_cast<std::size_t>(std::countr_zero(hits));
        }
    }
    if (at < size && size >= 18) {
        const unsigned hits = empty_lines(size - 16) >> (16 - (size - at));
        return hits != 0 ? at + static_cast<std::size_t>(std::countr_zero(hits)) : kNpos;
    }
#endif
    for (; at < size; ++at) {
        if (data[at] == '\n' && ends_head(data + at)) {
            return at;
        }
    }
    return kNpos;
}

HeadScanResult scan_head(std::string_view bytes, const ParseLimits& limits, HeadScan& scan,
                         bool request) {
    // A head that came in one piece and under the limits, which the parser checks again: one pass.
    if (scan.scanned == 0 && bytes.size() <= limits.max_head) {
        const std::size_t leading = leading_line_ends(bytes);
        if (leading <= kMaxLeading && leading + 2 < bytes.size()) {
            const std::size_t newline = find_empty_line(bytes, leading + 2);
            if (newline != kNpos) {
                return {.end = newline + 1};
            }
        }
    }
    const HeadError line_error = HeadError::HeaderTooLong;
    const HeadError first_error = request ? HeadError::UriTooLong : HeadError::ResponseTooLarge;
    for (std::size_t at = scan.scanned; at < bytes.size();) {
        const auto* newline =
            static_cast<const char*>(std::memchr(bytes.data() + at, '\n', bytes.size() - at));
        const std::size_t line_end = newline == nullptr
                                         ? bytes.size()
                                         : static_cast<std::size_t>(newline - bytes.data()) + 1;
        const std::size_t length = line_end - scan.line_start;
        if (length > (scan.in_first_line ? limits.max_request_line : limits.max_header_line)) {
            return {.error = scan.in_first_line ? first_error : line_error};
        }
        if (newline != nullptr) {
            const bool empty = length == 1 || (length == 2 && bytes[scan.line_start] == '\r');
            if (!empty) {
                scan.in_first_line = false;
            } else if (!scan.in_first_line) {
                if (line_end > limits.max_head) {
                    return {.error = HeadError::HeadTooLarge};
                }
                return {.end = line_end};
            } else if (line_end > kMaxLeading) {
                return {.error = HeadError::InvalidRequest};
            }
            scan.line_start = line_end;
        }
        at = line_end;
    }
    scan.scanned = bytes.size();
    if (bytes.size() > limits.max_head) {
        return {.error = HeadError::HeadTooLarge};
    }
    // What cannot begin a request is refused without waiting for a line end that may never come: a
    // TLS hello on a plain port, or an endless row of spaces.
    if (request && scan.in_first_line && scan.line_start < bytes.size()) {
        const char first = bytes[scan.line_start];
        if (!scan::is(first, scan::kToken) && first != '\r') {
            return {.error = HeadError::InvalidMethod};
        }
    }
    return {};
}

}  // namespace

std::size_t find_head_end(std::string_view bytes, std::size_t from) {
    const std::size_t leading = leading_line_ends(bytes);
    if (leading > kMaxLeading) {
        return leading;  // nothing a parser takes
    }
    // The last two bytes searched before may be part of the end.
    const std::size_t at = std::max(leading + 2, from);
    if (at >= bytes.size()) {
        return kNpos;
    }
    const std::size_t newline = find_empty_line(bytes, at);
    return newline == kNpos ? kNpos : newline + 1;
}

HeadScanResult scan_request_head(std::string_view bytes, const ParseLimits& limits,
                                 HeadScan& scan) {
    return scan_head(bytes, limits, scan, true);
}

HeadScanResult scan_response_head(std::string_view bytes, const ParseLimits& limits,
                                  HeadScan& scan) {
    return scan_head(bytes, limits, scan, false);
}

}  // namespace moongate::http
