// Known names, lookup and change of header lists, methods and statuses.
#include "http/header_list.h"

#include <gtest/gtest.h>

#include "base/strings.h"
#include "http/method.h"
#include "http/status.h"

namespace moongate::http {
namespace {

std::string dump(const HeaderList& list) {
    std::string text;
    for (const Header& header : list) {
        text += std::string(header.name) + "=" + std::string(header.value) + " ";
    }
    return text;
}

TEST(HeaderId, EveryKnownNameIsFoundInAnyCase) {
    for (std::size_t i = 1; i < kHeaderIdCount; ++i) {
        const auto id = static_cast<HeaderId>(i);
        std::string name(header_name(id));
        ASSERT_FALSE(name.empty());
        EXPECT_EQ(header_id(name), id) << name;
        lower_in_place(name.data(), name.size());
        EXPECT_EQ(header_id(name), id) << name;
        for (char& c : name) {
            c = ascii_upper(c);
        }
        EXPECT_EQ(header_id(name), id) << name;
    }
}

TEST(HeaderId, ComparisonIsExact) {
    for (std::size_t i = 1; i < kHeaderIdCount; ++i) {
        const std::string name(header_name(static_cast<HeaderId>(i)));
        for (std::size_t at = 0; at < name.size(); ++at) {
            for (int byte = 0; byte < 256; ++byte) {
                std::string other = name;
                other[at] = static_cast<char>(byte);
                const bool same = equals_ignore_case(other, name);
                EXPECT_EQ(header_id(other) == static_cast<HeaderId>(i), same) << other;
            }
        }
        EXPECT_EQ(header_id(name + "x"), HeaderId::Other);
    }
    EXPECT_EQ(header_id(""), HeaderId::Other);
}

TEST(HeaderId, HashIgnoresCaseAtEveryLength) {
    std::string lower;
    std::string upper;
    for (int n = 0; n < 40; ++n) {
        EXPECT_EQ(header_hash(lower), header_hash(upper));
        lower.push_back(static_cast<char>('a' + n % 26));
        upper.push_back(static_cast<char>('A' + n % 26));
    }
}

TEST(HeaderList, FindsKnownAndOtherNames) {
    Arena arena;
    HeaderList list(arena);
    list.add("host", "a");
    list.add("X-Mine", "1");
    list.add("x-mine", "2");
    list.add(HeaderId::Cookie, "c=1");
    list.add("COOKIE", "c=2");
    EXPECT_EQ(list.value(HeaderId::Host), "a");
    EXPECT_EQ(list.value("x-MINE"), "1");
    EXPECT_EQ(list.count("X-Mine"), 2U);
    EXPECT_EQ(list.joined(HeaderId::Cookie, "; "), "c=1; c=2");
    EXPECT_EQ(list.joined("x-mine"), "1, 2");
    EXPECT_EQ(list.find("absent"), nullptr);
    EXPECT_EQ(list.find(HeaderId::Date), nullptr);
    EXPECT_TRUE(list.joined("absent").empty());
}

TEST(HeaderList, SetReplacesAllAtTheFirstPlace) {
    Arena arena;
    HeaderList list(arena);
    list.add("A", "1");
    list.add("X-B", "2");
    list.add("C", "3");
    list.add("x-b", "4");
    list.add("Via", "5");
    list.add("via", "6");
    list.set("x-B", "new");
    list.set(HeaderId::Via, "v");
    list.set("D", "7");
    EXPECT_EQ(dump(list), "A=1 x-B=new C=3 Via=v D=7 ");
    EXPECT_EQ(list.value(HeaderId::Via), "v");
}

TEST(HeaderList, RemoveKeepsOrderAndIndex) {
    Arena arena;
    HeaderList list(arena);
    list.add("Cookie", "1");
    list.add("Host", "h");
    list.add("cookie", "2");
    list.add("X", "3");
    EXPECT_EQ(list.remove(HeaderId::Cookie), 2U);
    EXPECT_EQ(list.remove("Cookie"), 0U);
    EXPECT_EQ(list.remove("x"), 1U);
    EXPECT_EQ(dump(list), "Host=h ");
    EXPECT_EQ(list.value(HeaderId::Host), "h");
    EXPECT_FALSE(list.has(HeaderId::Cookie));
}

TEST(HeaderList, GrowsMovesAndCopies) {
    Arena arena;
    HeaderList list(arena);
    for (int i = 0; i < 1000; ++i) {
        list.add(arena.copy("X-" + std::to_string(i)), "v");
    }
    list.add("Host", "h");
    EXPECT_NE(list.find("x-999"), nullptr);
    HeaderList moved(std::move(list));
    EXPECT_EQ(moved.size(), 1001U);
    EXPECT_EQ(moved.value(HeaderId::Host), "h");
    Arena other;
    HeaderList copy(other);
    copy.copy_from(moved);
    moved.clear();
    arena.release();
    EXPECT_EQ(copy.size(), 1001U);
    EXPECT_EQ(copy.value("X-500"), "v");
}

TEST(Method, NamesAndBitsAreNginxs) {
    const std::pair<std::string_view, std::uint32_t> rows[] = {
        {"GET", 0x2},       {"HEAD", 0x4},       {"POST", 0x8},        {"PUT", 0x10},
        {"DELETE", 0x20},   {"MKCOL", 0x40},     {"COPY", 0x80},       {"MOVE", 0x100},
        {"OPTIONS", 0x200}, {"PROPFIND", 0x400}, {"PROPPATCH", 0x800}, {"LOCK", 0x1000},
        {"UNLOCK", 0x2000}, {"PATCH", 0x4000},   {"TRACE", 0x8000},    {"CONNECT", 0x10000}};
    for (const auto& [name, bit] : rows) {
        const Method method = parse_method(name);
        EXPECT_EQ(method_name(method), name);
        EXPECT_EQ(method_bit(method), bit);
        EXPECT_EQ(method_of_bit(bit), method);
    }
    EXPECT_EQ(parse_method("get"), Method::Other);
    EXPECT_EQ(parse_method(""), Method::Other);
    EXPECT_EQ(method_of_bit(0x6), Method::Other);
}

TEST(Status, TextsAreNginxs) {
    EXPECT_EQ(reason_phrase(302), "Moved Temporarily");
    EXPECT_EQ(reason_phrase(203), "");
    EXPECT_EQ(error_page(302)->title, "302 Found");
    EXPECT_EQ(error_page(401)->title, "401 Authorization Required");
    EXPECT_EQ(error_page(494)->title, "400 Request Header Or Cookie Too Large");
    EXPECT_EQ(error_page(494)->heading, "400 Bad Request");
    EXPECT_EQ(error_page(494)->note, "Request Header Or Cookie Too Large");
    EXPECT_EQ(error_page(418), nullptr);
    EXPECT_EQ(error_page(200), nullptr);
    EXPECT_EQ(sent_status(497), 400);
    EXPECT_EQ(sent_status(404), 404);
}

}  // namespace
}  // namespace moongate::http
