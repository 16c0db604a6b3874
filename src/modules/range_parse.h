// The Range header of a request: RFC 9110 §14.1.2 as nginx reads it. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace moongate::modules {

struct ByteRange {
    std::int64_t start = 0;
    std::int64_t end = 0;  // the byte behind the last one
    bool operator==(const ByteRange&) const = default;
};

enum class RangeAnswer : std::uint8_t {
    Ranges,          // 206
    Whole,           // 200 as without the header
    NotSatisfiable,  // 416
};

// `header` is the whole value ("bytes=0-99"); `length` ≥ 0 the body's; `most` ranges are served,
// -1: no limit. Sums never overflow (CVE-2017-7529), and ranges that together are longer than the
// body give Whole.
RangeAnswer parse_ranges(std::string_view header, std::int64_t length, std::int64_t most,
                         std::vector<ByteRange>& ranges);

}  // namespace moongate::modules
