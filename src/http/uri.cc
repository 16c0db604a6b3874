#include "http/uri.h"

#include <cstring>

#include "base/strings.h"

namespace moongate::http {
namespace {

// What one byte of a path means to the fast path: nothing, or a reason to look closer.
enum : std::uint8_t { kPlain = 0, kSlash = 1, kDot = 2, kPlus = 4, kStop = 8 };

constexpr auto kPathClass = [] {
    struct {
        std::uint8_t of[256];
    } table{};
    table.of[static_cast<unsigned char>('/')] = kSlash;
    table.of[static_cast<unsigned char>('.')] = kDot;
    table.of[static_cast<unsigned char>('+')] = kPlus;
    for (char c : {'%', '#', '?'}) {
        table.of[static_cast<unsigned char>(c)] = kStop;
    }
    table.of[0] = kStop;
    return table;
}();

// Behind the last '.' of the last segment. Up to three dots that begin the segment do not count, as
// in nginx:
// "/.profile" and "/...a" have no extension.
std::string_view extension_of(std::string_view path) {
    const std::string_view segment = path.substr(path.rfind('/') + 1);
    std::size_t leading = 0;
    while (leading < segment.size() && leading < 3 && segment[leading] == '.') {
        ++leading;
    }
    const std::size_t dot = segment.rfind('.');
    return dot == std::string_view::npos || dot < leading ? std::string_view{}
                                                          : segment.substr(dot + 1);
}

// Builds the decoded path segment by segment. A segment's end decides whether it was "." or "..",
// so that encoded dots and slashes count as plain ones, as in nginx.
class PathBuilder {
public:
    PathBuilder(char* to, bool merge_slashes) : start_(to), at_(to), merge_(merge_slashes) {}

    void append(char c) { *at_++ = c; }

    // Ends the current segment; false where ".." leads above the root. Afterwards the path ends in
    // '/', that of the segment's own start where the segment was a dot one.
    bool end_segment() {
        char* segment = at_;
        while (segment[-1] != '/') {
            --segment;
        }
        const std::string_view text(segment, static_cast<std::size_t>(at_ - segment));
        dots_ = text == "." || text == "..";
        if (text == ".") {
            at_ = segment;
        } else if (text == "..") {
            at_ = segment - 1;
            if (at_ == start_) {
                return false;
            }
            do {
                --at_;
            } while (*at_ != '/');
            ++at_;
        }
        return true;
    }

    bool slash() {
        if (at_ == start_) {
            *at_++ = '/';
            return true;
        }
        if (!end_segment()) {
            return false;
        }
        // Behind "." and ".." the path already ends in '/'; a further one is kept only without
        // merging.
        if (at_[-1] != '/' || (!merge_ && !dots_)) {
            *at_++ = '/';
        }
        return true;
    }

    std::string_view path() const { return {start_, static_cast<std::size_t>(at_ - start_)}; }

private:
    char* start_;
    char* at_;
    bool merge_;
    bool dots_ = false;
};

void split_args(std::string_view rest, NormalizedUri& result) {
    // `rest` begins at '?' or '#', or is empty.
    if (rest.starts_with('?')) {
        rest.remove_prefix(1);
        result.args = rest.substr(0, rest.find('#'));
    }
}

// The value of the two digits at `at` (behind '%'), or -1.
int hex_byte(std::string_view text, std::size_t at) {
    if (text.size() < at + 2) {
        return -1;
    }
    const int high = hex_value(text[at]);
    const int low = hex_value(text[at + 1]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::optional<NormalizedUri> normalize_slowly(std::string_view uri, bool merge_slashes,
                                              Arena& arena) {
    NormalizedUri result;
    PathBuilder builder(arena.allocate_chars(uri.size() + 1), merge_slashes);
    std::size_t at = 0;
    for (; at < uri.size() && uri[at] != '?' && uri[at] != '#'; ++at) {
        char c = uri[at];
        if (c == '%') {
            const int byte = hex_byte(uri, at + 1);
            if (byte <= 0) {
                return std::nullopt;
            }
            c = static_cast<char>(byte);
            at += 2;
            result.quoted = true;
        }
        result.plus = result.plus || c == '+';
        if (c == '\0') {
            return std::nullopt;
        }
        if (c != '/') {
            builder.append(c);
        } else if (!builder.slash()) {
            return std::nullopt;
        }
    }
    if (!builder.end_segment()) {
        return std::nullopt;
    }
    result.path = builder.path();
    result.extension = extension_of(result.path);
    result.changed =
        result.path != uri.substr(0, at) || uri.find('#', at) != std::string_view::npos;
    split_args(uri.substr(at), result);
    return result;
}

constexpr char kHex[] = "0123456789ABCDEF";

// nginx's sets of characters to escape, a bit each.
struct EscapeSet {
    std::uint32_t bits[8];
    bool contains(char c) const {
        const auto byte = static_cast<unsigned char>(c);
        return (bits[byte >> 5] >> (byte & 31) & 1) != 0;
    }
};

consteval EscapeSet escape_set(std::string_view ascii, bool controls, bool high) {
    EscapeSet set{};
    const auto insert = [&](unsigned c) { set.bits[c >> 5] |= 1U << (c & 31); };
    for (unsigned c = 0; controls && c < 0x20; ++c) {
        insert(c);
    }
    for (unsigned c = 0x80; high && c < 0x100; ++c) {
        insert(c);
    }
    for (char c : ascii) {
        insert(static_cast<unsigned char>(c));
    }
    return set;
}

constexpr EscapeSet kEscapeSets[] = {
    escape_set(" \"#%<>?\\^`{|}\x7f", true, true),                  // Uri
    escape_set(" \"#%&+;<>?\\^`{|}\x7f", true, true),               // Args
    escape_set(" !\"#$%&'()*+,/:;<=>?@[\\]^`{|}\x7f", true, true),  // UriComponent
    escape_set(" \"#%'<>\\^`{|}\x7f", true, true),                  // Html
    escape_set(" \"'<>\\^`{|~\x7f", true, true),                    // Refresh
    escape_set(" %", true, false),                                  // Memcached
    escape_set(" %", true, false),                                  // MailAuth
    escape_set(" +=\x7f", true, true),                              // MailXtext
};

const EscapeSet& set_of(EscapeType type) {
    return kEscapeSets[static_cast<std::size_t>(type)];
}

bool has_dot_dot(std::string_view text) {
    for (std::size_t at = 0; at + 1 < text.size(); ++at) {
        if (text[at] == '.' && text[at + 1] == '.' && (at == 0 || text[at - 1] == '/') &&
            (at + 2 == text.size() || text[at + 2] == '/')) {
            return true;
        }
    }
    return false;
}

std::string_view html_entity(char c) {
    switch (c) {
        case '<':
            return "&lt;";
        case '>':
            return "&gt;";
        case '&':
            return "&amp;";
        case '"':
            return "&quot;";
        default:
            return {};
    }
}

}  // namespace

std::optional<NormalizedUri> normalize_uri(std::string_view uri, bool merge_slashes, Arena& arena) {
    if (!uri.starts_with('/')) {
        if (uri == "*") {
            return NormalizedUri{.path = uri};
        }
        return std::nullopt;
    }
    // As it is until the first byte that needs work: '%', '#', NUL, "//" or a segment that begins
    // with a dot.
    bool after_slash = true;
    std::uint8_t seen = 0;
    std::size_t at = 1;
    for (; at < uri.size(); ++at) {
        const std::uint8_t what = kPathClass.of[static_cast<unsigned char>(uri[at])];
        if (what == kPlain) [[likely]] {
            after_slash = false;
            continue;
        }
        if (what == kStop) {
            break;
        }
        if (after_slash && (what == kSlash || what == kDot)) {
            return normalize_slowly(uri, merge_slashes, arena);
        }
        after_slash = what == kSlash;
        seen |= what;
    }
    if (at < uri.size() && uri[at] != '?' && uri[at] != '#') {
        return normalize_slowly(uri, merge_slashes, arena);
    }
    NormalizedUri result;
    result.path = uri.substr(0, at);
    result.plus = (seen & kPlus) != 0;
    if ((seen & kDot) != 0) {
        result.extension = extension_of(result.path);
    }
    split_args(uri.substr(at), result);
    result.changed = at < uri.size() && uri.find('#', at) != std::string_view::npos;
    return result;
}

std::size_t escaped_size(std::string_view text, EscapeType type) {
    const EscapeSet& set = set_of(type);
    std::size_t bytes = text.size();
    for (char c : text) {
        bytes += set.contains(c) ? 2 : 0;
    }
    return bytes;
}

char* escape_uri(std::string_view text, EscapeType type, char* to) {
    const EscapeSet& set = set_of(type);
    const char prefix = type == EscapeType::MailXtext ? '+' : '%';
    for (char c : text) {
        if (set.contains(c)) {
            const auto byte = static_cast<unsigned char>(c);
            *to++ = prefix;
            *to++ = kHex[byte >> 4];
            *to++ = kHex[byte & 15];
        } else {
            *to++ = c;
        }
    }
    return to;
}

std::string_view escape_uri(std::string_view text, EscapeType type, Arena& arena) {
    const std::size_t bytes = escaped_size(text, type);
    if (bytes == text.size()) {
        return text;
    }
    char* to = arena.allocate_chars(bytes);
    escape_uri(text, type, to);
    return {to, bytes};
}

std::string escape_uri(std::string_view text, EscapeType type) {
    std::string escaped(escaped_size(text, type), '\0');
    escape_uri(text, type, escaped.data());
    return escaped;
}

char* unescape_uri(std::string_view text, UnescapeType type, char* to) {
    const bool stops = type != UnescapeType::All;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (c != '%') {
            *to++ = c;
            if (c == '?' && stops) {
                return to;
            }
            continue;
        }
        if (at + 1 == text.size()) {
            return to;
        }
        const int high = hex_value(text[++at]);
        if (high < 0) {
            *to++ = text[at];  // "%zz": the '%' is lost
            continue;
        }
        if (at + 1 == text.size()) {
            return to;
        }
        const int low = hex_value(text[++at]);
        if (low < 0) {
            continue;  // "%4z": all three are
        }
        const int byte = high * 16 + low;
        const bool question = byte == '?' && stops;
        if (type == UnescapeType::Redirect && !question && (byte <= '%' || byte >= 0x7f)) {
            const char digits[] = {text[at - 1], text[at]};
            *to++ = '%';
            *to++ = digits[0];
            *to++ = digits[1];
            continue;
        }
        *to++ = static_cast<char>(byte);
        if (question) {
            return to;
        }
    }
    return to;
}

std::string_view unescape_uri(std::string_view text, UnescapeType type, Arena& arena) {
    if (text.find('%') == std::string_view::npos &&
        (type == UnescapeType::All || text.find('?') == std::string_view::npos)) {
        return text;
    }
    char* to = arena.allocate_chars(text.size());
    return {to, static_cast<std::size_t>(unescape_uri(text, type, to) - to)};
}

std::string unescape_form(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t at = 0; at < text.size(); ++at) {
        const int byte = text[at] == '%' ? hex_byte(text, at + 1) : -1;
        if (byte >= 0) {
            result.push_back(static_cast<char>(byte));
            at += 2;
        } else {
            result.push_back(text[at] == '+' ? ' ' : text[at]);
        }
    }
    return result;
}

std::optional<std::string_view> find_arg(std::string_view args, std::string_view name) {
    while (!args.empty()) {
        const std::size_t end = args.find('&');
        const std::string_view arg = args.substr(0, end);
        if (arg.size() > name.size() && arg[name.size()] == '=' &&
            starts_with_ignore_case(arg, name)) {
            return arg.substr(name.size() + 1);
        }
        args = end == std::string_view::npos ? std::string_view{} : args.substr(end + 1);
    }
    return std::nullopt;
}

std::optional<SafeUri> parse_unsafe_uri(std::string_view uri, Arena& arena) {
    if (uri.empty() || uri.front() == '?') {
        return std::nullopt;
    }
    const std::size_t mark = uri.find('?');
    SafeUri result;
    result.path = uri.substr(0, mark);
    if (mark != std::string_view::npos) {
        result.args = uri.substr(mark + 1);
    }
    if (has_dot_dot(result.path)) {
        return std::nullopt;
    }
    result.path = unescape_uri(result.path, UnescapeType::All, arena);
    if (result.path.find('\0') != std::string_view::npos || has_dot_dot(result.path)) {
        return std::nullopt;
    }
    return result;
}

std::size_t html_escaped_size(std::string_view text) {
    std::size_t bytes = text.size();
    for (char c : text) {
        const std::string_view entity = html_entity(c);
        bytes += entity.empty() ? 0 : entity.size() - 1;
    }
    return bytes;
}

char* escape_html(std::string_view text, char* to) {
    for (char c : text) {
        const std::string_view entity = html_entity(c);
        if (entity.empty()) {
            *to++ = c;
        } else {
            to += entity.copy(to, entity.size());
        }
    }
    return to;
}

std::string_view escape_html(std::string_view text, Arena& arena) {
    const std::size_t bytes = html_escaped_size(text);
    if (bytes == text.size()) {
        return text;
    }
    char* to = arena.allocate_chars(bytes);
    escape_html(text, to);
    return {to, bytes};
}

}  // namespace moongate::http
