#include "engine/server.h"

#include <gtest/gtest.h>

#include "engine/testing.h"

namespace moongate::engine {
namespace {

using testing::compile_http;
using testing::Compiled;
using testing::Source;

std::string server_for(const Compiled& compiled, std::string_view host) {
    if (compiled.snapshot == nullptr) {
        return compiled.error;
    }
    Source source(compiled.snapshot->variables());
    return compiled.snapshot->addresses().front()->hosts.find(host, &source).first_name;
}

std::string servers(std::initializer_list<std::string_view> names) {
    std::string text = "server { listen 80; server_name fallback; }";
    for (const auto name : names) {
        text += fmt::format("server {{ listen 80; server_name {}; }}", name);
    }
    return text;
}

TEST(VirtualHosts, PrecedenceIsAsDocumented) {
    const auto compiled =
        compile_http(servers({"~^www\\.example\\.", "www.example.*", "*.example.org",
                              "*.sub.example.org", "www.example.org", ".both.net"}));
    EXPECT_EQ(server_for(compiled, "www.example.org"), "www.example.org");
    EXPECT_EQ(server_for(compiled, "a.example.org"), "*.example.org");
    EXPECT_EQ(server_for(compiled, "a.b.example.org"), "*.example.org");
    EXPECT_EQ(server_for(compiled, "x.sub.example.org"), "*.sub.example.org");
    EXPECT_EQ(server_for(compiled, "sub.example.org"), "*.example.org");
    EXPECT_EQ(server_for(compiled, "example.org"), "fallback");
    EXPECT_EQ(server_for(compiled, "www.example.net"), "www.example.*");
    EXPECT_EQ(server_for(compiled, "www.example.co.uk"), "www.example.*");
    EXPECT_EQ(server_for(compiled, "www.example"), "fallback");
    EXPECT_EQ(server_for(compiled, "both.net"), "both.net");
    EXPECT_EQ(server_for(compiled, "a.both.net"), "both.net");
    EXPECT_EQ(server_for(compiled, "aboth.net"), "fallback");
    EXPECT_EQ(server_for(compiled, ""), "fallback");
}

TEST(VirtualHosts, RegexesAreTriedInOrderAndCapture) {
    const auto compiled =
        compile_http(servers({"~^(?<user>\\w+)\\.users\\.net$", "~^b", "~^B(.*)UPPER$"}));
    EXPECT_EQ(server_for(compiled, "bob.users.net"), "~^(?<user>\\w+)\\.users\\.net$");
    EXPECT_EQ(server_for(compiled, "bc"), "~^b");
    Source source(compiled.snapshot->variables());
    compiled.snapshot->addresses().front()->hosts.find("bob.users.net", &source);
    EXPECT_EQ(source.capture(1), "bob");
}

TEST(VirtualHosts, EmptyNameTakesRequestsWithoutHost) {
    const auto compiled = compile_http(
        "server { listen 80; server_name fallback; }"
        "server { listen 80; server_name \"\" none; }");
    EXPECT_EQ(server_for(compiled, "none"), "");
    EXPECT_EQ(server_for(compiled, ""), "");
    EXPECT_EQ(server_for(compiled, "x"), "fallback");
}

TEST(VirtualHosts, DefaultServerIsTheFirstOrTheMarkedOne) {
    EXPECT_EQ(server_for(compile_http("server { listen 80; server_name a; }"
                                      "server { listen 80; server_name b; }"),
                         "x"),
              "a");
    EXPECT_EQ(server_for(compile_http("server { listen 80; server_name a; }"
                                      "server { listen 80 default_server; server_name b; }"),
                         "x"),
              "b");
}

TEST(VirtualHosts, ConflictingNamesAreWarnedOfAndInvalidOnesRefused) {
    const auto conflict = compile_http(servers({"a.org", "a.org *.b.org", ".b.org"}));
    ASSERT_NE(conflict.snapshot, nullptr) << conflict.error;
    ASSERT_EQ(conflict.warnings.size(), 2U);
    EXPECT_EQ(conflict.warnings[0], "conflicting server name \"a.org\" on 0.0.0.0:80, ignored");
    EXPECT_EQ(conflict.warnings[1], "conflicting server name \".b.org\" on 0.0.0.0:80, ignored");
    EXPECT_EQ(compile_http(servers({"a*b.org"})).error,
              "invalid server name or wildcard \"a*b.org\" on 0.0.0.0:80");
}

TEST(ServerName, IsChecked) {
    EXPECT_EQ(compile_http("server { server_name *x; }").error,
              "server name \"*x\" is invalid in test.conf:1");
    EXPECT_EQ(compile_http("server { server_name ~; }").error,
              "empty regex in server name \"~\" in test.conf:1");
    const auto slash = compile_http("server { server_name a/b; }");
    ASSERT_EQ(slash.warnings.size(), 1U);
    EXPECT_EQ(slash.warnings[0], "server name \"a/b\" has suspicious symbols in test.conf:1");
}

}  // namespace
}  // namespace moongate::engine
