// The core variables, computed for requests on a made-up exchange.
#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "engine/paths.h"
#include "engine/request_body.h"
#include "engine/testing_request.h"

namespace moongate::engine {
namespace {

class Variables : public testing::RequestFixture {};

TEST_F(Variables, OfTheRequestLine) {
    make("server_name first.example;", "/a%20b/./c?x=1&Y=2&empty=&x=3");
    EXPECT_EQ(value("uri"), "/a b/c");
    EXPECT_EQ(value("document_uri"), "/a b/c");
    EXPECT_EQ(value("request_uri"), "/a%20b/./c?x=1&Y=2&empty=&x=3");
    EXPECT_EQ(value("request"), "GET /a%20b/./c?x=1&Y=2&empty=&x=3 HTTP/1.1");
    EXPECT_EQ(value("args"), "x=1&Y=2&empty=&x=3");
    EXPECT_EQ(value("is_args"), "?");
    EXPECT_EQ(value("arg_x"), "1");
    EXPECT_EQ(value("arg_y"), "2");
    EXPECT_EQ(value("arg_empty"), "");
    EXPECT_EQ(value("arg_none"), "<none>");
    EXPECT_EQ(value("request_method"), "GET");
    EXPECT_EQ(value("server_protocol"), "HTTP/1.1");
    EXPECT_EQ(value("host"), "first.example");
    EXPECT_EQ(value("server_name"), "first.example");
    EXPECT_EQ(value("nginx_version"), "1.31.5");
    EXPECT_EQ(value("request_id").size(), 32U);
}

TEST_F(Variables, OfHeaders) {
    make("", "/",
         {{"Host", "h"},
          {"X-Real-IP", "1.2.3.4"},
          {"Cookie", "a=1; Bee=2"},
          {"Cookie", "c = 3 "},
          {"X-Many", "1"},
          {"x-many", "2"},
          {"Authorization", "Basic dXNlcjpwYXNz"}});
    EXPECT_EQ(value("http_host"), "h");
    EXPECT_EQ(value("http_x_real_ip"), "1.2.3.4");
    EXPECT_EQ(value("http_x_many"), "1, 2");
    EXPECT_EQ(value("http_x_none"), "<none>");
    EXPECT_EQ(value("http_cookie"), "a=1; Bee=2; c = 3 ");
    EXPECT_EQ(value("cookie_a"), "1");
    EXPECT_EQ(value("cookie_bee"), "2");
    EXPECT_EQ(value("cookie_ee"), "<none>");
    EXPECT_EQ(value("remote_user"), "user");
    EXPECT_EQ(value("content_length"), "<none>");
}

TEST_F(Variables, OfTheConnection) {
    make("", "/");
    auto& connection = exchange_->connection();
    auto& remote = connection.remote.v4;
    remote.sin_family = AF_INET;
    inet_pton(AF_INET, "192.0.2.7", &remote.sin_addr);
    auto& local = connection.local.v6;
    local.sin6_family = AF_INET6;
    local.sin6_port = htons(8080);
    inet_pton(AF_INET6, "2001:db8::1", &local.sin6_addr);
    connection.remote_ip = "192.0.2.7";
    connection.remote_port = 4711;
    connection.number = 5;
    connection.requests = 2;
    EXPECT_EQ(value("remote_addr"), "192.0.2.7");
    EXPECT_EQ(value("remote_port"), "4711");
    EXPECT_EQ(value("binary_remote_addr"), std::string("\xc0\x00\x02\x07", 4));
    EXPECT_EQ(value("server_addr"), "2001:db8::1");
    EXPECT_EQ(value("server_port"), "8080");
    EXPECT_EQ(value("scheme"), "http");
    EXPECT_EQ(value("https"), "");
    EXPECT_EQ(value("connection"), "5");
    EXPECT_EQ(value("connection_requests"), "2");
    EXPECT_EQ(value("request_length"), "123");
}

TEST_F(Variables, OfTheResponse) {
    make("", "/");
    EXPECT_EQ(value("status"), "000");
    request_->response.status = 404;
    request_->response.content_type = "text/html";
    request_->response.content_length = 12;
    request_->response.last_modified = 784111777;
    request_->response.headers.add("X-Up", "1");
    EXPECT_EQ(value("status"), "404");
    EXPECT_EQ(value("sent_http_content_type"), "text/html");
    EXPECT_EQ(value("sent_http_content_length"), "12");
    EXPECT_EQ(value("sent_http_last_modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    EXPECT_EQ(value("sent_http_x_up"), "1");
    EXPECT_EQ(value("sent_http_location"), "<none>");
    EXPECT_EQ(value("body_bytes_sent"), "400");
    EXPECT_EQ(value("request_completion"), "");
}

TEST_F(Variables, ArgsAndLimitRateCanBeSet) {
    make("", "/x?a=1");
    const auto* variable = compiled_.snapshot->variables().find("args");
    variable->set(*request_, variable->data, "b=2");
    EXPECT_EQ(value("args"), "b=2");
    EXPECT_EQ(value("arg_a"), "<none>");
    EXPECT_FALSE(request_->valid_unparsed_uri);
    const auto* rate = compiled_.snapshot->variables().find("limit_rate");
    EXPECT_EQ(value("limit_rate"), "0");
    rate->set(*request_, rate->data, "4k");
    EXPECT_EQ(value("limit_rate"), "4096");
    rate->set(*request_, rate->data, "fast");
    EXPECT_EQ(value("limit_rate"), "4096");
}

class Paths : public testing::RequestFixture {
protected:
    std::string mapped() {
        const auto path = map_uri_to_path(*request_);
        return path ? std::string(path->text()) : "<none>";
    }
};

TEST_F(Paths, RootIsPrefixedToTheUri) {
    make("root /srv/;", "/a/b");
    EXPECT_EQ(mapped(), "/srv/a/b");
    EXPECT_EQ(map_uri_to_path(*request_)->root_length, 4U);
    EXPECT_EQ(value("document_root"), "/srv");
    make("", "/a");
    EXPECT_EQ(value("request_filename"), "/prefix/html/a");
    make("root $arg_r;", "/a?r=rel");
    EXPECT_EQ(mapped(), "/prefix/rel/a");
}

TEST_F(Paths, AliasReplacesTheLocationsPart) {
    make("location /i/ { alias /data/; }", "/i/x/y");
    EXPECT_EQ(mapped(), "/data/x/y");
    request_->valid_location = false;
    EXPECT_EQ(mapped(), "<none>");
    make("location ~ ^/u/(.*)$ { alias /home/$1; }", "/u/me");
    bool redirect = false;
    request_->server->locations.find(request_->uri, *request_, redirect);
    EXPECT_EQ(mapped(), "/home/me");
}

class Body : public testing::RequestFixture {
protected:
    void give(http::BodyKind kind, std::deque<std::string> pieces) {
        std::uint64_t size = 0;
        for (const auto& piece : pieces) {
            size += piece.size();
        }
        exchange_->framing_.body = kind;
        exchange_->framing_.content_length = kind == http::BodyKind::Length ? size : 0;
        exchange_->body = std::move(pieces);
    }
    std::string in_file() const {
        std::string text(request_->body->size, '\0');
        const auto got = ::pread(request_->body->file, text.data(), text.size() + 1, 0);
        return text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
    std::string directory_ = ::testing::TempDir() + "moongate_body_test";
    std::string temp_ = "client_body_temp_path " + directory_ + " 1 2;";
};

TEST_F(Body, NoneIsEmpty) {
    make("", "/");
    ASSERT_TRUE(run(read_request_body(*request_)));
    EXPECT_EQ(request_->body->size, 0U);
    EXPECT_EQ(value("request_body"), "<none>");
}

TEST_F(Body, SmallOnesStayInMemory) {
    make("client_body_buffer_size 16;", "/");
    give(http::BodyKind::Length, {"hello ", "wonderful w", "d"});  // 18: up to a quarter more fits
    ASSERT_TRUE(run(read_request_body(*request_)));
    EXPECT_EQ(request_->body->memory, "hello wonderful wd");
    EXPECT_EQ(value("request_body"), "hello wonderful wd");
    make("", "/");
    std::string big(10000, 'x');
    give(http::BodyKind::Chunked, {big, "y"});
    ASSERT_TRUE(run(read_request_body(*request_)));
    EXPECT_EQ(request_->body->memory, big + "y");
}

TEST_F(Body, LargeOnesGoToAFileThatGoesWithTheRequest) {
    make("client_body_buffer_size 8;" + temp_, "/");
    give(http::BodyKind::Chunked, {"0123456789", "abc", "defghijklmnop"});
    ASSERT_TRUE(run(read_request_body(*request_)));
    EXPECT_EQ(in_file(), "0123456789abcdefghijklmnop");
    EXPECT_EQ(request_->body->size, 26U);
    EXPECT_EQ(value("request_body"), "<none>");
    const std::string name = value("request_body_file");
    // Levels 1 and 2: the last digit, then the two before it.
    const std::string digits = name.substr(name.size() - 10);
    EXPECT_EQ(name, directory_ + "/" + digits.substr(9) + "/" + digits.substr(7, 2) + "/" + digits);
    EXPECT_EQ(::access(name.c_str(), F_OK), 0);
    request_.reset();
    exchange_.reset();
    EXPECT_NE(::access(name.c_str(), F_OK), 0);
}

TEST_F(Body, InFileOnlyKeepsTheFile) {
    make("client_body_in_file_only on;" + temp_, "/");
    give(http::BodyKind::Length, {"abc"});
    ASSERT_TRUE(run(read_request_body(*request_)));
    EXPECT_EQ(in_file(), "abc");
    const std::string name = value("request_body_file");
    request_.reset();
    exchange_.reset();
    EXPECT_EQ(::unlink(name.c_str()), 0);
}

TEST_F(Body, FailuresCarryTheStatusToAnswerWith) {
    make("client_max_body_size 5;", "/");
    give(http::BodyKind::Length, {"123456"});
    EXPECT_EQ(run(read_request_body(*request_)).error().code, 413);
    EXPECT_EQ(exchange_->received, 0U);
    make("client_max_body_size 5;", "/");
    give(http::BodyKind::Chunked, {"123", "456"});
    EXPECT_EQ(run(read_request_body(*request_)).error().code, 413);
    const std::pair<ErrorKind, int> kinds[] = {{ErrorKind::TimedOut, 408},
                                               {ErrorKind::Closed, 400},
                                               {ErrorKind::Protocol, 400},
                                               {ErrorKind::Io, 500}};
    for (const auto& [kind, status] : kinds) {
        make("", "/");
        give(http::BodyKind::Chunked, {"123"});
        exchange_->failure = Error{.kind = kind};
        EXPECT_EQ(run(read_request_body(*request_)).error().code, status);
        EXPECT_EQ(request_->body, nullptr);
    }
}

TEST_F(Body, CanBeReplaced) {
    make("", "/", {{"Transfer-Encoding", "chunked"}});
    set_request_body(*request_, "new");
    EXPECT_EQ(request_->body->memory, "new");
    EXPECT_EQ(value("content_length"), "3");
    EXPECT_EQ(value("http_transfer_encoding"), "<none>");
    EXPECT_FALSE(set_request_body_file(*request_, "/no/such/file", false));
}

TEST_F(Body, DiscardingReadsToTheEnd) {
    make("", "/");
    give(http::BodyKind::Chunked, {"123", "456"});
    ASSERT_TRUE(run(discard_request_body(*request_)));
    EXPECT_EQ(exchange_->received, 6U);
    EXPECT_TRUE(exchange_->body_ended());
}

}  // namespace
}  // namespace moongate::engine
