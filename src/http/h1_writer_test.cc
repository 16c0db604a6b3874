// Serialised heads, and the checks that keep foreign text from ending a line.
#include "http/h1_writer.h"

#include <gtest/gtest.h>

namespace moongate::http {
namespace {

std::string status_text(int status, std::string_view text = {}) {
    std::string line(status_line_size(status, text), '\0');
    ByteWriter writer(line.data());
    writer.append_status_line(status, text);
    EXPECT_EQ(writer.position(), line.data() + line.size());
    return line;
}

TEST(H1Writer, StatusLinesAreNginxs) {
    EXPECT_EQ(status_line(200), "HTTP/1.1 200 OK\r\n");
    EXPECT_EQ(status_text(200), "HTTP/1.1 200 OK\r\n");
    EXPECT_EQ(status_text(302), "HTTP/1.1 302 Moved Temporarily\r\n");
    EXPECT_EQ(status_text(507), "HTTP/1.1 507 Insufficient Storage\r\n");
    EXPECT_EQ(status_text(100), "HTTP/1.1 100 Continue\r\n");
    EXPECT_EQ(status_text(203), "HTTP/1.1 203 \r\n");
    EXPECT_EQ(status_text(999), "HTTP/1.1 999 \r\n");
    EXPECT_EQ(status_text(404, "404 Gone fishing"), "HTTP/1.1 404 Gone fishing\r\n");
    EXPECT_EQ(status_line(0), "");
    EXPECT_EQ(status_line(-5), "");
    EXPECT_EQ(status_line(600), "");
}

TEST(H1Writer, WritesHeadsOfTheAnnouncedSize) {
    Arena arena;
    ResponseHead response;
    response.status = 200;
    response.headers.bind(arena);
    response.headers.add("Server", "nginx");
    response.headers.add("X-Empty", "");
    std::string text(response_head_size(response), '\0');
    EXPECT_EQ(write_response_head(response, text.data()), text.size());
    EXPECT_EQ(text, "HTTP/1.1 200 OK\r\nServer: nginx\r\nX-Empty: \r\n\r\n");

    HeaderList headers(arena);
    headers.add("Host", "a");
    text.resize(request_head_size("GET", "/x?y", headers));
    EXPECT_EQ(write_request_head("GET", "/x?y", 0, headers, text.data()), text.size());
    EXPECT_EQ(text, "GET /x?y HTTP/1.0\r\nHost: a\r\n\r\n");
}

TEST(H1Writer, WritesNumbers) {
    for (std::uint64_t n :
         {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{1234567890}, ~std::uint64_t{0}}) {
        char text[kMaxDecimalDigits];
        ByteWriter writer(text);
        writer.append_number(n);
        EXPECT_EQ(std::string(text, writer.position()), std::to_string(n));
    }
}

TEST(H1Writer, RefusesTextThatWouldEndTheLine) {
    EXPECT_TRUE(valid_header_name("X-A_b.c!"));
    for (std::string_view name : {"", "a b", "a:", "a\r\n", "a\x80", "a(b)"}) {
        EXPECT_FALSE(valid_header_name(name)) << name;
    }
    EXPECT_TRUE(valid_header_value(""));
    EXPECT_TRUE(valid_header_value("a\tb \xff"));
    for (std::string_view value :
         {std::string_view("a\rb"), std::string_view("a\nb"), std::string_view("a\0b", 3)}) {
        EXPECT_FALSE(valid_header_value(value));
    }
    EXPECT_TRUE(valid_request_target("/a?b\xff"));
    for (std::string_view target : {"", "/a b", "/a\r\n", "/a\x7f", "/a\t"}) {
        EXPECT_FALSE(valid_request_target(target));
    }
}

}  // namespace
}  // namespace moongate::http
