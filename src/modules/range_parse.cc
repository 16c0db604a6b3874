// See range_parse.h.
#include "modules/range_parse.h"

#include <limits>

#include "base/strings.h"

namespace moongate::modules {

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

class Cursor {
public:
    explicit Cursor(std::string_view text) : text_(text) {}

    void skip_spaces() {
        while (at_ < text_.size() && text_[at_] == ' ') {
            ++at_;
        }
    }
    bool at_end() const { return at_ == text_.size(); }
    bool take(char c) {
        if (at_end() || text_[at_] != c) {
            return false;
        }
        ++at_;
        return true;
    }
    bool at_end_or_comma() const { return at_end() || text_[at_] == ','; }

    // False without a digit or where the number has no room.
    bool take_number(std::int64_t& value) {
        if (at_end() || !is_digit(text_[at_])) {
            return false;
        }
        value = 0;
        for (; !at_end() && is_digit(text_[at_]); ++at_) {
            const int digit = text_[at_] - '0';
            if (value > (kMost - digit) / 10) {
                return false;
            }
            value = value * 10 + digit;
        }
        return true;
    }

private:
    std::string_view text_;
    std::size_t at_ = 0;
};

// One "first-last", "first-" or "-suffix". False: malformed.
bool parse_one(Cursor& cursor, std::int64_t length, ByteRange& range) {
    cursor.skip_spaces();
    const bool suffix = cursor.take('-');
    if (!suffix) {
        if (!cursor.take_number(range.start)) {
            return false;
        }
        cursor.skip_spaces();
        if (!cursor.take('-')) {
            return false;
        }
        cursor.skip_spaces();
        if (cursor.at_end_or_comma()) {
            range.end = length;
            return true;
        }
    }
    std::int64_t last = 0;
    if (!cursor.take_number(last)) {
        return false;
    }
    cursor.skip_spaces();
    if (!cursor.at_end_or_comma()) {
        return false;
    }
    if (suffix) {
        range.start = last < length ? length - last : 0;
        range.end = length;
    } else {
        range.end = last >= length ? length : last + 1;
    }
    return true;
}

}  // namespace

RangeAnswer parse_ranges(std::string_view header, std::int64_t length, std::int64_t most,
                         std::vector<ByteRange>& ranges) {
    if (header.size() < 7 || !starts_with_ignore_case(header, "bytes=")) {
        return RangeAnswer::Whole;
    }
    Cursor cursor(header.substr(6));
    std::int64_t sum = 0;
    do {
        ByteRange range;
        if (!parse_one(cursor, length, range)) {
            return RangeAnswer::NotSatisfiable;
        }
        if (range.start < range.end) {
            if (sum > kMost - (range.end - range.start)) {
                return RangeAnswer::NotSatisfiable;
            }
            sum += range.end - range.start;
            if (most >= 0 && std::cmp_greater_equal(ranges.size(), most)) {
                return RangeAnswer::Whole;
            }
            ranges.push_back(range);
        } else if (range.start == 0) {
            return RangeAnswer::Whole;
        }
    } while (cursor.take(','));

    if (ranges.empty()) {
        return RangeAnswer::NotSatisfiable;
    }
    if (ranges.size() == 1) {
        return RangeAnswer::Ranges;
    }
    if (sum > length) {
        return RangeAnswer::Whole;
    }
    if (most < 0) {
        // Many small ranges cost more in part heads than the whole body would.
        constexpr std::int64_t kPartHead = 256;
        constexpr std::int64_t kAllowance = 4096;
        const auto heads = static_cast<std::int64_t>(ranges.size()) * kPartHead;
        if (heads > kAllowance && sum > length - (heads - kAllowance)) {
            return RangeAnswer::Whole;
        }
    }
    return RangeAnswer::Ranges;
}

}  // namespace moongate::modules
