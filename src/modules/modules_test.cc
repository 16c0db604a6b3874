// Units of the modules that need no request: ranges, entity tags, maps' keys, escaping in access
// logs, the values of `expires`. Behaviour with requests is tested end to end in tests/e2e.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "base/arena.h"
#include "conf/variables.h"
#include "modules/expires.h"
#include "modules/log/log_format.h"
#include "modules/map_table.h"
#include "modules/not_modified.h"
#include "modules/range_parse.h"

namespace moongate::modules {
namespace {

using Ranges = std::vector<ByteRange>;

RangeAnswer parse(std::string_view header, std::int64_t length, Ranges& ranges,
                  std::int64_t most = -1) {
    ranges.clear();
    return parse_ranges(header, length, most, ranges);
}

TEST(Ranges, ReadsFirstLastAndSuffix) {
    Ranges ranges;
    EXPECT_EQ(parse("bytes=0-9", 100, ranges), RangeAnswer::Ranges);
    EXPECT_EQ(ranges, (Ranges{{0, 10}}));
    EXPECT_EQ(parse("BYTES= 5 - , -3", 100, ranges), RangeAnswer::Ranges);
    EXPECT_EQ(ranges, (Ranges{{5, 100}, {97, 100}}));
    EXPECT_EQ(parse("bytes=-200", 100, ranges), RangeAnswer::Ranges);
    EXPECT_EQ(ranges, (Ranges{{0, 100}}));
}

TEST(Ranges, RefusesWhatHasNoNumberOrNoRoom) {
    Ranges ranges;
    for (const char* header : {"bytes=x", "bytes=1", "bytes=1x-", "bytes=0-9,", "bytes=--1",
                               "bytes=9223372036854775808-", "bytes=0-9223372036854775808",
                               "bytes=100-", "bytes=-0,200-"}) {
        EXPECT_EQ(parse(header, 100, ranges), RangeAnswer::NotSatisfiable) << header;
    }
}

TEST(Ranges, GivesTheWholeWhereRangesAreLongerThanIt) {
    Ranges ranges;
    EXPECT_EQ(parse("bytes=0-,0-", 100, ranges), RangeAnswer::Whole);
    EXPECT_EQ(parse("items=0-1", 100, ranges), RangeAnswer::Whole);
    EXPECT_EQ(parse("bytes=0-1,2-3", 100, ranges, 1), RangeAnswer::Whole);
    // CVE-2017-7529: two suffixes whose sum does not fit 63 bits.
    EXPECT_EQ(parse("bytes=-9223372036854775807,-9223372036854775807", 100, ranges),
              RangeAnswer::Whole);
}

TEST(Ranges, NeverLeadOutsideTheBody) {
    std::mt19937_64 random(1);
    constexpr std::string_view kAlphabet = "0123456789--,, 9";
    for (int round = 0; round < 20000; ++round) {
        std::string header = "bytes=";
        for (std::uint64_t n = random() % 24; n > 0; --n) {
            header.push_back(kAlphabet[random() % kAlphabet.size()]);
        }
        const std::int64_t length = round % 2 == 0 ? static_cast<std::int64_t>(random() % 50)
                                                   : std::numeric_limits<std::int64_t>::max() -
                                                         static_cast<std::int64_t>(random() % 50);
        Ranges ranges;
        if (parse(header, length, ranges) != RangeAnswer::Ranges) {
            continue;
        }
        ASSERT_FALSE(ranges.empty()) << header;
        for (const ByteRange& range : ranges) {
            ASSERT_TRUE(0 <= range.start && range.start < range.end && range.end <= length)
                << header << " of " << length;
        }
    }
}

TEST(EntityTags, AreComparedWholeInALists) {
    EXPECT_TRUE(etag_list_names("*", "\"a\"", false));
    EXPECT_TRUE(etag_list_names("\"x\", \"a\" ,\"y\"", "\"a\"", false));
    EXPECT_FALSE(etag_list_names("\"ab\"", "\"a\"", false));
    EXPECT_FALSE(etag_list_names("\"a\"b", "\"a\"", false));
    EXPECT_FALSE(etag_list_names("W/\"a\"", "\"a\"", false));
    EXPECT_TRUE(etag_list_names("W/\"a\"", "\"a\"", true));
    EXPECT_TRUE(etag_list_names("\"a\"", "W/\"a\"", true));
    EXPECT_FALSE(etag_list_names("", "\"a\"", true));
}

class MapTableTest : public ::testing::Test {
protected:
    struct Source : conf::VariableSource {
        using VariableSource::VariableSource;
    };
    std::string find(std::string_view key) {
        const conf::CompiledString* value = table.find(source, key);
        return value == nullptr ? "-" : std::string(value->evaluate(source));
    }
    MapTable::Added add(std::string_view key, std::string_view value, bool hostnames = true) {
        return table.add(key, conf::CompiledString::literal(value), hostnames);
    }

    Arena arena;
    conf::VariableTable variables;
    Source source{arena, variables, nullptr};
    MapTable table;
};

TEST_F(MapTableTest, PrefersExactThenLongestFrontThenBack) {
    add("www.example.org", "exact");
    add("*.example.org", "front");
    add("*.a.example.org", "longer");
    add(".dot.net", "dot");
    add("www.*", "back");
    EXPECT_EQ(find("WWW.EXAMPLE.ORG"), "exact");
    EXPECT_EQ(find("b.example.org"), "front");
    EXPECT_EQ(find("c.b.a.example.org"), "longer");
    EXPECT_EQ(find("example.org"), "-");
    EXPECT_EQ(find("dot.net"), "dot");
    EXPECT_EQ(find("x.dot.net"), "dot");
    EXPECT_EQ(find("www.example.com"), "back");
    EXPECT_EQ(find("www"), "-");
    EXPECT_EQ(find(""), "-");
    EXPECT_EQ(find(std::string(1000, 'x') + ".example.org"), "front");
}

TEST_F(MapTableTest, RefusesConflictsAndOddWildcards) {
    EXPECT_EQ(add("a", "1"), MapTable::Added::Ok);
    EXPECT_EQ(add("A", "2"), MapTable::Added::Conflict);
    EXPECT_EQ(add(".a", "2"), MapTable::Added::Conflict);
    EXPECT_EQ(add("a*", "1"), MapTable::Added::InvalidName);
    EXPECT_EQ(add("*.b.*", "1"), MapTable::Added::InvalidName);
    EXPECT_EQ(add("a..b", "1"), MapTable::Added::InvalidName);
    EXPECT_EQ(add("*.x", "as text", false), MapTable::Added::Ok);
    EXPECT_EQ(find("*.x"), "as text");
}

TEST_F(MapTableTest, MatchesRegularExpressionsInOrderAndKeepsCaptures) {
    auto add_regex = [&](std::string_view pattern, std::string_view value) {
        auto regex = conf::BoundRegex::compile(pattern, conf::RegexFlags::None, variables);
        auto text = conf::CompiledString::compile(value, variables);
        ASSERT_TRUE(regex.has_value() && text.has_value());
        table.add_regex(std::move(*regex), std::move(*text));
    };
    add_regex("^a(.)", "first $1");
    add_regex("^ab", "second");
    add_regex("^$", "empty");
    EXPECT_EQ(find("abc"), "first b");
    EXPECT_EQ(find(""), "-");
}

TEST(LogEscaping, HidesWhatCouldForgeALine) {
    std::string line;
    append_escaped("a\"b\\c\n\x7f\xc3\xa9~ ", line);
    EXPECT_EQ(line, "a\\x22b\\x5Cc\\x0A\\x7F\\xC3\\xA9~ ");
    line.clear();
    append_json_escaped(std::string_view("\"\\\n\r\t\b\f\0\x1f\x7f\xc3", 11), line);
    EXPECT_EQ(line, "\\\"\\\\\\n\\r\\t\\b\\f\\u0000\\u001F\x7f\xc3");
}

TEST(ExpiresValue, ReadsEveryForm) {
    EXPECT_EQ(parse_expires("epoch", false)->kind, Expires::Kind::Epoch);
    EXPECT_EQ(parse_expires("max", false)->kind, Expires::Kind::Max);
    EXPECT_EQ(parse_expires("off", false)->kind, Expires::Kind::Off);
    EXPECT_EQ(parse_expires("-1h", false)->seconds, -3600);
    EXPECT_EQ(parse_expires("+1d", true)->kind, Expires::Kind::Modified);
    EXPECT_EQ(parse_expires("@15h30m", false)->seconds, 55800);
    EXPECT_FALSE(parse_expires("max", true).has_value());
    EXPECT_FALSE(parse_expires("@1h", true).has_value());
    EXPECT_FALSE(parse_expires("@24h1s", false).has_value());
    EXPECT_FALSE(parse_expires("", false).has_value());
}

TEST(ExpiresValue, NextTimeOfDayIsWithinADay) {
    for (std::int64_t now : {1700000000, 1700006399, 1700006400}) {
        const std::int64_t at = next_time_of_day(3600, now);
        EXPECT_GT(at, now);
        EXPECT_LE(at, now + 25 * 3600);
    }
}

}  // namespace
}  // namespace moongate::modules
