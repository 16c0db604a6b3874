#include "app/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace moongate::app {

Status Channel::send(std::string_view body, std::span<const int> fds) {
    if (body.empty() || body.size() > kMaxBytes || fds.size() > kMaxDescriptors) {
        return Error{.kind = ErrorKind::TooLarge, .detail = "channel message"};
    }
    iovec part{const_cast<char*>(body.data()), body.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    for (;;) {
        if (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
            return {};
        }
        if (errno == EAGAIN || errno == ENOBUFS) {
            return Error{.kind = ErrorKind::Exhausted, .code = errno, .detail = "sendmsg()"};
        }
        if (errno != EINTR) {
            return errno_error(errno, "sendmsg()");
        }
    }
}

Result<ChannelMessage> Channel::receive() {
    ChannelMessage result;
    result.body.resize(kMaxBytes);
    iovec part{result.body.data(), result.body.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t received = -1;
    do {
        received = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0) {
        if (errno == EAGAIN) {
            return Error{.kind = ErrorKind::TimedOut, .code = errno, .detail = "recvmsg()"};
        }
        return errno_error(errno, "recvmsg()");
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            result.fds.emplace_back(fd);
        }
    }
    if (received == 0) {
        return Error{.kind = ErrorKind::Closed, .detail = "channel closed"};
    }
    // A cut message, or descriptors that did not fit the table, would be half a command.
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return Error{.kind = ErrorKind::TooLarge, .detail = "channel message"};
    }
    result.body.resize(static_cast<std::size_t>(received));
    return result;
}

bool Channel::wait_readable(int milliseconds) const {
    pollfd entry{fd_.get(), POLLIN, 0};
    int ready = -1;
    do {
        ready = ::poll(&entry, 1, milliseconds);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

Result<std::pair<Channel, Channel>> make_channel_pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        return errno_error(errno, "socketpair()");
    }
    return std::pair{Channel(UniqueFd(ends[0])), Channel(UniqueFd(ends[1]))};
}

}  // namespace moongate::app
