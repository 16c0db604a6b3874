#include "net/syslog_sink.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/clock.h"

namespace moongate::net {
namespace {

using testing::MatchesRegex;

class SyslogServer {
public:
    explicit SyslogServer(int family) : fd_(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        const timeval limit{.tv_sec = 5};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    ~SyslogServer() { ::close(fd_); }

    template <class Address>
    void bind(const Address& address) {
        ASSERT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    std::string bind_udp() {
        bind(sockaddr_in{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}});
        sockaddr_in bound{};
        socklen_t bytes = sizeof bound;
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &bytes);
        return fmt::format("127.0.0.1:{}", ntohs(bound.sin_port));
    }
    std::string receive() {
        char buffer[8192];
        const ssize_t bytes = ::recv(fd_, buffer, sizeof buffer, 0);
        return bytes < 0 ? "(nothing)" : std::string(buffer, static_cast<std::size_t>(bytes));
    }

private:
    int fd_;
};

std::string error_of(std::string_view parameters) {
    const auto settings = parse_syslog(parameters);
    if (!settings) {
        return settings.error();
    }
    const auto sink = make_syslog_sink(*settings);
    return sink ? "" : sink.error();
}

TEST(SyslogSink, SendsNginxsFormOverUdp) {
    Clock::current().update();
    SyslogServer server(AF_INET);
    const auto settings =
        parse_syslog("server=" + server.bind_udp() + ",facility=user,tag=api,severity=debug");
    ASSERT_TRUE(settings);
    const auto sink = make_syslog_sink(*settings);
    ASSERT_TRUE(sink);
    (*sink)->write(LogLevel::Error, "2026/01/01 00:00:00 [error] 1#1: text\n");
    // user (1) * 8 + error (3)
    EXPECT_THAT(server.receive(),
                MatchesRegex("<11>[A-Z][a-z][a-z] [ 1-3][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9] "
                             "[^ ]+ api: 2026/01/01 00:00:00 \\[error\\] 1#1: text"));
    (*sink)->write_access("GET / 200\n");
    EXPECT_THAT(server.receive(), MatchesRegex("<15>.* api: GET / 200"));
    (*sink)->write(LogLevel::Emerg, std::string(10'000, 'x'));
    EXPECT_LT(server.receive().size(), 2200U);
}

TEST(SyslogSink, ComesBackWhenTheUnixServerDoes) {
    Clock::current().update();
    char directory[] = "/tmp/moongate-syslog-XXXXXX";
    ASSERT_NE(::mkdtemp(directory), nullptr);
    const std::string path = std::string(directory) + "/log";
    sockaddr_un address{.sun_family = AF_UNIX};
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const auto sink = make_syslog_sink(*parse_syslog("server=unix:" + path + ",nohostname"));
    ASSERT_TRUE(sink);
    (*sink)->write(LogLevel::Notice, "lost: nobody listens yet\n");
    for (int round = 0; round < 2; ++round) {
        ::unlink(path.c_str());
        SyslogServer server(AF_UNIX);
        server.bind(address);
        (*sink)->write(LogLevel::Notice, "perhaps lost: finds the old server gone\n");
        (*sink)->write(LogLevel::Notice, "arrives\n");
        std::string line = server.receive();
        if (line.find("perhaps") != std::string::npos) {
            line = server.receive();
        }
        EXPECT_THAT(line, MatchesRegex("<189>[A-Z][a-z][a-z] [ 1-3][0-9] [0-9:]+ nginx: arrives"));
    }
    ::unlink(path.c_str());
    ::rmdir(directory);
}

TEST(SyslogSink, MistakesHaveNginxWording) {
    EXPECT_EQ(error_of("server=127.0.0.1"), "");
    EXPECT_EQ(error_of("server=[::1]:5140,nohostname"), "");
    EXPECT_EQ(error_of("facility=user"), "no syslog server specified");
    EXPECT_EQ(error_of("server=a,server=b"), "duplicate syslog \"server\"");
    EXPECT_EQ(error_of("server=a,facility=user,facility=user"), "duplicate syslog \"facility\"");
    EXPECT_EQ(error_of("server=a,facility=nope"), "unknown syslog facility \"nope\"");
    EXPECT_EQ(error_of("server=a,severity=err"), "unknown syslog severity \"err\"");
    EXPECT_EQ(error_of("server=a,tag=a-b"),
              "syslog \"tag\" only allows alphanumeric characters and underscore");
    EXPECT_EQ(error_of("server=a,tag=" + std::string(33, 'a')), "syslog tag length exceeds 32");
    EXPECT_EQ(error_of("server=a,wrong=1"), "unknown syslog parameter \"wrong=1\"");
    EXPECT_EQ(error_of("server=127.0.0.1:99999"),
              "invalid port in syslog server \"127.0.0.1:99999\"");
    EXPECT_EQ(error_of("server="), "no host in syslog server \"\"");
    EXPECT_EQ(error_of("server=unix:"),
              "no path in the unix domain socket in syslog server \"unix:\"");
}

}  // namespace
}  // namespace moongate::net
