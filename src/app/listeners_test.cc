#include "app/listeners.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace moongate::app {
namespace {

using testing::HasSubstr;

class MemorySink final : public LogSink {
public:
    void write(LogLevel, std::string_view line) override { text += line; }
    std::string text;
};

template <class Address>
ListenSpec spec_of(const Address& address) {
    ListenSpec spec;
    std::memcpy(&spec.address, &address, sizeof address);
    spec.address_bytes = sizeof address;
    return spec;
}

ListenSpec loopback(std::uint16_t port) {
    return spec_of(sockaddr_in{
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}});
}

ListenSpec unix_socket(const std::string& path) {
    sockaddr_un address{.sun_family = AF_UNIX};
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return spec_of(address);
}

std::uint16_t free_port() {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof address;
    ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), bytes);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
    return ntohs(address.sin_port);
}

bool accepts(const ListenSpec& spec) {
    const UniqueFd fd(::socket(spec.address.ss_family, SOCK_STREAM, 0));
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&spec.address),
                     spec.address_bytes) == 0;
}

class ListenersTest : public testing::Test {
protected:
    std::shared_ptr<MemorySink> sink_ = std::make_shared<MemorySink>();
    Log log_{{{sink_, LogLevel::Debug}}};
};

TEST_F(ListenersTest, AddressesReadAsInMessages) {
    ListenSpec spec = loopback(8080);
    EXPECT_EQ(address_text(spec.address, spec.address_bytes), "127.0.0.1:8080");
    sockaddr_in6 six{.sin6_family = AF_INET6, .sin6_port = htons(443)};
    six.sin6_addr = in6addr_loopback;
    spec = spec_of(six);
    EXPECT_EQ(address_text(spec.address, spec.address_bytes), "[::1]:443");
    spec = unix_socket("/run/x.sock");
    EXPECT_EQ(address_text(spec.address, spec.address_bytes), "unix:/run/x.sock");
    EXPECT_EQ(address_text(spec.address, offsetof(sockaddr_un, sun_path)), "unix:");
}

TEST_F(ListenersTest, KeepsTheSocketsOfBothSets) {
    const std::uint16_t first = free_port();
    std::optional<ListenerSet> old_set = open_listeners({loopback(first)}, {}, log_);
    ASSERT_TRUE(old_set);
    const int fd = old_set->all().front()->fd.get();
    const std::uint16_t second = free_port();
    auto new_set = open_listeners({loopback(second), loopback(first)}, *old_set, log_);
    ASSERT_TRUE(new_set);
    EXPECT_EQ(new_set->find(fmt::format("127.0.0.1:{}", first), SOCK_STREAM, 0)->fd.get(), fd);
    old_set.reset();
    EXPECT_TRUE(accepts(loopback(first)));
    EXPECT_TRUE(accepts(loopback(second)));
    new_set.reset();
    EXPECT_FALSE(accepts(loopback(first)));
}

TEST_F(ListenersTest, ReuseportOpensOneSocketAWorkerAndGrows) {
    ListenSpec spec = loopback(free_port());
    const auto single = open_listeners({spec}, {}, log_);
    ASSERT_TRUE(single);
    spec.reuseport = true;
    spec.sockets = 3;
    const auto several = open_listeners({spec}, *single, log_);
    ASSERT_TRUE(several) << sink_->text;
    ASSERT_EQ(several->all().size(), 3U);
    EXPECT_EQ(several->all()[0]->fd.get(), single->all()[0]->fd.get());
    EXPECT_NE(several->all()[1]->fd.get(), several->all()[2]->fd.get());
}

TEST_F(ListenersTest, OptionsReachTheSocketAndFollowTheConfiguration) {
    ListenSpec spec = loopback(free_port());
    spec.keepalive = true;
    spec.deferred = true;
    const auto set = open_listeners({spec}, {}, log_);
    ASSERT_TRUE(set);
    configure_listeners(*set, {spec}, log_);
    const int fd = set->all().front()->fd.get();
    const auto option = [fd](int level, int name) {
        int value = -1;
        socklen_t bytes = sizeof value;
        ::getsockopt(fd, level, name, &value, &bytes);
        return value;
    };
    EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_GT(option(IPPROTO_TCP, 9 /* TCP_DEFER_ACCEPT */), 0);
    spec.keepalive = false;
    spec.deferred = false;
    configure_listeners(*set, {spec}, log_);
    EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(option(IPPROTO_TCP, 9), 0);
    EXPECT_EQ(sink_->text, "");
}

TEST_F(ListenersTest, UnixSocketsGoWithTheirLastUser) {
    char directory[] = "/tmp/moongate-listen-XXXXXX";
    ASSERT_NE(::mkdtemp(directory), nullptr);
    const std::string path = std::string(directory) + "/s";
    const auto set = open_listeners({unix_socket(path)}, {}, log_);
    ASSERT_TRUE(set) << sink_->text;
    EXPECT_TRUE(accepts(unix_socket(path)));
    set->remove_socket_files(*set, log_);
    EXPECT_EQ(::access(path.c_str(), F_OK), 0);
    set->remove_socket_files({}, log_);
    EXPECT_EQ(::access(path.c_str(), F_OK), -1);
    // -t leaves nothing behind, and a set that fails halfway neither.
    EXPECT_TRUE(test_listeners({unix_socket(path)}, log_));
    EXPECT_EQ(::access(path.c_str(), F_OK), -1);
    EXPECT_FALSE(
        open_listeners({unix_socket(path), unix_socket("/no/such/directory/s")}, {}, log_));
    EXPECT_EQ(::access(path.c_str(), F_OK), -1);
    EXPECT_THAT(sink_->text, HasSubstr("[emerg]"));
    EXPECT_THAT(
        sink_->text,
        HasSubstr("bind() to unix:/no/such/directory/s failed (2: No such file or directory)"));
    ::rmdir(directory);
}

TEST_F(ListenersTest, InheritsByAddressAndReportsWhatIsNoSocket) {
    const ListenSpec spec = loopback(free_port());
    auto set = open_listeners({spec}, {}, log_);
    ASSERT_TRUE(set);
    EXPECT_EQ(listeners_variable(*set), fmt::format("{};", set->all().front()->fd.get()));
    const int handed = ::dup(set->all().front()->fd.get());
    const ListenerSet inherited = inherit_listeners(fmt::format("{};1000000;x;", handed), log_);
    set.reset();
    ASSERT_EQ(inherited.all().size(), 1U);
    EXPECT_TRUE(::fcntl(handed, F_GETFD) & FD_CLOEXEC);
    EXPECT_THAT(sink_->text,
                HasSubstr("getsockname() of the inherited socket #1000000 failed (9: Bad file"));
    EXPECT_THAT(sink_->text,
                HasSubstr("invalid socket number \"x;\" in NGINX environment variable, ignoring"));
    const auto taken = open_listeners({spec}, inherited, log_);
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->all().front()->fd.get(), handed);
    EXPECT_TRUE(accepts(spec));
}

}  // namespace
}  // namespace moongate::app
