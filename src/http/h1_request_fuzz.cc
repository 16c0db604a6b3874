// Request heads: the same verdict however the bytes are split, field lines read as the slow model
// reads them, no line end or NUL in what is accepted, and a head written from a parsed one parses
// to the same.
#include <cstdlib>
#include <string>
#include <vector>

#include "http/framing.h"
#include "http/h1_parser.h"
#include "http/h1_writer.h"
#include "http/test_reference.h"

namespace {

using namespace moongate::http;
using moongate::Arena;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

// The end of the head when fed in pieces of `step`; 0: refused or incomplete.
std::size_t scan(std::string_view input, std::size_t step, const ParseLimits& limits) {
    HeadScan state;
    for (std::size_t have = std::min(step, input.size());;) {
        const HeadScanResult result = scan_request_head(input.substr(0, have), limits, state);
        if (result.error != HeadError::None) {
            return 0;
        }
        if (result.end != 0) {
            require(result.end <= have);
            return result.end;
        }
        if (have == input.size()) {
            return 0;
        }
        have = std::min(have + step, input.size());
    }
}

bool acceptable(std::string_view head, const ParseLimits& limits, Arena& arena,
                RequestHead& request) {
    return !head.empty() && parse_request_head(head, limits, arena, request) &&
           request_framing(request, arena).error == HeadError::None;
}

// The field lines of a head, valid or not, on their own.
void compare_fields(std::string_view head, const ParseLimits& limits) {
    const std::size_t line_end =
        head.find('\n', std::min(head.find_first_not_of("\r\n"), head.size()));
    if (line_end == std::string_view::npos || !head.ends_with("\r\n")) {
        return;
    }
    const std::vector<char> bytes(head.begin() + static_cast<std::ptrdiff_t>(line_end) + 1,
                                  head.end());
    const std::string_view section(bytes.data(), bytes.size());
    Arena arena;
    HeaderList headers(arena);
    const ParseResult got = parse_trailers(section, limits, headers);
    const reference::Fields want =
        reference::parse_fields(section, {.max_line = limits.max_header_line,
                                          .max_fields = limits.max_headers,
                                          .drop_invalid_names = limits.ignore_invalid_headers,
                                          .allow_underscores = limits.underscores_in_headers});
    require(got.error == want.error && got.ignored_headers == want.ignored &&
            got.detail == want.detail && headers.size() == want.kept.size());
    for (std::size_t i = 0; i < headers.size(); ++i) {
        require(headers[i].name == want.kept[i].first && headers[i].value == want.kept[i].second &&
                headers[i].id == header_id(headers[i].name));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) {
        return 0;
    }
    ParseLimits limits;
    limits.ignore_invalid_headers = (data[0] & 1) != 0;
    limits.underscores_in_headers = (data[0] & 2) != 0;
    if ((data[0] & 4) != 0) {
        limits.max_request_line = 64;
        limits.max_header_line = 48;
        limits.max_head = 256;
        limits.max_headers = 5;
    }
    // An exact copy, so that the sanitizer sees reads behind the end.
    const std::vector<char> bytes(data + 2, data + size);
    const std::string_view input(bytes.data(), bytes.size());

    Arena arena;
    RequestHead whole;
    const std::size_t end = scan(input, input.size() + 1, limits);
    const bool accepted = acceptable(input.substr(0, end), limits, arena, whole);
    compare_fields(input.substr(0, end), limits);
    for (const std::size_t step : {std::size_t{1}, std::size_t{data[1]} % 32 + 2}) {
        RequestHead again;
        const std::size_t again_end = scan(input, step, limits);
        const bool again_accepted = acceptable(input.substr(0, again_end), limits, arena, again);
        require(again_accepted == accepted && (!accepted || again_end == end));
    }
    if (!accepted) {
        return 0;
    }
    require(whole.headers.size() <= limits.max_headers);
    require(whole.uri == "*" || whole.uri.starts_with('/'));
    require(valid_request_target(whole.target) && valid_header_name(whole.method_text));
    for (const Header& header : whole.headers) {
        require(!header.name.empty() && valid_header_value(header.name) &&
                valid_header_value(header.value));
        require(whole.headers.find(header.name) != nullptr);
    }
    const RequestFraming framing = request_framing(whole, arena);
    std::string written(request_head_size(whole.method_text, whole.target, whole.headers), '\0');
    require(write_request_head(whole.method_text, whole.target, whole.minor, whole.headers,
                               written.data()) == written.size());
    // Trimmed blanks and the version may have made lines longer: without the limits.
    ParseLimits wide;
    wide.ignore_invalid_headers = limits.ignore_invalid_headers;
    wide.underscores_in_headers = limits.underscores_in_headers;
    RequestHead copy;
    require(scan(written, written.size(), wide) == written.size());
    require(acceptable(written, wide, arena, copy));
    require(copy.headers.size() == whole.headers.size() && copy.uri == whole.uri);
    for (std::size_t i = 0; i < copy.headers.size(); ++i) {
        require(copy.headers[i].name == whole.headers[i].name &&
                copy.headers[i].value == whole.headers[i].value);
    }
    const RequestFraming reframed = request_framing(copy, arena);
    require(reframed.body == framing.body && reframed.content_length == framing.content_length &&
            reframed.host == framing.host && reframed.keep_alive == framing.keep_alive);
    return 0;
}
