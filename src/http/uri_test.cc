// URI normalisation, escaping and arguments as nginx does them.
#include "http/uri.h"

#include <gtest/gtest.h>

#include <random>

#include "http/test_reference.h"

namespace moongate::http {
namespace {

class Uri : public testing::Test {
protected:
    std::string path(std::string_view uri, bool merge = true) {
        const auto result = normalize_uri(uri, merge, arena_);
        return result ? std::string(result->path) : "invalid";
    }
    Arena arena_;
};

TEST_F(Uri, PlainPathsAreViews) {
    const std::string_view uri = "/a/b.c/d.html?x=/../#f";
    const auto result = normalize_uri(uri.substr(0, 20), true, arena_);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->path.data(), uri.data());
    EXPECT_EQ(result->path, "/a/b.c/d.html");
    EXPECT_EQ(result->args, "x=/../");
    EXPECT_EQ(result->extension, "html");
    EXPECT_FALSE(result->changed);
    EXPECT_EQ(normalize_uri(uri, true, arena_)->args, "x=/../");
    EXPECT_TRUE(normalize_uri(uri, true, arena_)->changed);
}

TEST_F(Uri, ResolvesDotsSlashesAndEscapes) {
    const std::pair<std::string_view, std::string_view> rows[] = {
        {"/", "/"},
        {"/a/./b", "/a/b"},
        {"/a/.", "/a/"},
        {"/a/..", "/"},
        {"/a/../b", "/b"},
        {"/a/b/../../c/", "/c/"},
        {"/a//b///c", "/a/b/c"},
        {"//", "/"},
        {"/%61%2Fb", "/a/b"},
        {"/a/%2e%2E/b", "/b"},
        {"/a%2f..%2fb", "/b"},
        {"/a%2f%2fb", "/a/b"},
        {"/...", "/..."},
        {"/..a/.b", "/..a/.b"},
        {"/a/..?x", "/"},
        {"/a/..#x", "/"},
        {"/a%3fb%23c%25d", "/a?b#c%d"},
        {"/a%20b", "/a b"},
        {"/%ff", "/\xff"},
        {"*", "*"},
        {"/..", "invalid"},
        {"/a/../..", "invalid"},
        {"/%2e%2e/etc", "invalid"},
        {"/../etc", "invalid"},
        {"/a%00b", "invalid"},
        {"/%", "invalid"},
        {"/%4", "invalid"},
        {"/%4?a", "invalid"},
        {"/%zz", "invalid"},
        {"a", "invalid"},
        {"", "invalid"},
    };
    for (const auto& [uri, expected] : rows) {
        EXPECT_EQ(path(uri), expected) << uri;
    }
    EXPECT_EQ(path("/a//b/", false), "/a//b/");
    EXPECT_EQ(path("/a//../b", false), "/a/b");
    EXPECT_EQ(path("/.//x", false), "//x");
    EXPECT_EQ(path("//..", false), "/");
}

TEST_F(Uri, TellsArgsExtensionAndFlags) {
    const auto uri = [&](std::string_view text) { return *normalize_uri(text, true, arena_); };
    EXPECT_EQ(uri("/a%20.b?c=%20#d").args, "c=%20");
    EXPECT_EQ(uri("/a#b?c").args, "");
    EXPECT_EQ(uri("/a?").args, "");
    EXPECT_TRUE(uri("/a%2b").plus);
    EXPECT_TRUE(uri("/a+b").plus);
    EXPECT_TRUE(uri("/%41").quoted);
    EXPECT_EQ(uri("/a.tar.gz").extension, "gz");
    EXPECT_EQ(uri("/a.d/b").extension, "");
    EXPECT_EQ(uri("/.profile").extension, "");
    EXPECT_EQ(uri("/.profile.txt").extension, "txt");
    EXPECT_EQ(uri("/...a").extension, "");
    EXPECT_EQ(uri("/a%2Ephp").extension, "php");
    EXPECT_FALSE(uri("/.well-known/x").changed);
    EXPECT_TRUE(uri("/a//b").changed);
}

TEST_F(Uri, AgreesWithTheModelOnRandomPaths) {
    std::mt19937 random(3);
    const std::string_view pieces[] = {"/",   "/",   ".",   "..", "a",  "%2e",
                                       "%2F", "%25", "%3f", "%",  "b+", "/../"};
    for (int round = 0; round < 50000; ++round) {
        std::string uri = "/";
        for (unsigned i = random() % 10; i > 0; --i) {
            uri += pieces[random() % std::size(pieces)];
        }
        const bool merge = random() % 2 == 0;
        const auto model = reference::normalize_path(uri, merge);
        ASSERT_EQ(path(uri, merge), model.value_or("invalid")) << uri << " " << merge;
    }
}

TEST_F(Uri, EscapesTheCharactersNginxEscapes) {
    std::string ascii;
    for (int c = 0x20; c < 0x7f; ++c) {
        ascii.push_back(static_cast<char>(c));
    }
    const auto escaped = [&](EscapeType type) {
        std::string set;
        for (char c : ascii) {
            if (escaped_size({&c, 1}, type) != 1) {
                set.push_back(c);
            }
        }
        return set;
    };
    EXPECT_EQ(escaped(EscapeType::Uri), " \"#%<>?\\^`{|}");
    EXPECT_EQ(escaped(EscapeType::Args), " \"#%&+;<>?\\^`{|}");
    EXPECT_EQ(escaped(EscapeType::UriComponent), " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}");
    EXPECT_EQ(escaped(EscapeType::Html), " \"#%'<>\\^`{|}");
    EXPECT_EQ(escaped(EscapeType::Refresh), " \"'<>\\^`{|~");
    EXPECT_EQ(escaped(EscapeType::Memcached), " %");
    EXPECT_EQ(escape_uri("a b\xe4\x01", EscapeType::Uri), "a%20b%E4%01");
    EXPECT_EQ(escape_uri("\xe4\n", EscapeType::MailAuth), "\xe4%0A");
    EXPECT_EQ(escape_uri("a+b", EscapeType::MailXtext), "a+2Bb");
    const std::string_view plain = "plain";
    EXPECT_EQ(escape_uri(plain, EscapeType::Uri, arena_).data(), plain.data());
}

TEST_F(Uri, UnescapesAsNginxDoes) {
    const auto all = [&](std::string_view t) { return unescape_uri(t, UnescapeType::All, arena_); };
    const auto uri = [&](std::string_view t) { return unescape_uri(t, UnescapeType::Uri, arena_); };
    const auto redirect = [&](std::string_view t) {
        return unescape_uri(t, UnescapeType::Redirect, arena_);
    };
    EXPECT_EQ(all("a%20b+?%3f"), "a b+??");
    EXPECT_EQ(all("%zz%4z%4"), "zz");
    EXPECT_EQ(all("%"), "");
    EXPECT_EQ(uri("%41?%41"), "A?");
    EXPECT_EQ(uri("%41%3F%41"), "A?");
    EXPECT_EQ(redirect("%41%20%0d%0A%25%7e%3Fx"), "A%20%0d%0A%25~?");
    EXPECT_EQ(unescape_form("a+b%20c%zz%4"), "a b c%zz%4");
    std::string in_place = "%41%42c";
    in_place.resize(static_cast<std::size_t>(
        unescape_uri(in_place, UnescapeType::All, in_place.data()) - in_place.data()));
    EXPECT_EQ(in_place, "ABc");
}

TEST_F(Uri, FindsArguments) {
    EXPECT_EQ(find_arg("a=1&B=2&b=3", "b"), "2");
    EXPECT_EQ(find_arg("ab=1&b=", "b"), "");
    EXPECT_EQ(find_arg("b&ab=1", "b"), std::nullopt);
    EXPECT_EQ(find_arg("xb=1", "b"), std::nullopt);
    EXPECT_EQ(find_arg("", "b"), std::nullopt);
    EXPECT_EQ(find_arg("a=%20=x&", "a"), "%20=x");
}

TEST_F(Uri, ChecksInternalTargets) {
    const auto safe = [&](std::string_view t) { return parse_unsafe_uri(t, arena_); };
    EXPECT_EQ(safe("/a%20b?c=%20")->path, "/a b");
    EXPECT_EQ(safe("/a%20b?c=%20")->args, "c=%20");
    EXPECT_EQ(safe("/a..b/..c/d..")->path, "/a..b/..c/d..");
    for (std::string_view text : {"", "?a", "..", "../a", "/..", "/../a", "/a/..", "/a/../b",
                                  "/%2e%2e/a", "/a/%2e.", "/a%2f..%2fb", "/a%00"}) {
        EXPECT_FALSE(safe(text)) << text;
    }
    EXPECT_FALSE(safe(std::string_view("/a\0b", 4)));
    EXPECT_TRUE(safe("/a?/../"));
}

TEST_F(Uri, EscapesHtml) {
    EXPECT_EQ(escape_html("<a href=\"x\">&'</a>", arena_),
              "&lt;a href=&quot;x&quot;&gt;&amp;'&lt;/a&gt;");
    const std::string_view plain = "plain";
    EXPECT_EQ(escape_html(plain, arena_).data(), plain.data());
}

}  // namespace
}  // namespace moongate::http
