#include "http/framing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/strings.h"
#include "http/byte_scan.h"

namespace moongate::http {
namespace {

constexpr std::uint64_t kMaxLength = 0x7fffffffffffffffU;

// Calls `use` for each non-empty element of a comma-separated list.
template <class Use>
void for_each_token(std::string_view list, Use use) {
    while (!list.empty()) {
        const std::size_t comma = list.find(',');
        const std::string_view element = trim(list.substr(0, comma));
        if (!element.empty()) {
            use(element);
        }
        list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    }
}

struct ConnectionOptions {
    bool close = false;
    bool keep_alive = false;
    bool upgrade = false;
};

ConnectionOptions connection_options(const HeaderList& headers) {
    ConnectionOptions options;
    for (const Header* h = headers.find(HeaderId::Connection); h != nullptr; h = headers.next(h)) {
        // What nearly all send, before the list is taken apart.
        if (h->value == "keep-alive") {
            options.keep_alive = true;
            continue;
        }
        if (h->value == "close") {
            options.close = true;
            continue;
        }
        for_each_token(h->value, [&](std::string_view token) {
            options.close = options.close || equals_ignore_case(token, "close");
            options.keep_alive = options.keep_alive || equals_ignore_case(token, "keep-alive");
            options.upgrade = options.upgrade || equals_ignore_case(token, "upgrade");
        });
    }
    return options;
}

bool persistent(int minor, const ConnectionOptions& options) {
    return !options.close && (minor >= 1 || options.keep_alive);
}

// The single field of that name; repeated ones are an error whoever built the list.
HeadError single(const HeaderList& headers, HeaderId id, const Header*& header) {
    header = headers.find(id);
    return header != nullptr && headers.next(header) != nullptr ? HeadError::DuplicateHeader
                                                                : HeadError::None;
}

// RFC 9112 §6.1: a coding this engine does not have is 501; what is not a list of codings ending in
// one "chunked" cannot be framed and is 400.
HeadError transfer_encoding_error(std::string_view value) {
    if (equals_ignore_case(value, "chunked")) {
        return HeadError::None;
    }
    bool malformed = value.empty();
    int chunked = 0;
    for_each_token(value, [&](std::string_view coding) {
        const std::string_view name = trim(coding.substr(0, coding.find(';')));
        for (char c : name) {
            malformed = malformed || !scan::is(c, scan::kToken);
        }
        // Anything behind "chunked", a second one too, leaves the end of the message open.
        malformed = malformed || name.empty() || chunked != 0;
        chunked += equals_ignore_case(name, "chunked") ? 1 : 0;
    });
    return malformed ? HeadError::InvalidTransferEncoding : HeadError::UnknownTransferEncoding;
}

struct Lengths {
    HeadError error = HeadError::None;
    bool chunked = false;
    bool has_length = false;
    std::uint64_t length = 0;
};

Lengths message_lengths(const HeaderList& headers, int minor) {
    Lengths lengths;
    const auto failed = [&](HeadError error) {
        lengths.error = error;
        return lengths;
    };
    const Header* length = nullptr;
    const Header* encoding = nullptr;
    if (single(headers, HeaderId::ContentLength, length) != HeadError::None ||
        single(headers, HeaderId::TransferEncoding, encoding) != HeadError::None) {
        return failed(HeadError::DuplicateHeader);
    }
    if (length != nullptr) {
        const auto value = parse_content_length(length->value);
        if (!value) {
            return failed(HeadError::InvalidContentLength);
        }
        lengths.has_length = true;
        lengths.length = *value;
    }
    if (encoding != nullptr) {
        if (minor == 0) {
            return failed(HeadError::EncodingInHttp10);
        }
        if (length != nullptr) {
            return failed(HeadError::LengthAndEncoding);
        }
        lengths.error = transfer_encoding_error(encoding->value);
        lengths.chunked = lengths.error == HeadError::None;
    }
    return lengths;
}

HeadError set_host(const RequestHead& request, Arena& arena, RequestFraming& framing) {
    const Header* header = request.headers.find(HeaderId::Host);
    if (header == nullptr && request.minor >= 1) {
        return HeadError::MissingHost;
    }
    // The header is validated even where the target's authority overrides it (RFC 9112 §3.2.2).
    if (header != nullptr) {
        if (request.headers.next(header) != nullptr) {
            return HeadError::DuplicateHost;
        }
        const auto host = validate_host(header->value, arena);
        if (!host) {
            return HeadError::InvalidHost;
        }
        framing.host = host->host;
        framing.port = host->port;
    }
    if (!request.authority.empty()) {
        const auto host = validate_host(request.authority, arena);
        if (!host) {
            return HeadError::InvalidHostInRequestLine;
        }
        framing.host = host->host;
        framing.port = host->port;
    }
    return HeadError::None;
}

// Bits of kHostClass.
enum : std::uint8_t { kHost = 1, kLiteral = 2, kUpper = 4 };

constexpr auto kHostClass = [] {
    std::array<std::uint8_t, 256> classes{};
    const auto mark = [&](std::string_view chars, int bits) {
        for (char c : chars) {
            classes[static_cast<unsigned char>(c)] |= static_cast<std::uint8_t>(bits);
        }
    };
    for (unsigned c = 0; c < 128; ++c) {
        if (is_alpha(static_cast<char>(c)) || is_digit(static_cast<char>(c))) {
            classes[c] = kHost | kLiteral;
        }
    }
    mark("ABCDEFGHIJKLMNOPQRSTUVWXYZ", kUpper);
    mark("-._~!$&'()*+,;=", kHost | kLiteral);
    mark("%", kHost);
    mark(":", kLiteral);
    return classes;
}();

// The end of what most host names are made of: lower-case letters, digits, '-' and single dots. 0
// where there is more to look at.
std::size_t plain_host_end(std::string_view text) {
#if defined(__SSE2__)
    unsigned before = 0;  // 1: the last block ended in a dot
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t bytes = std::min<std::size_t>(text.size() - at, 16);
        const __m128i block = scan::load_some(text.data() + at, bytes);
        const __m128i alpha = scan::at_most(_mm_sub_epi8(block, _mm_set1_epi8('a')), 25);
        const __m128i digit = scan::at_most(_mm_sub_epi8(block, _mm_set1_epi8('0')), 9);
        const __m128i dot = scan::equal(block, '.');
        const unsigned plain = scan::mask(
            _mm_or_si128(_mm_or_si128(alpha, digit), _mm_or_si128(dot, scan::equal(block, '-'))));
        const auto size = static_cast<unsigned>(std::countr_one(plain));
        const unsigned dots = scan::mask(dot) & ((1U << size) - 1);
        if ((dots & (dots << 1 | before)) != 0) {
            return 0;
        }
        at += size;
        if (size < 16) {
            const unsigned ends_in_dot = size > 0 ? dots >> (size - 1) : before;
            return ends_in_dot != 0 ? 0 : at;
        }
        before = dots >> 15;
    }
    return before != 0 ? 0 : text.size();
#else
    return 0;
#endif
}

}  // namespace

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
    std::uint64_t value = 0;
    if (text.empty()) {
        return std::nullopt;
    }
    for (char c : text) {
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (!is_digit(c) || value > (kMaxLength - digit) / 10) {
            return std::nullopt;
        }
        value = value * 10 + digit;
    }
    return value;
}

bool has_token(std::string_view list, std::string_view token) {
    bool found = false;
    for_each_token(list, [&](std::string_view element) {
        found = found || equals_ignore_case(element, token);
    });
    return found;
}

namespace {

// ":" and a port number at the end of a host; nothing where it is anything else.
std::optional<std::uint16_t> port_behind_host(std::string_view text) {
    if (text.front() != ':') {
        return std::nullopt;
    }
    unsigned port = 0;
    for (char c : text.substr(1)) {
        port = port * 10 + static_cast<unsigned>(c - '0');
        if (!is_digit(c) || port > 65535) {
            return std::nullopt;
        }
    }
    return static_cast<std::uint16_t>(port);
}

}  // namespace

std::optional<HostPort> validate_host(std::string_view text, Arena& arena) {
    HostPort result;
    if (const std::size_t end = plain_host_end(text); end > 0) [[likely]] {
        if (end == text.size()) {
            result.host = text;
            return result;
        }
        if (text[end] == ':') {
            const auto port = port_behind_host(text.substr(end));
            if (!port) {
                return std::nullopt;
            }
            result.host = text.substr(0, end);
            result.port = *port;
            return result;
        }
    }
    const bool literal = text.starts_with('[');
    const std::uint8_t wanted = literal ? kLiteral : kHost;
    std::uint8_t seen = 0;
    bool dot = false;  // the character before was one
    std::size_t at = literal ? 1 : 0;
    for (; at < text.size(); ++at) {
        const std::uint8_t bits = kHostClass[static_cast<unsigned char>(text[at])];
        if ((bits & wanted) == 0) {
            break;
        }
        if (text[at] == '.' && dot) {
            return std::nullopt;
        }
        dot = text[at] == '.';
        seen |= bits;
    }
    if (literal) {
        if (at >= text.size() || text[at] != ']') {
            return std::nullopt;
        }
        ++at;
        dot = false;
    }
    if (at < text.size()) {
        const auto port = port_behind_host(text.substr(at));
        if (!port) {
            return std::nullopt;
        }
        result.port = *port;
    }
    result.host = text.substr(0, dot ? at - 1 : at);
    if (result.host.empty() || result.host == "[]") {
        return std::nullopt;
    }
    if ((seen & kUpper) != 0) {
        char* lower = arena.allocate_chars(result.host.size());
        std::memcpy(lower, result.host.data(), result.host.size());
        lower_in_place(lower, result.host.size());
        result.host = {lower, result.host.size()};
    }
    return result;
}

RequestFraming request_framing(const RequestHead& request, Arena& arena) {
    RequestFraming framing;
    const auto failed = [&](HeadError error) {
        framing.error = error;
        framing.keep_alive = false;
        return framing;
    };
    if (const HeadError error = set_host(request, arena, framing); error != HeadError::None) {
        return failed(error);
    }
    const Lengths lengths = message_lengths(request.headers, request.minor);
    if (lengths.error != HeadError::None) {
        return failed(lengths.error);
    }
    framing.has_content_length = lengths.has_length;
    framing.content_length = lengths.length;
    if (lengths.chunked) {
        framing.body = BodyKind::Chunked;
    } else if (lengths.length > 0) {
        framing.body = BodyKind::Length;
    }
    if (request.method == Method::Connect && framing.body != BodyKind::None) {
        return failed(HeadError::ConnectWithBody);
    }
    const ConnectionOptions options = connection_options(request.headers);
    framing.keep_alive = persistent(request.minor, options);
    if (request.minor == 0) {
        return framing;  // RFC 9110 §7.8 and §10.1.1: neither Upgrade nor Expect in HTTP/1.0
    }
    if (const Header* upgrade = request.headers.find(HeaderId::Upgrade);
        upgrade != nullptr && options.upgrade && !upgrade->value.empty()) {
        framing.upgrade = true;
        framing.upgrade_protocol = upgrade->value;
    }
    if (const Header* expect = request.headers.find(HeaderId::Expect); expect != nullptr) {
        if (!equals_ignore_case(expect->value, "100-continue")) {
            return failed(HeadError::UnknownExpectation);
        }
        framing.expect_continue = framing.body != BodyKind::None;
    }
    return framing;
}

ResponseFraming response_framing(const ResponseHead& response, Method request_method) {
    ResponseFraming framing;
    const Lengths lengths = message_lengths(response.headers, response.minor);
    if (lengths.error != HeadError::None) {
        framing.error = lengths.error;
        return framing;
    }
    const int status = response.status;
    framing.has_content_length = lengths.has_length;
    framing.content_length = lengths.length;
    framing.keep_alive = persistent(response.minor, connection_options(response.headers));
    if (status < 200 || status == 204) {
        // A peer that announces a body here may send one: the connection is not used again.
        if (lengths.chunked || lengths.length > 0) {
            framing.keep_alive = false;
        }
        framing.upgrade = status == 101;
        return framing;
    }
    const bool tunnel = request_method == Method::Connect && status < 300;
    if (request_method == Method::Head || status == 304 || tunnel) {
        return framing;
    }
    if (lengths.chunked) {
        framing.body = BodyKind::Chunked;
    } else if (lengths.has_length) {
        framing.body = lengths.length > 0 ? BodyKind::Length : BodyKind::None;
    } else {
        framing.body = BodyKind::UntilClose;
        framing.keep_alive = false;
    }
    return framing;
}

}  // namespace moongate::http
