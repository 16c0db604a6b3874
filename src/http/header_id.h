// Header names the engine knows, as small numbers. Everything that code asks for by meaning
// (framing, caching, proxying, variables) is in the list; any other name is HeaderId::Other and is
// found by its hash. header_id() is one multiplication, one table load and one comparison. Any
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace moongate::http {

// One row a name: enumerator, canonical spelling.
#define MOONGATE_HEADER_NAMES(X)                                         \
    X(Host, "Host")                                                      \
    X(Connection, "Connection")                                          \
    X(ContentLength, "Content-Length")                                   \
    X(ContentType, "Content-Type")                                       \
    X(TransferEncoding, "Transfer-Encoding")                             \
    X(Date, "Date")                                                      \
    X(Server, "Server")                                                  \
    X(Location, "Location")                                              \
    X(IfModifiedSince, "If-Modified-Since")                              \
    X(IfUnmodifiedSince, "If-Unmodified-Since")                          \
    X(IfMatch, "If-Match")                                               \
    X(IfNoneMatch, "If-None-Match")                                      \
    X(IfRange, "If-Range")                                               \
    X(Range, "Range")                                                    \
    X(ContentRange, "Content-Range")                                     \
    X(AcceptRanges, "Accept-Ranges")                                     \
    X(UserAgent, "User-Agent")                                           \
    X(Referer, "Referer")                                                \
    X(Te, "TE")                                                          \
    X(Trailer, "Trailer")                                                \
    X(Expect, "Expect")                                                  \
    X(Upgrade, "Upgrade")                                                \
    X(Accept, "Accept")                                                  \
    X(AcceptEncoding, "Accept-Encoding")                                 \
    X(AcceptLanguage, "Accept-Language")                                 \
    X(AcceptCharset, "Accept-Charset")                                   \
    X(Via, "Via")                                                        \
    X(Authorization, "Authorization")                                    \
    X(WwwAuthenticate, "WWW-Authenticate")                               \
    X(ProxyAuthenticate, "Proxy-Authenticate")                           \
    X(ProxyAuthorization, "Proxy-Authorization")                         \
    X(ProxyConnection, "Proxy-Connection")                               \
    X(Proxy, "Proxy")                                                    \
    X(KeepAlive, "Keep-Alive")                                           \
    X(XForwardedFor, "X-Forwarded-For")                                  \
    X(XForwardedProto, "X-Forwarded-Proto")                              \
    X(XForwardedHost, "X-Forwarded-Host")                                \
    X(XForwardedPort, "X-Forwarded-Port")                                \
    X(XForwardedPrefix, "X-Forwarded-Prefix")                            \
    X(Forwarded, "Forwarded")                                            \
    X(XRealIp, "X-Real-IP")                                              \
    X(XRequestId, "X-Request-ID")                                        \
    X(Traceparent, "traceparent")                                        \
    X(Tracestate, "tracestate")                                          \
    X(Cookie, "Cookie")                                                  \
    X(SetCookie, "Set-Cookie")                                           \
    X(ContentEncoding, "Content-Encoding")                               \
    X(ContentLanguage, "Content-Language")                               \
    X(ContentDisposition, "Content-Disposition")                         \
    X(ContentSecurityPolicy, "Content-Security-Policy")                  \
    X(Refresh, "Refresh")                                                \
    X(LastModified, "Last-Modified")                                     \
    X(Expires, "Expires")                                                \
    X(ETag, "ETag")                                                      \
    X(CacheControl, "Cache-Control")                                     \
    X(Pragma, "Pragma")                                                  \
    X(Vary, "Vary")                                                      \
    X(Age, "Age")                                                        \
    X(Allow, "Allow")                                                    \
    X(RetryAfter, "Retry-After")                                         \
    X(Link, "Link")                                                      \
    X(Status, "Status")                                                  \
    X(Origin, "Origin")                                                  \
    X(AccessControlAllowOrigin, "Access-Control-Allow-Origin")           \
    X(AccessControlAllowMethods, "Access-Control-Allow-Methods")         \
    X(AccessControlAllowHeaders, "Access-Control-Allow-Headers")         \
    X(AccessControlAllowCredentials, "Access-Control-Allow-Credentials") \
    X(AccessControlExposeHeaders, "Access-Control-Expose-Headers")       \
    X(AccessControlMaxAge, "Access-Control-Max-Age")                     \
    X(AccessControlRequestMethod, "Access-Control-Request-Method")       \
    X(AccessControlRequestHeaders, "Access-Control-Request-Headers")     \
    X(StrictTransportSecurity, "Strict-Transport-Security")              \
    X(UpgradeInsecureRequests, "Upgrade-Insecure-Requests")              \
    X(SecFetchSite, "Sec-Fetch-Site")                                    \
    X(SecFetchMode, "Sec-Fetch-Mode")                                    \
    X(SecFetchDest, "Sec-Fetch-Dest")                                    \
    X(SecFetchUser, "Sec-Fetch-User")                                    \
    X(SecWebSocketKey, "Sec-WebSocket-Key")                              \
    X(SecWebSocketAccept, "Sec-WebSocket-Accept")                        \
    X(SecWebSocketVersion, "Sec-WebSocket-Version")                      \
    X(SecWebSocketProtocol, "Sec-WebSocket-Protocol")                    \
    X(SecWebSocketExtensions, "Sec-WebSocket-Extensions")                \
    X(XAccelRedirect, "X-Accel-Redirect")                                \
    X(XAccelExpires, "X-Accel-Expires")                                  \
    X(XAccelBuffering, "X-Accel-Buffering")                              \
    X(XAccelLimitRate, "X-Accel-Limit-Rate")                             \
    X(XAccelCharset, "X-Accel-Charset")                                  \
    X(XPad, "X-Pad")                                                     \
    X(Http2Settings, "HTTP2-Settings")                                   \
    X(Priority, "Priority")                                              \
    X(AltSvc, "Alt-Svc")                                                 \
    X(EarlyData, "Early-Data")                                           \
    X(Depth, "Depth")                                                    \
    X(Destination, "Destination")                                        \
    X(Overwrite, "Overwrite")                                            \
    X(GrpcStatus, "grpc-status")                                         \
    X(GrpcMessage, "grpc-message")                                       \
    X(GrpcTimeout, "grpc-timeout")

enum class HeaderId : std::uint8_t {
    Other,
#define MOONGATE_ENUMERATOR(id, text) id,
    MOONGATE_HEADER_NAMES(MOONGATE_ENUMERATOR)
#undef MOONGATE_ENUMERATOR
        Count
};

inline constexpr std::size_t kHeaderIdCount = static_cast<std::size_t>(HeaderId::Count);
static_assert(kHeaderIdCount <= 128, "HeaderIdSet holds 128");

// A set of known names: two words, tested with a shift.
struct HeaderIdSet {
    std::uint64_t words[2] = {0, 0};

    constexpr HeaderIdSet() = default;
    template <class... Ids>
    explicit constexpr HeaderIdSet(Ids... ids) {
        (insert(ids), ...);
    }
    constexpr bool contains(HeaderId id) const {
        const auto n = static_cast<unsigned>(id);
        return (words[n >> 6] >> (n & 63) & 1) != 0;
    }
    constexpr void insert(HeaderId id) {
        const auto n = static_cast<unsigned>(id);
        words[n >> 6] |= std::uint64_t{1} << (n & 63);
    }
    constexpr void erase(HeaderId id) {
        const auto n = static_cast<unsigned>(id);
        words[n >> 6] &= ~(std::uint64_t{1} << (n & 63));
    }
};

// A case-insensitive hash of a header name. It looks at the length, the first and the last eight
// bytes only, so names that differ in the middle alone collide: always compare after it.
constexpr std::uint32_t header_hash(std::string_view name) {
    const auto load = [](const char* p, std::size_t bytes) {
        std::uint64_t word = 0;
        if consteval {
            for (std::size_t i = 0; i < bytes; ++i) {
                word |= std::uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
            }
        } else {
            if (bytes == 8) {
                std::memcpy(&word, p, 8);
            } else {
                std::uint32_t half = 0;
                std::memcpy(&half, p, 4);
                word = half;
            }
        }
        return word;
    };
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    const std::size_t n = name.size();
    if (n >= 8) {
        first = load(name.data(), 8);
        last = load(name.data() + n - 8, 8);
    } else if (n >= 4) {
        first = load(name.data(), 4);
        last = load(name.data() + n - 4, 4);
    } else if (n > 0) {
        first = static_cast<unsigned char>(name[0]);
        last = static_cast<unsigned char>(name[n / 2]) * std::uint64_t{256} +
               static_cast<unsigned char>(name[n - 1]);
    }
    constexpr std::uint64_t kLower = 0x2020202020202020U;
    const std::uint64_t mixed =
        ((first | kLower) * 0x9e3779b97f4a7c15U) ^ (((last | kLower) + n) * 0xc2b2ae3d27d4eb4fU);
    return static_cast<std::uint32_t>(mixed >> 32) ^ static_cast<std::uint32_t>(mixed >> 13);
}

namespace detail {

struct KnownName {
    char lower[32];
    std::uint8_t size;
};
// A known name of up to 15 bytes with its colon, for a comparison in one step; zeros for others.
struct alignas(32) ShortName {
    char lower[16];
    char letters[16];  // 0x20 where `lower` has a letter
};

inline constexpr std::uint32_t kHeaderTableBits = 9;
inline constexpr std::size_t kHeaderTableSize = std::size_t{1} << kHeaderTableBits;
// Found by trial: sends the names' hashes to different slots (header_id.cc asserts it).
inline constexpr std::uint32_t kHeaderTableFactor = 0xf9d06d95;

extern const std::array<KnownName, kHeaderIdCount> kKnownNames;
extern const std::array<ShortName, kHeaderIdCount> kShortNames;
extern const std::array<HeaderId, kHeaderTableSize> kHeaderTable;

inline bool same_known_name(const KnownName& known, std::string_view name) {
    // Or-ing 0x20 into the letters, which are the bytes with bit 0x40, makes the comparison exact
    // and case-insensitive at once.
    const auto differs = [&](std::size_t at, auto word) {
        auto lower = word;
        std::memcpy(&word, name.data() + at, sizeof(word));
        std::memcpy(&lower, known.lower + at, sizeof(word));
        const auto letters = (lower & static_cast<decltype(word)>(0x4040404040404040U)) >> 1;
        return static_cast<decltype(word)>((word | letters) ^ lower);
    };
    const std::size_t n = name.size();
    if (n != known.size) {
        return false;
    }
    if (n >= 8) {
        std::uint64_t difference = differs(n - 8, std::uint64_t{0});
        for (std::size_t at = 0; at + 8 < n; at += 8) {
            difference |= differs(at, std::uint64_t{0});
        }
        return difference == 0;
    }
    if (n >= 4) {
        return (differs(0, std::uint32_t{0}) | differs(n - 4, std::uint32_t{0})) == 0;
    }
    std::uint8_t difference = 0;
    for (std::size_t at = 0; at < n; ++at) {
        difference = static_cast<std::uint8_t>(difference | differs(at, std::uint8_t{0}));
    }
    return difference == 0;
}

}  // namespace detail

// The only known name that may have this hash.
inline HeaderId header_id_candidate(std::uint32_t hash) {
    return detail::kHeaderTable[static_cast<std::uint32_t>(hash * detail::kHeaderTableFactor) >>
                                (32 - detail::kHeaderTableBits)];
}
// Other where `name` is not in the list. Letter case does not matter. `hash` is header_hash(name).
inline HeaderId header_id(std::string_view name, std::uint32_t hash) {
    const HeaderId id = header_id_candidate(hash);
    return detail::same_known_name(detail::kKnownNames[static_cast<std::size_t>(id)], name)
               ? id
               : HeaderId::Other;
}
inline HeaderId header_id(std::string_view name) {
    return header_id(name, header_hash(name));
}

// The canonical spelling; empty for Other.
std::string_view header_name(HeaderId id);

// RFC 9110 §7.6.1: fields that concern one connection and are never forwarded as they are.
inline constexpr HeaderIdSet kHopByHopHeaders{
    HeaderId::Connection,       HeaderId::KeepAlive, HeaderId::ProxyConnection,
    HeaderId::TransferEncoding, HeaderId::Te,        HeaderId::Trailer,
    HeaderId::Upgrade};

}  // namespace moongate::http
