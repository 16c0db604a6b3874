// Messages between supervisor and engine: one SOCK_SEQPACKET socket pair, each message a text of at
// most 64 KB with up to 128 descriptors attached (SCM_RIGHTS). Message boundaries are the kernel's,
// so a reader never sees half of one; the end of file tells each side that the other died. One
// thread a side.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/unique_fd.h"
#include "base/result.h"

namespace moongate::app {

struct ChannelMessage {
    std::string body;
    std::vector<UniqueFd> fds;
};

class Channel {
public:
    static constexpr std::size_t kMaxBytes = 64 * 1024;
    static constexpr std::size_t kMaxDescriptors = 128;

    Channel() = default;
    explicit Channel(UniqueFd fd) : fd_(std::move(fd)) {}

    int fd() const { return fd_.get(); }
    explicit operator bool() const { return static_cast<bool>(fd_); }
    void close() { fd_.reset(); }

    // Never waits: Exhausted where the other side does not read. Descriptors are duplicated into
    // the message.
    Status send(std::string_view body, std::span<const int> fds = {});
    // Never waits: TimedOut where nothing has arrived; Closed where the other side is gone.
    Result<ChannelMessage> receive();
    // Waits up to `milliseconds` (-1: for ever) until receive() has an answer; false where the time
    // passed.
    bool wait_readable(int milliseconds) const;

private:
    UniqueFd fd_;
};

// Both ends, non-blocking and closed on exec.
Result<std::pair<Channel, Channel>> make_channel_pair();

}  // namespace moongate::app
