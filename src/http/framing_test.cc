// Body framing, persistence and hosts: the rules that keep two parsers from seeing two messages in
// one.
#include "http/framing.h"

#include <gtest/gtest.h>

#include "http/h1_parser.h"

namespace moongate::http {
namespace {

class Framing : public testing::Test {
protected:
    // Headers in addition to a Host.
    RequestFraming request(std::string_view lines, std::string_view line = "POST / HTTP/1.1",
                           std::string_view host = "Host: a\r\n") {
        const auto head =
            arena_.concat(line, std::string_view("\r\n"), host, lines, std::string_view("\r\n"));
        const ParseResult parsed = parse_request_head(head, {}, arena_, request_);
        if (!parsed) {
            return {.error = parsed.error};
        }
        return request_framing(request_, arena_);
    }
    ResponseFraming response(std::string_view line, std::string_view lines,
                             Method method = Method::Get) {
        const auto head =
            arena_.concat(line, std::string_view("\r\n"), lines, std::string_view("\r\n"));
        const ParseResult parsed = parse_response_head(head, {}, arena_, response_);
        if (!parsed) {
            return {.error = parsed.error};
        }
        return response_framing(response_, method);
    }
    std::string host(std::string_view text) {
        const auto valid = validate_host(text, arena_);
        return valid ? std::string(valid->host) + " " + std::to_string(valid->port) : "invalid";
    }

    Arena arena_;
    RequestHead request_;
    ResponseHead response_;
};

TEST_F(Framing, RequestBodies) {
    EXPECT_EQ(request("").body, BodyKind::None);
    EXPECT_EQ(request("Content-Length: 0\r\n").body, BodyKind::None);
    EXPECT_TRUE(request("Content-Length: 0\r\n").has_content_length);
    EXPECT_EQ(request("Content-Length: 0012\r\n").content_length, 12U);
    EXPECT_EQ(request("Content-Length: 9223372036854775807\r\n").body, BodyKind::Length);
    EXPECT_EQ(request("Transfer-Encoding: chunked\r\n").body, BodyKind::Chunked);
    EXPECT_EQ(request("transfer-encoding: CHUNKED\r\n").body, BodyKind::Chunked);
}

TEST_F(Framing, RefusesEveryOtherContentLength) {
    for (std::string value :
         {"", "+5", "-5", "0x5", "5,5", "5, 5", "5 5", "5a", "5;", "1_0", "\xc2\xb2",
          "9223372036854775808", "18446744073709551621", "99999999999999999999999"}) {
        EXPECT_EQ(request("Content-Length: " + value + "\r\n").error,
                  HeadError::InvalidContentLength)
            << value;
    }
    EXPECT_EQ(request("Content-Length: 5\r\nContent-Length: 5\r\n").error,
              HeadError::DuplicateHeader);
}

TEST_F(Framing, RefusesEveryOtherTransferEncoding) {
    for (std::string value : {"", ",", "chunked, chunked", "chunked, identity", "chunked;",
                              "\"chunked\"", "chun ked", "chunked\xff", "chunked, gzip"}) {
        const HeadError error = request("Transfer-Encoding: " + value + "\r\n").error;
        EXPECT_TRUE(error == HeadError::InvalidTransferEncoding ||
                    error == HeadError::UnknownTransferEncoding)
            << value;
    }
    for (std::string value :
         {"gzip", "identity", "gzip, chunked", "xchunked", ", chunked", "chunked,"}) {
        EXPECT_EQ(request("Transfer-Encoding: " + value + "\r\n").error,
                  HeadError::UnknownTransferEncoding)
            << value;
    }
    EXPECT_EQ(request("Transfer-Encoding: chunked, chunked\r\n").error,
              HeadError::InvalidTransferEncoding);
    EXPECT_EQ(request("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n").error,
              HeadError::DuplicateHeader);
    EXPECT_EQ(request("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0").error,
              HeadError::EncodingInHttp10);
    EXPECT_EQ(request("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").error,
              HeadError::LengthAndEncoding);
    EXPECT_EQ(request("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n").error,
              HeadError::LengthAndEncoding);
    EXPECT_EQ(http_status(HeadError::UnknownTransferEncoding), 501);
    EXPECT_EQ(http_status(HeadError::LengthAndEncoding), 400);
}

TEST_F(Framing, Persistence) {
    EXPECT_TRUE(request("").keep_alive);
    EXPECT_FALSE(request("Connection: close\r\n").keep_alive);
    EXPECT_FALSE(request("Connection: keep-alive\r\nConnection: x , CLOSE\r\n").keep_alive);
    EXPECT_TRUE(request("Connection: disclosed\r\n").keep_alive);
    EXPECT_FALSE(request("", "GET / HTTP/1.0").keep_alive);
    EXPECT_TRUE(request("Connection: Keep-Alive\r\n", "GET / HTTP/1.0").keep_alive);
}

TEST_F(Framing, UpgradeAndExpect) {
    const auto upgrade =
        request("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", "GET / HTTP/1.1");
    EXPECT_TRUE(upgrade.upgrade);
    EXPECT_EQ(upgrade.upgrade_protocol, "websocket");
    EXPECT_FALSE(request("Upgrade: websocket\r\n").upgrade);
    EXPECT_FALSE(request("Connection: upgrade\r\n").upgrade);
    EXPECT_FALSE(request("Connection: upgrade\r\nUpgrade: h2c\r\n", "GET / HTTP/1.0").upgrade);
    EXPECT_TRUE(request("Expect: 100-Continue\r\nContent-Length: 1\r\n").expect_continue);
    EXPECT_FALSE(request("Expect: 100-continue\r\n").expect_continue);
    EXPECT_EQ(request("Expect: x\r\n").error, HeadError::UnknownExpectation);
    EXPECT_EQ(request("Expect: x\r\n", "POST / HTTP/1.0").error, HeadError::None);
    EXPECT_EQ(request("Content-Length: 1\r\n", "CONNECT a:1 HTTP/1.1").error,
              HeadError::ConnectWithBody);
}

TEST_F(Framing, HostIsRequiredOnceAndValid) {
    EXPECT_EQ(request("", "GET / HTTP/1.1", "").error, HeadError::MissingHost);
    EXPECT_EQ(request("", "GET http://h/ HTTP/1.1", "").error, HeadError::MissingHost);
    EXPECT_EQ(request("", "GET / HTTP/1.0", "").error, HeadError::None);
    EXPECT_EQ(request("Host: a\r\n").error, HeadError::DuplicateHost);
    EXPECT_EQ(request("", "GET / HTTP/1.1", "Host:\r\n").error, HeadError::InvalidHost);
    EXPECT_EQ(request("", "GET / HTTP/1.1", "Host: a/b\r\n").error, HeadError::InvalidHost);
    const auto absolute = request("", "GET http://Real.:81/ HTTP/1.1", "Host: other\r\n");
    EXPECT_EQ(absolute.host, "real");
    EXPECT_EQ(absolute.port, 81);
    EXPECT_EQ(request("", "GET http://u@h/ HTTP/1.1").error, HeadError::InvalidHostInRequestLine);
}

TEST_F(Framing, ReadsHostsOfEveryLengthTheSame) {
    Arena arena;
    for (std::size_t size = 1; size < 50; ++size) {
        std::string plain(size, 'a');
        for (std::size_t i = 1; i + 1 < size; i += 3) {
            plain[i] = i % 2 == 0 ? '.' : '-';
        }
        const std::string with_port = plain + ":8080";
        const auto read = validate_host(with_port, arena);
        ASSERT_TRUE(read) << plain;
        EXPECT_EQ(read->host, plain);
        EXPECT_EQ(read->port, 8080);
        EXPECT_EQ(validate_host(plain, arena)->host, plain);
        EXPECT_EQ(validate_host(plain + ".", arena)->host, plain);
        EXPECT_FALSE(validate_host(plain + "..", arena));
        EXPECT_FALSE(validate_host(plain + ":80x", arena));
        EXPECT_FALSE(validate_host(plain + ":65536", arena));
        for (std::size_t at = 0; at < size; ++at) {
            std::string other = plain;
            other[at] = 'Q';
            std::string lower = plain;
            lower[at] = 'q';
            EXPECT_EQ(validate_host(other, arena)->host, lower);
            other[at] = '/';
            EXPECT_FALSE(validate_host(other, arena)) << other;
            other[at] = '_';
            EXPECT_EQ(validate_host(other, arena)->host, other);
            if (at + 1 < size) {
                other[at] = other[at + 1] = '.';
                EXPECT_FALSE(validate_host(other, arena)) << other;
            }
        }
    }
}

TEST_F(Framing, ValidatesHostsAsNginxDoes) {
    EXPECT_EQ(host("Example.COM"), "example.com 0");
    EXPECT_EQ(host("a.:8080"), "a 8080");
    EXPECT_EQ(host("a:"), "a 0");
    EXPECT_EQ(host("[::1]:65535"), "[::1] 65535");
    EXPECT_EQ(host("[FE80::A]"), "[fe80::a] 0");
    EXPECT_EQ(host("a_b~!$&'()*+,;=%41"), "a_b~!$&'()*+,;=%41 0");
    for (std::string_view text :
         {"",      ".",    ":80", "a..b", "..",       "a:65536", "a:-1",   "a:8x",
          "a:1:2", "a b",  "a@b", "a/b",  "a\\b",     "[::1",    "[::1]x", "[]",
          "[:/]",  "a[b]", "a#b", "a?b",  "\xc3\xa4", "a<b"}) {
        EXPECT_EQ(host(text), "invalid") << text;
    }
    EXPECT_EQ(validate_host(std::string_view("a\0b", 3), arena_).has_value(), false);
}

TEST_F(Framing, ResponseBodies) {
    EXPECT_EQ(response("HTTP/1.1 200 OK", "Content-Length: 3\r\n").body, BodyKind::Length);
    EXPECT_TRUE(response("HTTP/1.1 200 OK", "Content-Length: 3\r\n").keep_alive);
    EXPECT_EQ(response("HTTP/1.1 200 OK", "Content-Length: 0\r\n").body, BodyKind::None);
    EXPECT_EQ(response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n").body,
              BodyKind::Chunked);
    EXPECT_EQ(response("HTTP/1.1 200 OK", "").body, BodyKind::UntilClose);
    EXPECT_FALSE(response("HTTP/1.1 200 OK", "").keep_alive);
    EXPECT_EQ(response("HTTP/1.1 200 OK", "Content-Length: 3\r\n", Method::Head).body,
              BodyKind::None);
    EXPECT_TRUE(
        response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n", Method::Head).keep_alive);
    EXPECT_EQ(response("HTTP/1.1 304 X", "Content-Length: 3\r\n").body, BodyKind::None);
    EXPECT_TRUE(response("HTTP/1.1 304 X", "Content-Length: 3\r\n").keep_alive);
    EXPECT_EQ(response("HTTP/1.1 204 X", "").body, BodyKind::None);
    EXPECT_TRUE(response("HTTP/1.1 204 X", "").keep_alive);
    EXPECT_FALSE(response("HTTP/1.1 204 X", "Content-Length: 3\r\n").keep_alive);
    EXPECT_FALSE(response("HTTP/1.1 204 X", "Transfer-Encoding: chunked\r\n").keep_alive);
    EXPECT_EQ(response("HTTP/1.1 100 X", "").body, BodyKind::None);
    EXPECT_TRUE(response("HTTP/1.1 101 X", "").upgrade);
    EXPECT_EQ(response("HTTP/1.1 200 X", "", Method::Connect).body, BodyKind::None);
    EXPECT_FALSE(response("HTTP/1.0 200 X", "Content-Length: 3\r\n").keep_alive);
}

TEST_F(Framing, RefusesConflictingResponses) {
    EXPECT_EQ(
        response("HTTP/1.1 200 X", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n").error,
        HeadError::LengthAndEncoding);
    EXPECT_EQ(response("HTTP/1.1 200 X", "Content-Length: 1\r\nContent-Length: 2\r\n").error,
              HeadError::DuplicateHeader);
    EXPECT_EQ(response("HTTP/1.1 200 X", "Content-Length: x\r\n").error,
              HeadError::InvalidContentLength);
    EXPECT_EQ(response("HTTP/1.0 200 X", "Transfer-Encoding: chunked\r\n").error,
              HeadError::EncodingInHttp10);
    EXPECT_EQ(response("HTTP/1.1 200 X", "Transfer-Encoding: gzip, chunked\r\n").error,
              HeadError::UnknownTransferEncoding);
}

TEST_F(Framing, RefusesRepeatsInListsBuiltByHand) {
    request_.headers.bind(arena_);
    request_.headers.add("Host", "a");
    request_.headers.add("Content-Length", "1");
    request_.headers.add("content-length", "1");
    EXPECT_EQ(request_framing(request_, arena_).error, HeadError::DuplicateHeader);
}

TEST(HasToken, SplitsAtCommas) {
    EXPECT_TRUE(has_token("a, B ,c", "b"));
    EXPECT_FALSE(has_token("ab,c", "b"));
    EXPECT_FALSE(has_token("", "b"));
}

}  // namespace
}  // namespace moongate::http
