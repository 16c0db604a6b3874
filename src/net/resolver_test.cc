// The resolver against a name server on the loopback: answers, caching, refusals, hostile bytes.
#include "net/resolver.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace moongate::net {
namespace {

// Answers A questions as the test says; everything else with an empty answer.
struct NameServer {
    int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    std::string address;
    int questions = 0;
    std::vector<std::uint32_t> records;  // host order
    std::uint32_t ttl = 60;
    int rcode = 0;
    bool garbage = false;

    NameServer() {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
        socklen_t size = sizeof(at);
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
        address = "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
    }
    ~NameServer() { ::close(fd); }

    static void put16(std::string& to, unsigned value) {
        to += static_cast<char>(value >> 8);
        to += static_cast<char>(value);
    }
    void serve() {
        char bytes[512];
        sockaddr_in from{};
        socklen_t size = sizeof(from);
        ssize_t got = 0;
        while ((got = ::recvfrom(fd, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&from),
                                 &size)) > 12) {
            ++questions;
            std::string name_and_type(bytes + 12, static_cast<std::size_t>(got) - 12);
            std::string reply(bytes, 2);
            const bool is_a = name_and_type[name_and_type.size() - 3] == 1;
            const std::size_t answers = is_a && rcode == 0 ? records.size() : 0;
            put16(reply, 0x8180U | static_cast<unsigned>(rcode));
            put16(reply, 1);
            put16(reply, static_cast<unsigned>(answers));
            put16(reply, 0);
            put16(reply, 0);
            reply += name_and_type;
            for (std::size_t i = 0; i < answers; ++i) {
                put16(reply, 0xc00c);
                put16(reply, 1);
                put16(reply, 1);
                put16(reply, ttl >> 16);
                put16(reply, ttl & 0xffff);
                put16(reply, 4);
                put16(reply, records[i] >> 16);
                put16(reply, records[i] & 0xffff);
            }
            if (garbage) {
                reply.resize(std::min<std::size_t>(reply.size(), 20));
                reply += "\xc0\xff\xc0\xff";
            }
            ::sendto(fd, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
        }
    }
};

struct Names : testing::Test {
    async::Reactor reactor;
    NameServer server;
    std::unique_ptr<Resolver> resolver;
    std::optional<std::expected<Resolved, ResolveError>> result;

    void make(std::int64_t valid_s = -1, bool ipv6 = false) {
        resolver = std::make_unique<Resolver>(
            reactor, ResolverOptions{.servers = server.address, .valid_s = valid_s, .ipv6 = ipv6});
    }
    async::Task<void> ask(std::string name, Milliseconds timeout) {
        result = co_await resolver->resolve(std::move(name), timeout);
    }
    void resolve(std::string name, Milliseconds timeout = Milliseconds(5000)) {
        result.reset();
        async::Task<void> task = ask(std::move(name), timeout);
        task.arm(std::noop_coroutine()).resume();
        for (int i = 0; i < 5000 && !result; ++i) {
            server.serve();
            reactor.run_once(2);
        }
        ASSERT_TRUE(result);
    }
};

TEST_F(Names, AnswersAndCaches) {
    make();
    server.records = {0x0a000001, 0x0a000002};
    resolve("a.test");
    ASSERT_TRUE(result->has_value());
    ASSERT_EQ((*result)->addresses.size(), 2U);
    EXPECT_EQ(ip_string((*result)->addresses[0]), "10.0.0.1");
    resolve("A.TEST");
    EXPECT_EQ(server.questions, 1);
}

TEST_F(Names, BothFamiliesAreAskedAndOneIsEnough) {
    make(-1, true);
    server.records = {0x0a000001};
    resolve("a.test");
    ASSERT_TRUE(result->has_value());
    EXPECT_EQ((*result)->addresses.size(), 1U);
    EXPECT_EQ(server.questions, 2);
}

TEST_F(Names, UnknownNamesAreRememberedForAWhile) {
    make();
    server.rcode = 3;
    resolve("none.test");
    ASSERT_FALSE(result->has_value());
    EXPECT_EQ(result->error().code, 3);
    EXPECT_EQ(result->error().text(), "Host not found");
    resolve("none.test");
    EXPECT_EQ(server.questions, 1);
}

TEST_F(Names, ValidOverridesTheAnswersTime) {
    make(0);
    server.records = {0x0a000001};
    resolve("a.test");
    resolve("a.test");
    EXPECT_EQ(server.questions, 2);
}

TEST_F(Names, TheLastGoodAnswerServesWhenServersFail) {
    make(0);
    server.records = {0x0a000001};
    resolve("a.test");
    server.rcode = 2;
    resolve("a.test");
    ASSERT_TRUE(result->has_value());
    EXPECT_EQ((*result)->addresses.size(), 1U);
}

TEST_F(Names, HostileAnswersAreErrorsAndBounded) {
    make();
    server.records = {0x0a000001};
    server.garbage = true;
    resolve("a.test", Milliseconds(200));
    EXPECT_FALSE(result->has_value());
    server.garbage = false;
    server.records.assign(25, 0x0a000001);
    resolve("b.test");
    ASSERT_TRUE(result->has_value());
    EXPECT_LE((*result)->addresses.size(), DnsClient::kMaxRecords);
}

TEST_F(Names, DestroyingWhileAskingIsSafe) {
    make();
    async::Task<void> task = ask("a.test", Milliseconds(1000));
    task.arm(std::noop_coroutine()).resume();
    reactor.run_once(1);
    task.reset();
    resolver.reset();
    reactor.run_once(1);
}

TEST(ResolverDirective, IsParsed) {
    const auto parse = [](std::vector<std::string> values) { return parse_resolver(values); };
    const auto options = parse({"127.0.0.1", "[::1]:5353", "valid=1m30s", "ipv6=off"});
    ASSERT_TRUE(options);
    EXPECT_EQ(options->servers, "127.0.0.1:53,[::1]:5353");
    EXPECT_EQ(options->valid_s, 90);
    EXPECT_FALSE(options->ipv6);
    EXPECT_EQ(parse({"127.0.0.1", "valid=x"}).error(), "invalid parameter: valid=x");
    EXPECT_EQ(parse({"127.0.0.1", "ipv4=off", "ipv6=off"}).error(),
              "\"ipv4\" and \"ipv6\" cannot both be \"off\"");
}

}  // namespace
}  // namespace moongate::net
