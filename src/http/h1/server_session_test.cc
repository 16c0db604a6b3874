// The HTTP/1 server session over a socket pair, with a handler that answers what a test tells it
// to.
#include "http/h1/server_session.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>

#include "async/task_group.h"

namespace moongate::http::h1 {
namespace {

class Answering final : public ServerHandler {
public:
    // What handle() does with one request; "" as body means none.
    struct Seen {
        std::string method;
        std::string target;
        std::string body;
        int failure = 0;
        int body_error = 0;
    };

    const HeadPolicy& head_policy() override { return policy; }
    bool draining() const override { return drain; }
    void idle(bool waiting) override { idle_now = waiting; }

    async::Task<void> handle(Exchange& exchange) override {
        Seen one{std::string(exchange.head().method_text),
                 std::string(exchange.head().target),
                 {},
                 exchange.head_failure().status,
                 0};
        if (read_body && one.failure == 0) {
            char room[7];  // odd and small: bodies come in many pieces
            for (;;) {
                const Result<std::size_t> got =
                    co_await exchange.read_body(room, sizeof room, Milliseconds(200));
                if (!got) {
                    one.body_error = got.error().code;
                    break;
                }
                if (*got == 0) {
                    break;
                }
                one.body.append(room, *got);
            }
        }
        const int status = one.failure != 0 ? one.failure : 200;
        seen.push_back(one);
        ResponseStart start;
        start.status = status;
        start.content_length = known_length ? static_cast<std::int64_t>(answer.size()) : -1;
        start.has_body = one.method != "HEAD";
        start.keep_alive = keep_alive;
        exchange.start_response(start);
        const BodyPart part{.bytes = answer};
        static_cast<void>(co_await exchange.write({&part, 1}, {.last = true}, Milliseconds(200)));
    }

    HeadPolicy policy;
    bool drain = false;
    bool idle_now = false;
    bool read_body = true;
    bool known_length = true;
    bool keep_alive = true;
    std::string answer = "hi";
    std::vector<Seen> seen;
};

class ServerSessionTest : public testing::Test {
protected:
    ServerSessionTest() {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        client_ = ends[1];
        server_ = ends[0];
    }
    ~ServerSessionTest() override {
        if (client_ >= 0) {
            ::close(client_);
        }
    }

    static async::Task<void> serve(async::Reactor& reactor, int fd, ConnectionInfo& info,
                                   Answering& handler) {
        async::Io io(reactor, fd);
        ServerSession session(io, info, handler);
        co_await session.run(Milliseconds(200));
    }

    void start() { tasks_.spawn("serve", serve(reactor_, server_, info_, handler_)); }
    void send(std::string_view text) {
        ASSERT_EQ(::write(client_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    void finish_sending() { ::shutdown(client_, SHUT_WR); }

    // Turns the loop until the client has received `text`, or the connection ended, or nothing
    // comes any more.
    std::string receive_until(std::string_view text) {
        for (int turns = 0; turns < 2000 && received_.find(text) == std::string::npos; ++turns) {
            reactor_.run_once(1);
            if (!receive()) {
                break;
            }
        }
        return received_;
    }
    // Turns the loop until the session ended; what the client received in all.
    std::string receive_all() {
        for (int turns = 0; turns < 2000 && tasks_.size() > 0; ++turns) {
            reactor_.run_once(1);
            receive();
        }
        EXPECT_EQ(tasks_.size(), 0U) << "the session is still there";
        while (receive()) {
        }
        return received_;
    }
    bool receive() {
        char room[4096];
        const ssize_t got = ::read(client_, room, sizeof room);
        if (got > 0) {
            received_.append(room, static_cast<std::size_t>(got));
        }
        return got != 0;
    }
    int count(std::string_view text) const {
        int times = 0;
        for (std::size_t at = 0; (at = received_.find(text, at)) != std::string::npos;
             at += text.size()) {
            ++times;
        }
        return times;
    }

    async::Reactor reactor_;
    async::TaskGroup tasks_{reactor_};
    ConnectionInfo info_;
    Answering handler_;
    int client_ = -1;
    int server_ = -1;
    std::string received_;
};

TEST_F(ServerSessionTest, AnswersPipelinedRequestsInOrder) {
    start();
    send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 "
        "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    receive_all();
    ASSERT_EQ(handler_.seen.size(), 3U);
    EXPECT_EQ(handler_.seen[0].target, "/1");
    EXPECT_EQ(handler_.seen[2].target, "/3");
    EXPECT_EQ(count("HTTP/1.1 200 OK\r\n"), 3);
    EXPECT_EQ(count("Connection: close\r\n"), 1);
    EXPECT_EQ(info_.requests, 3U);
}

TEST_F(ServerSessionTest, ReadsBodiesAtEverySplit) {
    const std::string one =
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
        "chunked\r\n\r\n5;x=y\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n";
    const std::string two =
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\nsome body";
    start();
    for (char c : one + two) {
        send({&c, 1});
        reactor_.run_once(0);
        reactor_.run_once(0);
    }
    receive_all();
    ASSERT_EQ(handler_.seen.size(), 2U);
    EXPECT_EQ(handler_.seen[0].body, "hello0123456789abcdef");
    EXPECT_EQ(handler_.seen[1].body, "some body");
}

TEST_F(ServerSessionTest, AnUnreadBodyIsNotTakenForARequest) {
    handler_.read_body = false;
    start();
    send(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 34\r\n\r\nGET /evil HTTP/1.1\r\nHost: "
        "evil\r\n\r\n");
    send("GET /good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    receive_all();
    ASSERT_EQ(handler_.seen.size(), 2U);
    EXPECT_EQ(handler_.seen[1].target, "/good");
}

TEST_F(ServerSessionTest, SendsContinueOnlyWhenTheBodyIsWanted) {
    start();
    send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_NE(receive_until("100 Continue\r\n\r\n").find("HTTP/1.1 100 Continue\r\n\r\n"),
              std::string::npos);
    send("body");
    receive_until("200 OK");
    EXPECT_EQ(handler_.seen.at(0).body, "body");
    handler_.read_body = false;
    received_.clear();
    send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    finish_sending();
    receive_all();
    EXPECT_EQ(count("100 Continue"), 0);
    EXPECT_EQ(count("Connection: close"), 1) << "nobody knows whether the body will come";
}

TEST_F(ServerSessionTest, ChunksWhatHasNoLength) {
    handler_.known_length = false;
    start();
    send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    const std::string all = receive_all();
    EXPECT_EQ(count("Transfer-Encoding: chunked\r\n"), 1);
    EXPECT_NE(all.find("\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK"), std::string::npos) << all;
    EXPECT_TRUE(all.ends_with("Connection: close\r\n\r\nhi")) << all;
}

TEST_F(ServerSessionTest, HeadHasLengthButNoBody) {
    start();
    send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const std::string all = receive_all();
    EXPECT_NE(all.find("Content-Length: 2\r\n"), std::string::npos);
    EXPECT_TRUE(all.ends_with("\r\n\r\n")) << all;
}

TEST_F(ServerSessionTest, MalformedHeadsEndTheConnection) {
    const std::pair<std::string_view, int> cases[] = {
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
         400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
    };
    for (const auto& [text, status] : cases) {
        handler_.seen.clear();
        received_.clear();
        int ends[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        ::close(client_);
        server_ = ends[0];
        client_ = ends[1];
        start();
        send(text);
        send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        finish_sending();
        receive_all();
        ASSERT_EQ(handler_.seen.size(), 1U) << text;
        EXPECT_EQ(handler_.seen[0].failure, status) << text;
    }
}

TEST_F(ServerSessionTest, SlowHeadsTimeOutWith408) {
    handler_.policy.header_timeout = Milliseconds(20);
    start();
    send("GET / HT");
    receive_until("408");
    finish_sending();
    receive_all();
    ASSERT_EQ(handler_.seen.size(), 1U);
    EXPECT_EQ(handler_.seen[0].failure, 408);
}

TEST_F(ServerSessionTest, LargeHeadsAreReadUpToTheLimit) {
    handler_.policy.limits.max_request_line = handler_.policy.limits.max_header_line = 8192;
    start();
    send("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(8000, 'x') +
         "\r\nY: " + std::string(8000, 'y') + "\r\n\r\n");
    receive_until("200 OK");
    ASSERT_EQ(handler_.seen.size(), 1U);
    EXPECT_EQ(handler_.seen[0].failure, 0);
    send("GET /" + std::string(9000, 'u') + " HTTP/1.1\r\nHost: a\r\n\r\n");
    finish_sending();
    receive_all();
    EXPECT_EQ(handler_.seen.at(1).failure, 414);
}

TEST_F(ServerSessionTest, AnIdleConnectionClosesAfterItsTimeout) {
    start();
    receive_all();
    EXPECT_TRUE(handler_.seen.empty());
    EXPECT_EQ(received_, "");
}

TEST_F(ServerSessionTest, ATruncatedBodyIsAnError) {
    start();
    send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    finish_sending();
    receive_all();
    ASSERT_EQ(handler_.seen.size(), 1U);
    EXPECT_EQ(handler_.seen[0].body_error, 400);
}

TEST_F(ServerSessionTest, LargeAnswersCrossASlowSocketWhole) {
    handler_.answer = std::string(3 * 1024 * 1024, 'z');
    start();
    send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const std::string all = receive_all();
    EXPECT_EQ(all.size() - all.find("\r\n\r\n") - 4, handler_.answer.size());
}

}  // namespace
}  // namespace moongate::http::h1
