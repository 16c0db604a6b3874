// Idle connections over socket pairs: order, limits, identity, peers that speak or leave.
#include "upstream/connection_pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace moongate::upstream {
namespace {

struct Pool : testing::Test {
    async::Reactor reactor;
    ConnectionPool pool{reactor};
    KeepaliveSettings settings{.connections = 2};
    std::vector<int> others;
    net::Address address = *net::parse_ip("127.0.0.1", 80);

    ~Pool() override {
        for (const int fd : others) {
            if (fd >= 0) {
                ::close(fd);
            }
        }
    }
    ConnectionPtr open() {
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        others.push_back(pair[1]);
        auto connection = std::make_unique<Connection>();
        connection->io = async::Io(reactor, pair[0]);
        connection->opened_ms = reactor.now_ms();
        return connection;
    }
    Bucket& bucket(std::string identity = {}) {
        return pool.bucket("u", address, ConnectionIdentity(std::move(identity)));
    }
    void settle() {
        for (int i = 0; i < 3; ++i) {
            reactor.run_once(0);
        }
    }
};

TEST_F(Pool, GivesBackTheOneUsedLast) {
    auto a = open();
    auto b = open();
    Connection* last = b.get();
    pool.put(bucket(), std::move(a), settings);
    pool.put(bucket(), std::move(b), settings);
    EXPECT_EQ(pool.idle("u"), 2U);
    EXPECT_EQ(pool.take(bucket()).get(), last);
    EXPECT_EQ(pool.idle("u"), 1U);
}

TEST_F(Pool, TheOneIdleLongestMakesRoom) {
    for (int i = 0; i < 3; ++i) {
        pool.put(bucket(), open(), settings);
    }
    EXPECT_EQ(pool.idle("u"), 2U);
    char byte = 0;
    EXPECT_EQ(::recv(others[0], &byte, 1, MSG_DONTWAIT), 0);   // closed
    EXPECT_EQ(::recv(others[1], &byte, 1, MSG_DONTWAIT), -1);  // open
}

TEST_F(Pool, AnotherIdentityNeverGetsIt) {
    pool.put(bucket("bind a"), open(), settings);
    EXPECT_EQ(pool.take(bucket("bind b")), nullptr);
    EXPECT_EQ(pool.take(bucket()), nullptr);
    EXPECT_NE(pool.take(bucket("bind a")), nullptr);
}

TEST_F(Pool, DropsOneWhosePeerCloses) {
    pool.put(bucket(), open(), settings);
    ::close(std::exchange(others[0], -1));
    settle();
    EXPECT_EQ(pool.idle("u"), 0U);
    EXPECT_EQ(pool.take(bucket()), nullptr);
}

TEST_F(Pool, DropsOneWhosePeerSpeaksUnasked) {
    pool.put(bucket(), open(), settings);
    EXPECT_EQ(::send(others[0], "HTTP/1.1 200 OK\r\n\r\n", 19, 0), 19);
    settle();
    EXPECT_EQ(pool.idle("u"), 0U);
}

TEST_F(Pool, DoesNotKeepWhatServedEnoughOrHoldsBytes) {
    auto used = open();
    used->requests = settings.requests;
    pool.put(bucket(), std::move(used), settings);
    EXPECT_EQ(pool.idle("u"), 0U);
    auto full = open();
    EXPECT_EQ(::send(others.back(), "x", 1, 0), 1);
    settle();
    pool.put(bucket(), std::move(full), settings);
    EXPECT_EQ(pool.idle("u"), 0U);
    pool.put(bucket(), open(), KeepaliveSettings{.connections = 0});
    EXPECT_EQ(pool.idle("u"), 0U);
}

TEST_F(Pool, EndsWhatIsIdleTooLong) {
    settings.timeout = Milliseconds(5);
    pool.put(bucket(), open(), settings);
    const std::uint64_t until = reactor.now_ms() + 2000;
    while (pool.idle("u") != 0 && reactor.now_ms() < until) {
        reactor.run_once(10);
    }
    EXPECT_EQ(pool.idle("u"), 0U);
}

}  // namespace
}  // namespace moongate::upstream
