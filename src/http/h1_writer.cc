#include "http/h1_writer.h"

#include <array>
#include <charconv>

#include "http/byte_scan.h"
#include "http/status.h"

namespace moongate::http {
namespace {

constexpr std::string_view kVersion = "HTTP/1.1 ";
constexpr int kFirstStatus = 100;
constexpr int kStatuses = 500;  // 100 to 599

// The complete lines of the statuses with a phrase, put together once.
class StatusLines {
public:
    StatusLines() {
        char* at = text_;
        for (int i = 0; i < kStatuses; ++i) {
            const std::string_view phrase = reason_phrase(kFirstStatus + i);
            if (phrase.empty()) {
                continue;
            }
            ByteWriter writer(at);
            writer.append(kVersion);
            writer.append_number(static_cast<std::uint64_t>(kFirstStatus + i));
            writer.append(' ');
            writer.append(phrase);
            writer.append("\r\n");
            lines_[static_cast<std::size_t>(i)] = {
                at, static_cast<std::size_t>(writer.position() - at)};
            at = writer.position();
        }
    }
    std::string_view line(int status) const {
        const auto i = static_cast<std::size_t>(status - kFirstStatus);
        return i < lines_.size() ? lines_[i] : std::string_view{};
    }

private:
    std::array<std::string_view, kStatuses> lines_;
    char text_[4096];
};

}  // namespace

namespace {

// Whether there may be a control character; exact enough to skip the slow look.
bool may_hold_control(const char* text, std::size_t bytes) {
#if defined(__SSE2__)
    if (bytes >= 16) {
        unsigned hits = scan::mask(scan::controls(scan::load16(text + bytes - 16)));
        for (std::size_t at = 0; at + 16 < bytes; at += 16) {
            hits |= scan::mask(scan::controls(scan::load16(text + at)));
        }
        return hits != 0;
    }
#endif
    return scan::find_control(text, text + bytes, text) != text + bytes;
}

}  // namespace

char* write_value(char* to, std::string_view value) {
    if (value.empty()) {
        return to;
    }
    std::memcpy(to, value.data(), value.size());
    char* const end = to + value.size();
    if (!may_hold_control(to, value.size())) [[likely]] {
        return end;
    }
    for (const char* bad = scan::find_control(to, end, to); bad != end;
         bad = scan::find_control(bad + 1, end, to)) {
        if (*bad == '\r' || *bad == '\n' || *bad == '\0') {
            to[bad - to] = ' ';
        }
    }
    return end;
}

char* write_number(char* to, std::uint64_t value) {
    return std::to_chars(to, to + kMaxDecimalDigits, value).ptr;
}

std::string_view status_line(int status) {
    static const StatusLines lines;
    return lines.line(status);
}

std::size_t status_line_size(int status, std::string_view status_text) {
    if (!status_text.empty()) {
        return kVersion.size() + status_text.size() + 2;
    }
    const std::string_view line = status_line(status);
    return line.empty() ? kVersion.size() + 3 + 3 : line.size();
}

char* write_status_line(char* to, int status, std::string_view status_text) {
    ByteWriter writer(to);
    if (!status_text.empty()) {
        writer.append(kVersion);
        writer.append(status_text);
        writer.append("\r\n");
        return writer.position();
    }
    const std::string_view line = status_line(status);
    if (!line.empty()) {
        writer.append(line);
        return writer.position();
    }
    // nginx's "%03ui ".
    writer.append(kVersion);
    const auto number = static_cast<unsigned>(status < 0 || status > 999 ? 999 : status);
    writer.append(static_cast<char>('0' + number / 100));
    writer.append(static_cast<char>('0' + number / 10 % 10));
    writer.append(static_cast<char>('0' + number % 10));
    writer.append(" \r\n");
    return writer.position();
}

std::size_t headers_size(const HeaderList& headers) {
    std::size_t bytes = 0;
    for (const Header& header : headers) {
        bytes += header_size(header.name, header.value);
    }
    return bytes;
}

std::size_t response_head_size(const ResponseHead& response) {
    return status_line_size(response.status, response.status_text) +
           headers_size(response.headers) + 2;
}

std::size_t write_response_head(const ResponseHead& response, char* to) {
    ByteWriter writer(to);
    writer.append_status_line(response.status, response.status_text);
    write_headers(writer, response.headers);
    writer.append("\r\n");
    return static_cast<std::size_t>(writer.position() - to);
}

std::size_t request_head_size(std::string_view method, std::string_view target,
                              const HeaderList& headers) {
    return method.size() + target.size() + 12 + headers_size(headers) + 2;
}

std::size_t write_request_head(std::string_view method, std::string_view target, int minor,
                               const HeaderList& headers, char* to) {
    ByteWriter writer(to);
    writer.append(method);
    writer.append(' ');
    writer.append(target);
    writer.append(minor == 0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
    write_headers(writer, headers);
    writer.append("\r\n");
    return static_cast<std::size_t>(writer.position() - to);
}

bool valid_header_name(std::string_view name) {
    for (char c : name) {
        if (!scan::is(c, scan::kToken)) {
            return false;
        }
    }
    return !name.empty();
}

bool valid_header_value(std::string_view value) {
    if (!may_hold_control(value.data(), value.size())) [[likely]] {
        return true;
    }
    for (char c : value) {
        if (c == '\r' || c == '\n' || c == '\0') {
            return false;
        }
    }
    return true;
}

bool valid_request_target(std::string_view target) {
    return !target.empty() && scan::target_end(target.data(), target.data() + target.size(),
                                               target.data()) == target.data() + target.size();
}

}  // namespace moongate::http
