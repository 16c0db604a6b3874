// host[:port][/uri] texts and addresses.
#include "net/host_url.h"

#include <gtest/gtest.h>

namespace moongate::net {
namespace {

TEST(HostUrl, SplitsHostPortAndUri) {
    const auto url = parse_host_url("example.org:8080/a?b", {.allow_uri = true});
    ASSERT_TRUE(url);
    EXPECT_EQ(url->host, "example.org");
    EXPECT_EQ(url->port, 8080);
    EXPECT_EQ(url->uri, "/a?b");
    EXPECT_FALSE(url->no_port);
    EXPECT_FALSE(url->address);
    const auto bare = parse_host_url("10.0.0.1?x", {.default_port = 81, .allow_uri = true});
    ASSERT_TRUE(bare);
    EXPECT_EQ(to_string(*bare->address), "10.0.0.1:81");
    EXPECT_TRUE(bare->no_port);
    EXPECT_EQ(bare->uri, "?x");
}

TEST(HostUrl, KnowsIpv6AndUnix) {
    const auto v6 = parse_host_url("[::1]:90", {});
    ASSERT_TRUE(v6);
    EXPECT_EQ(to_string(*v6->address), "[::1]:90");
    const auto path = parse_host_url("unix:/tmp/a:/b", {.allow_uri = true});
    ASSERT_TRUE(path);
    EXPECT_EQ(path->host, "/tmp/a");
    EXPECT_EQ(path->uri, "/b");
    EXPECT_EQ(to_string(*path->address), "unix:/tmp/a");
}

TEST(HostUrl, RefusesWithNginxsWords) {
    const auto error = [](std::string_view text) {
        const auto url = parse_host_url(text, {.allow_uri = true});
        return url ? std::string_view("fine") : url.error();
    };
    EXPECT_EQ(error(""), "no host");
    EXPECT_EQ(error(":80"), "no host");
    EXPECT_EQ(error("a:0"), "invalid port");
    EXPECT_EQ(error("a:65536"), "invalid port");
    EXPECT_EQ(error("a:8x"), "invalid port");
    EXPECT_EQ(error("[::1"), "invalid host");
    EXPECT_EQ(error("unix:"), "no path in the unix domain socket");
    EXPECT_EQ(error("unix:/" + std::string(200, 'x')), "too long path in the unix domain socket");
}

}  // namespace
}  // namespace moongate::net
