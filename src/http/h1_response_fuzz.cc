// Response heads: the same verdict however the bytes are split, field lines read as the slow model
// reads them, and a head written from a parsed one parses to the same framing.
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

std::size_t scan(std::string_view input, std::size_t step, const ParseLimits& limits) {
    HeadScan state;
    for (std::size_t have = std::min(step, input.size());;) {
        const HeadScanResult result = scan_response_head(input.substr(0, have), limits, state);
        if (result.error != HeadError::None) {
            return 0;
        }
        if (result.end != 0) {
            return result.end;
        }
        if (have == input.size()) {
            return 0;
        }
        have = std::min(have + step, input.size());
    }
}

bool acceptable(std::string_view head, const ParseLimits& limits, Arena& arena,
                ResponseHead& response) {
    return !head.empty() && parse_response_head(head, limits, arena, response) &&
           response_framing(response, Method::Get).error == HeadError::None;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) {
        return 0;
    }
    ParseLimits limits;
    if ((data[0] & 4) != 0) {
        limits.max_request_line = 64;
        limits.max_header_line = 48;
        limits.max_head = 256;
        limits.max_headers = 5;
    }
    const std::vector<char> bytes(data + 2, data + size);
    const std::string_view input(bytes.data(), bytes.size());
    Arena arena;
    ResponseHead whole;
    const std::size_t end = scan(input, input.size() + 1, limits);
    const bool accepted = acceptable(input.substr(0, end), limits, arena, whole);
    for (const std::size_t step : {std::size_t{1}, std::size_t{data[1]} % 32 + 2}) {
        ResponseHead again;
        const std::size_t again_end = scan(input, step, limits);
        const bool again_accepted = acceptable(input.substr(0, again_end), limits, arena, again);
        require(again_accepted == accepted && (!accepted || again_end == end));
    }
    if (!accepted) {
        return 0;
    }
    const std::string_view head = input.substr(0, end);
    const reference::Fields want = reference::parse_fields(
        head.substr(head.find('\n') + 1),
        {.max_line = limits.max_header_line,
         .max_fields = limits.max_headers,
         .drop_invalid_names = false,
         .allow_underscores = true,
         .allow_controls = true,
         .unique = HeaderIdSet{HeaderId::ContentLength, HeaderId::TransferEncoding}});
    require(want.error == HeadError::None && want.kept.size() == whole.headers.size());
    for (std::size_t i = 0; i < whole.headers.size(); ++i) {
        require(whole.headers[i].name == want.kept[i].first &&
                whole.headers[i].value == want.kept[i].second);
    }
    require(whole.status >= 100 && whole.status <= 999);
    std::string written(response_head_size(whole), '\0');
    require(write_response_head(whole, written.data()) == written.size());
    ResponseHead copy;
    ParseLimits wide;
    require(acceptable(written, wide, arena, copy));
    require(copy.status == whole.status && copy.reason == whole.reason);
    require(copy.headers.size() == whole.headers.size());
    for (const Method method : {Method::Get, Method::Head, Method::Connect}) {
        copy.minor = whole.minor;  // the writer always says 1.1
        const ResponseFraming a = response_framing(whole, method);
        const ResponseFraming b = response_framing(copy, method);
        require(a.error == b.error && a.body == b.body && a.content_length == b.content_length &&
                a.keep_alive == b.keep_alive);
    }
    return 0;
}
