// Serialises HTTP/1 heads into memory the caller provides. Each write_ has a _size that tells the
// exact number of bytes beforehand, so that a session can reserve once and copy without checks. The
// writers do not judge what they write: names and values that come from configuration, Lua or peers
// pass valid_header_name and valid_header_value before they enter a HeaderList. Source: RFC 9112
// §2.1. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "http/head.h"

namespace moongate::http {

// Each writes at `to` and returns where it ended.
char* write_number(char* to, std::uint64_t value);
// CR, LF and NUL become spaces (RFC 9110 §5.5): a decoded piece of a URI that the configuration
// puts into a header must not begin another one.
char* write_value(char* to, std::string_view value);
char* write_status_line(char* to, int status, std::string_view status_text = {});

// Appends to memory known to be large enough.
class ByteWriter {
public:
    explicit ByteWriter(char* to) : at_(to) {}

    void append(std::string_view text) {
        if (!text.empty()) {
            std::memcpy(at_, text.data(), text.size());
            at_ += text.size();
        }
    }
    void append(char c) { *at_++ = c; }
    void append_number(std::uint64_t value) { at_ = write_number(at_, value); }
    void append_header(std::string_view name, std::string_view value) {
        append(name);
        append(": ");
        append_value(value);
        append("\r\n");
    }
    void append_value(std::string_view value) { at_ = write_value(at_, value); }
    void append_status_line(int status, std::string_view status_text = {}) {
        at_ = write_status_line(at_, status, status_text);
    }
    char* position() const { return at_; }

private:
    char* at_;
};

inline constexpr std::size_t kMaxDecimalDigits = 20;

constexpr std::size_t header_size(std::string_view name, std::string_view value) {
    return name.size() + value.size() + 4;
}

// "HTTP/1.1 200 OK\r\n" with nginx's reason phrases. Static text for the statuses nginx knows, else
// empty.
std::string_view status_line(int status);

// The status line, with nginx's "HTTP/1.1 299 \r\n" for other statuses. `status_text`, when not
// empty, is used instead ("404 Gone fishing": an upstream's own, or one set by Lua).
std::size_t status_line_size(int status, std::string_view status_text = {});

// Field lines without the final empty line.
std::size_t headers_size(const HeaderList& headers);
inline void write_headers(ByteWriter& writer, const HeaderList& headers) {
    for (const Header& header : headers) {
        writer.append_header(header.name, header.value);
    }
}

// Status line, headers and the empty line. Returns the bytes written.
std::size_t response_head_size(const ResponseHead& response);
std::size_t write_response_head(const ResponseHead& response, char* to);

// "METHOD target HTTP/1.1", headers and the empty line.
std::size_t request_head_size(std::string_view method, std::string_view target,
                              const HeaderList& headers);
std::size_t write_request_head(std::string_view method, std::string_view target, int minor,
                               const HeaderList& headers, char* to);

// A token of RFC 9110 §5.6.2, not empty.
bool valid_header_name(std::string_view name);
// No CR, LF or NUL: what would end the line or the text.
bool valid_header_value(std::string_view value);
// Fit for a request line: not empty, no control character, no space.
bool valid_request_target(std::string_view target);

}  // namespace moongate::http
