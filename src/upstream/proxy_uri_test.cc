// What proxy_pass makes of a URI.
#include <gtest/gtest.h>

#include "upstream/proxy_protocol.h"

namespace moongate::upstream {
namespace {

std::string map(std::string_view pass, std::string_view location, std::string_view uri,
                std::string_view args, bool escape) {
    Arena arena;
    return std::string(map_proxy_uri(pass, location, uri, args, escape, arena));
}

TEST(ProxyUri, ReplacesTheLocationsName) {
    EXPECT_EQ(map("/z/", "/a/", "/a/b", "", false), "/z/b");
    EXPECT_EQ(map("/", "/a/", "/a/b", "x=1", false), "/b?x=1");
    EXPECT_EQ(map("/z", "/a", "/abc", "", false), "/zbc");
    EXPECT_EQ(map("/z?q=1", "/a", "/a", "", false), "/z?q=1");
}

TEST(ProxyUri, ARewrittenUriOutsideTheLocationIsTakenWhole) {
    EXPECT_EQ(map("/z/", "/a/", "/other", "k=v", false), "/other?k=v");
}

TEST(ProxyUri, EscapesWhatWasDecoded) {
    EXPECT_EQ(map("/z/", "/a/", "/a/b c%?", "", true), "/z/b%20c%25%3F");
    // Never a space or a control character in a request line, whatever the flags say.
    EXPECT_EQ(map("/z/", "/a/", "/a/b c\r\nX: y", "", false), "/z/b%20c%0D%0AX:%20y");
}

}  // namespace
}  // namespace moongate::upstream
