#include "http/chunked.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/strings.h"
#include "http/byte_scan.h"
#include "http/h1_writer.h"

namespace moongate::http {
namespace {

constexpr std::uint8_t kMaxDigits = 16;
// Sums with a size must not overflow: 2^63 - 1 is nginx's bound as well.
constexpr std::uint64_t kMaxSize = 0x7fffffffffffffffU;
constexpr std::size_t kFreeExtensionBytes = 16;

// Framing, routing, authentication and content fields that must not arrive behind the body.
constexpr HeaderIdSet kForbiddenTrailers{HeaderId::TransferEncoding,
                                         HeaderId::ContentLength,
                                         HeaderId::Host,
                                         HeaderId::Connection,
                                         HeaderId::Trailer,
                                         HeaderId::Te,
                                         HeaderId::Upgrade,
                                         HeaderId::KeepAlive,
                                         HeaderId::ProxyConnection,
                                         HeaderId::ContentEncoding,
                                         HeaderId::ContentType,
                                         HeaderId::ContentRange,
                                         HeaderId::Authorization,
                                         HeaderId::ProxyAuthorization,
                                         HeaderId::ProxyAuthenticate,
                                         HeaderId::WwwAuthenticate,
                                         HeaderId::SetCookie,
                                         HeaderId::Cookie,
                                         HeaderId::CacheControl,
                                         HeaderId::Expires,
                                         HeaderId::Pragma,
                                         HeaderId::Vary,
                                         HeaderId::Age,
                                         HeaderId::Date,
                                         HeaderId::Location,
                                         HeaderId::RetryAfter,
                                         HeaderId::Expect,
                                         HeaderId::Range,
                                         HeaderId::IfMatch,
                                         HeaderId::IfNoneMatch,
                                         HeaderId::IfModifiedSince,
                                         HeaderId::IfUnmodifiedSince,
                                         HeaderId::IfRange};

}  // namespace

ChunkedDecoder::Step ChunkedDecoder::fail(std::size_t consumed) {
    state_ = State::Failed;
    return {Event::Error, consumed, {}};
}

ChunkedDecoder::Step ChunkedDecoder::next(std::string_view input) {
    std::size_t at = 0;
    for (;;) {
        switch (state_) {
            case State::Done:
                return {Event::Done, at, {}};
            case State::Failed:
                return {Event::Error, at, {}};
            default:
                break;
        }
        if (at == input.size()) {
            return {Event::NeedMore, at, {}};
        }
        switch (state_) {
            case State::Data: {
                const auto take =
                    static_cast<std::size_t>(std::min<std::uint64_t>(size_, input.size() - at));
                size_ -= take;
                if (size_ == 0) {
                    state_ = State::DataCr;
                }
                return {Event::Data, at + take, input.substr(at, take)};
            }
            case State::DataCr:
                if (input[at] != '\r') {
                    return fail(at);
                }
                state_ = State::DataLf;
                ++at;
                break;
            case State::DataLf:
                if (input[at] != '\n') {
                    return fail(at);
                }
                state_ = State::SizeStart;
                ++at;
                break;
            case State::Trailer:
                at = read_trailer(input, at);
                break;
            default:
                at = read_size_line(input, at);
                break;
        }
    }
}

std::size_t ChunkedDecoder::read_size_line(std::string_view input, std::size_t at) {
    for (; at < input.size(); ++at) {
        const char c = input[at];
        if (++line_bytes_ > limits_.max_line) {
            state_ = State::Failed;
            return at;
        }
        switch (state_) {
            case State::SizeStart:
            case State::Size: {
                const int digit = hex_value(c);
                if (digit >= 0) {
                    if (++digits_ > kMaxDigits || size_ > (kMaxSize >> 4)) {
                        state_ = State::Failed;
                        return at;
                    }
                    size_ = size_ * 16 + static_cast<std::uint64_t>(digit);
                    state_ = State::Size;
                } else if (digits_ == 0) {
                    state_ = State::Failed;
                    return at;
                } else if (c == '\r') {
                    state_ = State::SizeLf;
                } else if (c == ';') {
                    state_ = State::Extension;
                } else if (c == ' ' || c == '\t') {
                    state_ = State::BeforeExtension;
                } else {
                    state_ = State::Failed;
                    return at;
                }
                break;
            }
            case State::BeforeExtension:  // padding behind the size, which old servers send
                if (c == '\r') {
                    state_ = State::SizeLf;
                } else if (c == ';') {
                    state_ = State::Extension;
                } else if (c != ' ' && c != '\t') {
                    state_ = State::Failed;
                    return at;
                }
                break;
            case State::Extension:
                if (c == '\r') {
                    state_ = State::SizeLf;
                } else if (scan::is(c, scan::kControl)) {
                    state_ = State::Failed;
                    return at;
                }
                break;
            default:  // SizeLf
                if (c != '\n') {
                    state_ = State::Failed;
                    return at;
                }
                end_size_line();
                return at + 1;
        }
    }
    return at;
}

void ChunkedDecoder::end_size_line() {
    // Extensions that outweigh the data are an attack on the decoder (CVE-2023-39326); honest ones,
    // such as a signature a chunk, are paid for by the data they sign.
    const std::size_t extension = line_bytes_ - digits_ - 2;
    const std::uint64_t credit = kFreeExtensionBytes + size_;
    const std::size_t excess = extension_excess_ + extension;
    extension_excess_ = excess > credit ? excess - static_cast<std::size_t>(credit) : 0;
    const bool last = size_ == 0;
    line_bytes_ = 0;
    digits_ = 0;
    if (extension_excess_ > limits_.max_extension_excess) {
        state_ = State::Failed;
    } else {
        state_ = last ? State::Trailer : State::Data;
    }
}

std::size_t ChunkedDecoder::read_trailer(std::string_view input, std::size_t at) {
    // Without trailers, which is nearly always, nothing is stored.
    const std::size_t start = at;
    bool ended = false;
    for (; at < input.size() && !ended; ++at) {
        const char c = input[at];
        if (trailer_cr_ != (c == '\n')) {  // a CR without LF, or an LF without CR
            state_ = State::Failed;
            return at;
        }
        if (c == '\n') {
            ended = trailer_line_empty_;
            trailer_line_empty_ = true;
            trailer_cr_ = false;
        } else if (c == '\r') {
            trailer_cr_ = true;
        } else {
            trailer_line_empty_ = false;
        }
    }
    const std::size_t bytes = at - start;
    if (trailer_size_ + bytes > limits_.max_trailer) {
        state_ = State::Failed;
        return at;
    }
    if (ended && trailer_size_ + bytes == 2) {
        state_ = State::Done;
        return at;
    }
    if (trailer_size_ + bytes > trailer_capacity_) {
        const std::size_t capacity = std::min(
            limits_.max_trailer, std::max<std::size_t>(256, std::bit_ceil(trailer_size_ + bytes)));
        char* grown = arena_->allocate_chars(capacity);
        if (trailer_size_ != 0) {
            std::memcpy(grown, trailer_, trailer_size_);
        }
        trailer_ = grown;
        trailer_capacity_ = capacity;
    }
    std::memcpy(trailer_ + trailer_size_, input.data() + start, bytes);
    trailer_size_ += bytes;
    if (ended) {
        end_trailer();
    }
    return at;
}

void ChunkedDecoder::end_trailer() {
    ParseLimits limits;
    limits.max_header_line = limits_.max_trailer;
    limits.max_headers = limits_.max_trailer_fields;
    trailers_.bind(*arena_);
    state_ =
        parse_trailers({trailer_, trailer_size_}, limits, trailers_) ? State::Done : State::Failed;
}

std::uint64_t ChunkedDecoder::least_remaining() const {
    constexpr std::uint64_t kLast = 5;  // 0 CRLF CRLF
    switch (state_) {
        case State::SizeStart:
            return kLast;
        case State::Size:
        case State::BeforeExtension:
        case State::Extension:
            return size_ == 0 ? 4 : 2 + size_ + 2 + kLast;
        case State::SizeLf:
            return size_ == 0 ? 3 : 1 + size_ + 2 + kLast;
        case State::Data:
            return size_ + 2 + kLast;
        case State::DataCr:
            return 2 + kLast;
        case State::DataLf:
            return 1 + kLast;
        case State::Trailer:
            return trailer_cr_ ? (trailer_line_empty_ ? 1 : 3) : (trailer_line_empty_ ? 2 : 4);
        default:
            return 0;
    }
}

std::size_t write_chunk_header(std::uint64_t size, char* to) {
    const auto digits = static_cast<std::size_t>((std::bit_width(size | 1) + 3) / 4);
    for (std::size_t i = digits; i-- > 0; size >>= 4) {
        to[i] = "0123456789abcdef"[size & 15];
    }
    to[digits] = '\r';
    to[digits + 1] = '\n';
    return digits + 2;
}

bool allowed_in_trailer(const Header& header) {
    return !kForbiddenTrailers.contains(header.id) && valid_header_name(header.name) &&
           valid_header_value(header.value);
}

std::size_t last_chunk_size(const HeaderList& trailers) {
    std::size_t bytes = kLastChunk.size();
    for (const Header& header : trailers) {
        if (allowed_in_trailer(header)) {
            bytes += header_size(header.name, header.value);
        }
    }
    return bytes;
}

std::size_t write_last_chunk(const HeaderList& trailers, char* to) {
    ByteWriter writer(to);
    writer.append("0\r\n");
    for (const Header& header : trailers) {
        if (allowed_in_trailer(header)) {
            writer.append_header(header.name, header.value);
        }
    }
    writer.append("\r\n");
    return static_cast<std::size_t>(writer.position() - to);
}

}  // namespace moongate::http
