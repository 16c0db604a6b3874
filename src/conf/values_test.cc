// nginx's value grammars; the expectations follow ngx_parse_size(), ngx_parse_offset() and
// ngx_parse_time().
#include "conf/values.h"

#include <gtest/gtest.h>

namespace moongate::conf {
namespace {

constexpr auto kNone = std::nullopt;
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Values, SizesTakeKilobytesAndMegabytes) {
    EXPECT_EQ(parse_size("10"), 10);
    EXPECT_EQ(parse_size("4k"), 4096);
    EXPECT_EQ(parse_size("4K"), 4096);
    EXPECT_EQ(parse_size("3M"), 3 << 20);
    for (const auto* wrong :
         {"", "k", "-1", "+1", "1g", "1kk", "1 k", "1.5k", "0x10", "9223372036854775808"}) {
        EXPECT_EQ(parse_size(wrong), kNone) << wrong;
    }
    EXPECT_EQ(parse_size("9007199254740991k"), 9007199254740991 * 1024);
    EXPECT_EQ(parse_size("9007199254740992k"), kNone);
}

TEST(Values, OffsetsTakeGigabytesToo) {
    EXPECT_EQ(parse_offset("2g"), std::int64_t{2} << 30);
    EXPECT_EQ(parse_offset("0"), 0);
    EXPECT_EQ(parse_offset("9223372036854775807"), kMax);
    EXPECT_EQ(parse_offset("8589934592g"), kNone);
}

TEST(Values, MillisecondTimes) {
    EXPECT_EQ(parse_msec("5"), 5000);
    EXPECT_EQ(parse_msec("5s"), 5000);
    EXPECT_EQ(parse_msec("500ms"), 500);
    EXPECT_EQ(parse_msec("1m"), 60000);
    EXPECT_EQ(parse_msec("1h30m"), 5400000);
    EXPECT_EQ(parse_msec("1w 2d"), 777600000);
    EXPECT_EQ(parse_msec("1d 5"), 86405000);
    EXPECT_EQ(parse_msec("1s500ms"), 1500);
    EXPECT_EQ(parse_msec("5 "), 5000);
    for (const auto* wrong : {"", "s", "1y", "1M", "1m1h", "1m1m", "1s1s", "5 5 5", "1ms1s", "1x",
                              "-1", "1.5s", "9223372036854775807"}) {
        EXPECT_EQ(parse_msec(wrong), kNone) << wrong;
    }
}

TEST(Values, SecondTimes) {
    EXPECT_EQ(parse_seconds("1y"), 31536000);
    EXPECT_EQ(parse_seconds("1M1d"), 2678400);
    EXPECT_EQ(parse_seconds("9223372036854775807"), kMax);
    for (const auto* wrong : {"5ms", "1d1y", "1y1y", "9223372036854775808", "300000000000y"}) {
        EXPECT_EQ(parse_seconds(wrong), kNone) << wrong;
    }
}

TEST(Values, FixedPoint) {
    EXPECT_EQ(parse_fixed("1.5", 2), 150);
    EXPECT_EQ(parse_fixed("1", 3), 1000);
    EXPECT_EQ(parse_fixed(".5", 1), 5);
    EXPECT_EQ(parse_fixed("0.55", 1), kNone);
    EXPECT_EQ(parse_fixed("", 1), kNone);
    EXPECT_EQ(parse_fixed(".", 1), kNone);
    EXPECT_EQ(parse_fixed("1.5.", 3), kNone);
}

}  // namespace
}  // namespace moongate::conf
