// Request and response heads: grammar, limits, what is refused and why, and the same answer at
// every split.
#include "http/h1_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "http/test_reference.h"

namespace moongate::http {
namespace {

struct Parsed {
    Arena arena;
    RequestHead head;
    ParseResult result;
    std::string bytes;
};

std::unique_ptr<Parsed> parse(std::string_view bytes, ParseLimits limits = {}) {
    auto parsed = std::make_unique<Parsed>();
    parsed->bytes = bytes;
    const std::size_t end = find_head_end(parsed->bytes);
    EXPECT_NE(end, std::string_view::npos) << bytes;
    parsed->result = parse_request_head(std::string_view(parsed->bytes).substr(0, end), limits,
                                        parsed->arena, parsed->head);
    return parsed;
}

HeadError error_of(std::string_view bytes, ParseLimits limits = {}) {
    return parse(bytes, limits)->result.error;
}

std::string with_line(std::string_view line) {
    return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(line) + "\r\n\r\n";
}

TEST(H1Parser, ReadsAnOrdinaryRequest) {
    const auto r = parse(
        "GET /a/b?c=d&e HTTP/1.1\r\nHost: example.com:80\r\nX-Empty:\r\nX-Pad: \t v w \t\r\n\r\n");
    ASSERT_TRUE(r->result);
    EXPECT_EQ(r->head.method, Method::Get);
    EXPECT_EQ(r->head.method_text, "GET");
    EXPECT_EQ(r->head.request_line, "GET /a/b?c=d&e HTTP/1.1");
    EXPECT_EQ(r->head.target, "/a/b?c=d&e");
    EXPECT_EQ(r->head.path, "/a/b");
    EXPECT_EQ(r->head.query, "c=d&e");
    EXPECT_TRUE(r->head.has_query);
    EXPECT_EQ(r->head.minor, 1);
    ASSERT_EQ(r->head.headers.size(), 3U);
    EXPECT_EQ(r->head.headers.value(HeaderId::Host), "example.com:80");
    EXPECT_EQ(r->head.headers.value("x-empty"), "");
    EXPECT_EQ(r->head.headers.value("x-pad"), "v w");
}

TEST(H1Parser, TakesEveryTargetForm) {
    auto r = parse("GET HTTP://Host:81/p?q HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(r->result);
    EXPECT_EQ(r->head.form, TargetForm::Absolute);
    EXPECT_EQ(r->head.scheme, "HTTP");
    EXPECT_EQ(r->head.authority, "Host:81");
    EXPECT_EQ(r->head.uri, "/p?q");
    r = parse("GET http://h HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(r->head.uri, "/");
    r = parse("GET http://h?q HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(r->head.uri, "/?q");
    EXPECT_EQ(r->head.query, "q");
    r = parse("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n");
    ASSERT_TRUE(r->result);
    EXPECT_EQ(r->head.form, TargetForm::Authority);
    EXPECT_EQ(r->head.authority, "h:443");
    r = parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_TRUE(r->result);
    EXPECT_EQ(r->head.form, TargetForm::Asterisk);
}

TEST(H1Parser, RefusesBrokenRequestLines) {
    const std::pair<std::string_view, HeadError> rows[] = {
        {"GET / HTTP/1.1\nHost: a\n\n", HeadError::InvalidRequest},
        {"GET /\r\n\r\n", HeadError::Http09},
        {"GET / \r\n\r\n", HeadError::InvalidRequest},
        {"GET  / HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET /  HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET / HTTP/1.1 \r\n\r\n", HeadError::InvalidRequest},
        {"GET\t/ HTTP/1.1\r\n\r\n", HeadError::InvalidMethod},
        {" GET / HTTP/1.1\r\n\r\n", HeadError::InvalidMethod},
        {"G(T / HTTP/1.1\r\n\r\n", HeadError::InvalidMethod},
        {"GET / HTTP/2.0\r\n\r\n", HeadError::InvalidVersion},
        {"GET / HTTP/0.9\r\n\r\n", HeadError::InvalidRequest},
        {"GET / HTTP/1.\r\n\r\n", HeadError::InvalidRequest},
        {"GET / HTTP/1.10\r\n\r\n", HeadError::InvalidRequest},
        {"GET / http/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET a HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET * HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET ?a HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET http:/a HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET http:///a HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET /\x01 HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET /\x7f HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"GET /\r HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"CONNECT /a HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"CONNECT h HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"CONNECT h: HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
        {"CONNECT u@h:1 HTTP/1.1\r\n\r\n", HeadError::InvalidRequest},
    };
    for (const auto& [bytes, error] : rows) {
        EXPECT_EQ(error_of(bytes), error) << bytes;
    }
    EXPECT_EQ(http_status(HeadError::Http09), 400);
    EXPECT_EQ(http_status(HeadError::InvalidVersion), 505);
    EXPECT_TRUE(parse("M-SEARCH~1 /\xc3\xa4 HTTP/1.2\r\nHost: a\r\n\r\n")->result);
}

TEST(H1Parser, RefusesLinesThatPeersReadDifferently) {
    for (std::string_view line :
         {"X: 1\r\n 2", "X: 1\r\n\t2", " X: 1", "X : 1", "X\t: 1", ": 1", "X", "X: a\rb", "X: a\nb",
          "X\r: 1", "X\n: 1", "X: a\x01", "X: a\x7f", "X: a\x0b", "\x7fX: 1", "X\x01: 1"}) {
        EXPECT_EQ(error_of(with_line(line)), HeadError::InvalidHeaderLine) << line;
    }
    EXPECT_EQ(error_of(with_line(std::string_view("X: a\0b", 6))), HeadError::InvalidHeaderLine);
    EXPECT_EQ(error_of(with_line(std::string_view("X\0: b", 5))), HeadError::InvalidHeaderLine);
    EXPECT_TRUE(parse(with_line("X: \xff\x80 a\tb"))->result);
    // The same in values long enough for the wide path.
    const std::string pad(40, 'v');
    EXPECT_EQ(error_of(with_line("X: " + pad + "\x01" + pad)), HeadError::InvalidHeaderLine);
    EXPECT_EQ(error_of(with_line("X: " + pad + "\rX" + pad)), HeadError::InvalidHeaderLine);
}

TEST(H1Parser, TreatsUnusualNamesAsNginxDoes) {
    const std::string lines = with_line("X_y: 1\r\nA.b: 2\r\nX-Long-Name-Of-Twenty_Bytes: 3");
    auto r = parse(lines);
    ASSERT_TRUE(r->result);
    EXPECT_EQ(r->head.headers.size(), 1U);
    EXPECT_EQ(r->result.ignored_headers, 3U);
    EXPECT_EQ(r->result.detail, "X_y: 1");
    r = parse(lines, {.underscores_in_headers = true});
    EXPECT_EQ(r->head.headers.size(), 3U);
    EXPECT_EQ(r->result.ignored_headers, 1U);
    r = parse(lines, {.ignore_invalid_headers = false});
    EXPECT_EQ(r->head.headers.size(), 4U);
    EXPECT_EQ(r->result.ignored_headers, 0U);
    EXPECT_EQ(error_of(with_line("X_ y: 1"), {.ignore_invalid_headers = false}),
              HeadError::InvalidHeaderLine);
}

TEST(H1Parser, RefusesRepeatedSingularHeaders) {
    EXPECT_EQ(error_of(with_line("host: a")), HeadError::DuplicateHost);
    for (std::string name : {"Content-Length", "Transfer-Encoding", "If-Match", "If-None-Match",
                             "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Expect",
                             "Authorization", "Proxy-Authorization", "Content-Range"}) {
        EXPECT_EQ(error_of(with_line(name + ": 1\r\n" + name + ": 1")), HeadError::DuplicateHeader)
            << name;
    }
    EXPECT_TRUE(parse(with_line("Cookie: a\r\nCookie: b\r\nX: 1\r\nX: 1"))->result);
}

TEST(H1Parser, KeepsLimits) {
    const ParseLimits small{
        .max_request_line = 40, .max_header_line = 30, .max_head = 200, .max_headers = 3};
    EXPECT_EQ(error_of("GET /" + std::string(24, 'a') + " HTTP/1.1\r\n\r\n", small),
              HeadError::None);
    EXPECT_EQ(error_of("GET /" + std::string(25, 'a') + " HTTP/1.1\r\n\r\n", small),
              HeadError::UriTooLong);
    EXPECT_EQ(error_of(with_line("X: " + std::string(25, 'a')), small), HeadError::None);
    EXPECT_EQ(error_of(with_line("X: " + std::string(26, 'a')), small), HeadError::HeaderTooLong);
    EXPECT_EQ(error_of(with_line("A: 1\r\nB: 1"), small), HeadError::None);
    EXPECT_EQ(error_of(with_line("A: 1\r\nB: 1\r\nC: 1"), small), HeadError::TooManyHeaders);
    std::string many;
    for (int i = 0; i < 20; ++i) {
        many += "Under_score: 1\r\n";
    }
    EXPECT_EQ(error_of(with_line(many + "A: 1"), small), HeadError::HeadTooLarge);
    EXPECT_EQ(http_status(HeadError::UriTooLong), 414);
    EXPECT_EQ(http_status(HeadError::HeaderTooLong), 494);
}

TEST(H1Parser, SkipsAFewEmptyLines) {
    EXPECT_TRUE(parse("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")->result);
    EXPECT_FALSE(parse("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")->result);
    HeadScan scan;
    EXPECT_NE(scan_request_head("\r\n\r\n\r\n\r\n\r\n\r\n", {}, scan).error, HeadError::None);
}

// The end of the head, or the error, when the bytes come in pieces that `next_size` chooses.
template <class NextSize>
HeadScanResult scan_pieces(std::string_view bytes, const ParseLimits& limits, NextSize next_size) {
    HeadScan scan;
    for (std::size_t have = 0; have < bytes.size();) {
        have = std::min(bytes.size(), have + next_size());
        // A copy of its own, as a buffer that was reallocated.
        const std::string moved(bytes.substr(0, have));
        const HeadScanResult result = scan_request_head(moved, limits, scan);
        if (result.end != 0 || result.error != HeadError::None) {
            return result;
        }
    }
    return {};
}

TEST(HeadScan, FindsTheSameEndAtEverySplit) {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        std::string head = round % 3 == 0 ? "\r\nGET / HTTP/1.1\r\n" : "GET / HTTP/1.1\r\n";
        for (unsigned i = random() % 8; i > 0; --i) {
            head += "X: " + std::string(random() % 50, 'v') + "\r\n";
        }
        head += "\r\n";
        const std::string bytes = head + "body\r\n\r\nmore";
        EXPECT_EQ(find_head_end(bytes), head.size());
        EXPECT_EQ(scan_pieces(bytes, {}, [&] { return bytes.size(); }).end, head.size());
        EXPECT_EQ(scan_pieces(bytes, {}, [] { return std::size_t{1}; }).end, head.size());
        EXPECT_EQ(scan_pieces(bytes, {}, [&] { return std::size_t{random() % 20 + 1}; }).end,
                  head.size());
        for (std::size_t from = 0; from < head.size(); ++from) {
            EXPECT_EQ(find_head_end(std::string_view(bytes).substr(0, from)),
                      std::string_view::npos);
            EXPECT_EQ(find_head_end(bytes, from), head.size());
        }
    }
}

TEST(HeadScan, RefusesEarlyWhatCannotBecomeARequest) {
    const auto error = [](std::string_view bytes, const ParseLimits& limits) {
        return scan_pieces(bytes, limits, [] { return std::size_t{1}; }).error;
    };
    const ParseLimits small{.max_request_line = 20, .max_header_line = 20, .max_head = 60};
    EXPECT_EQ(error("\x16\x03\x01", {}), HeadError::InvalidMethod);
    EXPECT_EQ(error(" ", {}), HeadError::InvalidMethod);
    EXPECT_EQ(error("GET /aaaaaaaaaaaaaaaaaaaaaaa", small), HeadError::UriTooLong);
    EXPECT_EQ(error("GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaa", small),
              HeadError::HeaderTooLong);
    EXPECT_EQ(
        error("GET / HTTP/1.1\r\nA: aaaaaaaaaa\r\nA: aaaaaaaaaa\r\nA: aaaaaaaaaa\r\nA: a", small),
        HeadError::HeadTooLarge);
    EXPECT_EQ(error("GET / HTTP/1.1\r\n", small), HeadError::None);
}

ParseResult parse_response(std::string_view bytes, Arena& arena, ResponseHead& head) {
    return parse_response_head(bytes, {}, arena, head);
}

TEST(H1Parser, ReadsResponses) {
    Arena arena;
    ResponseHead head;
    ASSERT_TRUE(parse_response("HTTP/1.1 404 Not Here\r\nx_y: 1\r\nSet-Cookie: a\x01\r\n\r\n",
                               arena, head));
    EXPECT_EQ(head.status, 404);
    EXPECT_EQ(head.reason, "Not Here");
    EXPECT_EQ(head.status_text, "404 Not Here");
    EXPECT_EQ(head.headers.value("X_Y"), "1");
    ASSERT_TRUE(parse_response("HTTP/1.0 200\r\n\r\n", arena, head));
    EXPECT_EQ(head.reason, "");
    EXPECT_EQ(head.minor, 0);
    EXPECT_EQ(head.headers.size(), 0U);
    ASSERT_TRUE(parse_response("HTTP/1.1 200 \r\n\r\n", arena, head));
    EXPECT_EQ(head.status_text, "200 ");
}

TEST(H1Parser, RefusesBrokenResponses) {
    Arena arena;
    ResponseHead head;
    for (std::string_view bytes :
         {"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
          "HTTP/2 200 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
          "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n",
          "HTTP/1.1 200 OK\n\n", "HTTP/1.1\r\n\r\n"}) {
        EXPECT_EQ(parse_response(bytes, arena, head).error, HeadError::InvalidStatusLine) << bytes;
    }
    for (std::string_view lines :
         {"X: 1\r\n 2\r\n", "X : 1\r\n", ": 1\r\n", "X\r\n", "X: a\nb\r\n"}) {
        const std::string bytes = "HTTP/1.1 200 OK\r\n" + std::string(lines) + "\r\n";
        EXPECT_EQ(parse_response(bytes, arena, head).error, HeadError::InvalidHeaderLine) << bytes;
    }
    EXPECT_EQ(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                             arena, head)
                  .error,
              HeadError::DuplicateHeader);
}

// A field section out of pieces that matter to the grammar, with names and values of all lengths
// around the width of a vector.
std::string random_section(std::mt19937& random) {
    static constexpr std::string_view kNames[] = {"Host",
                                                  "TE",
                                                  "Content-Length",
                                                  "X",
                                                  "User-Agent",
                                                  "access-control-allow-credentials",
                                                  "Sec-WebSocket-Extensions",
                                                  "x_y",
                                                  "a.b",
                                                  "Content-Lengtj",
                                                  "@ost",
                                                  "Transfer-Encoding"};
    static constexpr std::string_view kOdd[] = {" ",    "\t",   "\r",    "\n",
                                                "\x01", "\x7f", "\xff",  ":",
                                                "_",    "\r\n", "\r\n ", std::string_view("\0", 1)};
    const auto odd = [&] { return std::string(kOdd[random() % std::size(kOdd)]); };
    const bool clean = random() % 2 == 0;
    std::string text;
    for (unsigned lines = random() % 6; lines > 0; --lines) {
        std::string name(kNames[random() % std::size(kNames)]);
        if (random() % 3 == 0) {
            name = std::string(random() % 40, 'n');
        }
        for (char& c : name) {
            c = random() % 4 == 0 && is_alpha(c) ? static_cast<char>(c ^ 0x20) : c;
        }
        std::string value(random() % 70, 'v');
        if (!clean && random() % 8 == 0) {
            name.insert(random() % (name.size() + 1), odd());
        }
        if (!clean && random() % 8 == 0) {
            value.insert(random() % (value.size() + 1), odd());
        }
        static constexpr std::string_view kSpaces[] = {" ", "", "\t ", "  "};
        text += name + ":" + std::string(kSpaces[random() % 4]) + value +
                std::string(random() % 4 == 0 ? " \t" : "") + "\r\n";
    }
    return text + "\r\n";
}

TEST(H1Parser, ReadsFieldLinesAsTheModelDoes) {
    std::mt19937 random(11);
    int accepted = 0;
    for (int round = 0; round < 40000; ++round) {
        const std::string text = random_section(random);
        FieldRules rules{.max_line = random() % 4 == 0 ? 40U : 8192U,
                         .max_fields = random() % 8 == 0 ? 2U : 1000U,
                         .drop_invalid_names = random() % 2 == 0,
                         .allow_underscores = random() % 2 == 0,
                         .allow_controls = random() % 2 == 0};
        rules.unique = HeaderIdSet{HeaderId::Host, HeaderId::ContentLength};
        // On the heap and of that very size, so that a sanitizer sees what is read outside.
        const std::vector<char> bytes(text.begin(), text.end());
        Arena arena;
        HeaderList headers(arena);
        const ParseResult got =
            parse_fields({bytes.data(), bytes.data() + bytes.size(), bytes.data()}, rules, headers);
        const reference::Fields want = reference::parse_fields(text, rules);
        ASSERT_EQ(got.error, want.error) << text;
        ASSERT_EQ(got.ignored_headers, want.ignored) << text;
        ASSERT_EQ(got.detail, want.detail) << text;
        ASSERT_EQ(headers.size(), want.kept.size()) << text;
        for (std::size_t i = 0; i < headers.size(); ++i) {
            ASSERT_EQ(headers[i].name, want.kept[i].first) << text;
            ASSERT_EQ(headers[i].value, want.kept[i].second) << text;
            ASSERT_EQ(headers[i].hash, header_hash(headers[i].name)) << text;
            ASSERT_EQ(headers[i].id, header_id(headers[i].name)) << text;
        }
        accepted += got.error == HeadError::None ? 1 : 0;
    }
    EXPECT_GT(accepted, 10000);
}

}  // namespace
}  // namespace moongate::http
