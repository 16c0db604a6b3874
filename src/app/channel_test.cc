#include "app/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>

#include "app/restart_policy.h"
#include "app/supervisor_protocol.h"

namespace moongate::app {
namespace {

TEST(Channel, KeepsMessagesApartAndCarriesDescriptors) {
    auto ends = make_channel_pair();
    ASSERT_TRUE(ends);
    auto& [left, right] = *ends;
    int pipe_fds[2];
    ASSERT_EQ(::pipe(pipe_fds), 0);
    const UniqueFd reader(pipe_fds[0]);
    ASSERT_TRUE(left.send("first"));
    ASSERT_TRUE(left.send("second", {&pipe_fds[1], 1}));
    ::close(pipe_fds[1]);

    const auto first = right.receive();
    ASSERT_TRUE(first);
    EXPECT_EQ(first->body, "first");
    EXPECT_TRUE(first->fds.empty());
    const auto second = right.receive();
    ASSERT_TRUE(second);
    EXPECT_EQ(second->body, "second");
    ASSERT_EQ(second->fds.size(), 1U);
    EXPECT_TRUE(::fcntl(second->fds[0].get(), F_GETFD) & FD_CLOEXEC);
    ASSERT_EQ(::write(second->fds[0].get(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
}

TEST(Channel, CarriesTheLargestMessageAndRefusesALargerOne) {
    auto ends = make_channel_pair();
    ASSERT_TRUE(ends);
    const std::string largest(Channel::kMaxBytes, 'a');
    ASSERT_TRUE(ends->first.send(largest));
    EXPECT_EQ(ends->second.receive()->body, largest);
    EXPECT_EQ(ends->first.send(largest + "a").error().kind, ErrorKind::TooLarge);
}

TEST(Channel, TellsNothingYetFromTheOtherSideGone) {
    auto ends = make_channel_pair();
    ASSERT_TRUE(ends);
    EXPECT_EQ(ends->first.receive().error().kind, ErrorKind::TimedOut);
    EXPECT_FALSE(ends->first.wait_readable(0));
    ASSERT_TRUE(ends->second.send("last"));
    ends->second.close();
    EXPECT_EQ(ends->first.receive()->body, "last");
    EXPECT_EQ(ends->first.receive().error().kind, ErrorKind::Closed);
    EXPECT_FALSE(ends->first.send("nobody"));
}

TEST(Channel, DoesNotWaitForASideThatDoesNotRead) {
    auto ends = make_channel_pair();
    ASSERT_TRUE(ends);
    const std::string large(Channel::kMaxBytes, 'a');
    Status sent;
    for (int i = 0; i < 1000 && sent; ++i) {
        sent = ends->first.send(large);
    }
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().kind, ErrorKind::Exhausted);
}

TEST(SupervisorProtocol, ListenersSurviveTheRoundTrip) {
    std::string body(protocol::kListeners);
    body += protocol::format_listener({"unix:/tmp/with space", SOCK_STREAM, 0, 7}, true);
    body += protocol::format_listener({"[::1]:80", SOCK_DGRAM, 3, 9}, false);
    const auto lines = protocol::parse_listeners(body);
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[0].socket.name, "unix:/tmp/with space");
    EXPECT_TRUE(lines[0].attached);
    EXPECT_EQ(lines[1].socket.type, SOCK_DGRAM);
    EXPECT_EQ(lines[1].socket.copy, 3U);
    EXPECT_FALSE(lines[1].attached);
}

TEST(SupervisorProtocol, MessagesStayOneLineEachAndFitTheChannel) {
    std::vector<Message> messages{{LogLevel::Emerg, "a\nforged"}, {LogLevel::Warn, "b"}};
    auto parsed = protocol::parse_messages(protocol::format_reload_failed(7, messages));
    ASSERT_EQ(parsed.size(), 2U);
    EXPECT_EQ(parsed[0].text, "a forged");
    EXPECT_EQ(parsed[1].level, LogLevel::Warn);
    EXPECT_EQ(protocol::parse_sequence("reload-failed 7\nx", protocol::kReloadFailed), 7U);
    messages.assign(10'000, {LogLevel::Emerg, "twenty characters or so"});
    EXPECT_LE(protocol::format_reload_failed(7, messages).size(), Channel::kMaxBytes);
}

TEST(SupervisorProtocol, RefusesWhatItDoesNotKnow) {
    EXPECT_FALSE(protocol::parse_open("open x /etc/shadow"));
    EXPECT_FALSE(protocol::parse_open("open"));
    EXPECT_EQ(protocol::parse_open("open a /var/log/x y")->path, "/var/log/x y");
    EXPECT_EQ(protocol::parse_open("open a /x")->mode, OpenMode::Append);
    EXPECT_FALSE(protocol::parse_sequence("reload x", protocol::kReload));
    EXPECT_FALSE(protocol::parse_errno("errno -1"));
}

TEST(RestartPolicy, PausesOnlyForThoseThatKeepDyingEarly) {
    using std::chrono::milliseconds;
    RestartPolicy policy;
    for (int i = 0; i < RestartPolicy::kFreeRestarts; ++i) {
        EXPECT_EQ(policy.pause_after(milliseconds(5)), milliseconds(0));
    }
    EXPECT_EQ(policy.pause_after(milliseconds(5)), milliseconds(100));
    EXPECT_EQ(policy.pause_after(milliseconds(5)), milliseconds(200));
    for (int i = 0; i < 40; ++i) {
        EXPECT_LE(policy.pause_after(milliseconds(5)), RestartPolicy::kLongestPause);
    }
    EXPECT_EQ(policy.pause_after(milliseconds(1000)), milliseconds(0));
    EXPECT_EQ(policy.pause_after(milliseconds(5)), milliseconds(0));
}

}  // namespace
}  // namespace moongate::app
