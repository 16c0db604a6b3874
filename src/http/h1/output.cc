#include "http/h1/output.h"

#include <limits.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace moongate::http::h1 {
namespace {

using async::Io;

constexpr std::size_t kMaxIov = 64;
// One sendfile call moves at most this much, so that one fast client does not hold the worker.
constexpr std::size_t kFileStep = 512 * 1024;

}  // namespace

char* Output::reserve(std::size_t bytes) {
    if (buffer_.capacity() - end_ >= bytes) {
        return buffer_.data() + end_;
    }
    const std::size_t held = buffered();
    if (begin_ > 0 && buffer_.capacity() >= held + bytes) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, held);
    } else {
        Buffer larger(held + bytes);
        if (held > 0) {
            std::memcpy(larger.data(), buffer_.data() + begin_, held);
        }
        buffer_ = std::move(larger);
    }
    begin_ = 0;
    end_ = static_cast<std::uint32_t>(held);
    return buffer_.data() + end_;
}

void Output::append(std::string_view text) {
    if (!text.empty()) {
        std::memcpy(reserve(text.size()), text.data(), text.size());
        commit(text.size());
    }
}

Error Output::fail(Error error) {
    error.side = ErrorSide::Client;
    failed_ = true;
    failure_ = error.kind;
    begin_ = end_ = 0;
    return error;
}

Result<bool> Output::try_flush() {
    if (failed_) {
        return failure();
    }
    while (begin_ < end_) {
        const ssize_t moved = io_.try_write(buffer_.data() + begin_, end_ - begin_);
        if (moved == Io::kWouldBlock) {
            return false;
        }
        if (moved < 0) {
            return fail(errno_error(errno, "send()"));
        }
        begin_ += static_cast<std::uint32_t>(moved);
        sent_ += static_cast<std::uint64_t>(moved);
    }
    begin_ = end_ = 0;
    return true;
}

async::Task<Status> Output::flush(Milliseconds timeout) {
    const Result<bool> done = try_flush();
    if (!done) {
        return async::Task<Status>::ready(done.error());
    }
    return *done ? async::Task<Status>::ready(Status{}) : wait_and_flush(timeout);
}

async::Task<Status> Output::wait_and_flush(Milliseconds timeout) {
    for (;;) {
        if (!co_await io_.writable(timeout)) {
            co_return fail({.kind = ErrorKind::TimedOut, .detail = "client timed out"});
        }
        const Result<bool> done = try_flush();
        if (!done) {
            co_return done.error();
        }
        if (*done) {
            co_return Status{};
        }
    }
}

async::Task<Status> Output::write(std::string_view prefix, std::span<const BodyPart> parts,
                                  std::string_view suffix, bool hold, Milliseconds timeout) {
    if (failed_) {
        return async::Task<Status>::ready(failure());
    }
    std::size_t bytes = prefix.size() + suffix.size();
    bool files = false;
    for (const BodyPart& part : parts) {
        bytes += part.size();
        files = files || part.file >= 0;
    }
    // Copying a few kilobytes is cheaper than a longer list of parts for the system.
    if (files || buffered() + bytes > (buffer_ ? buffer_.capacity() : Buffer::kSmall)) {
        // What stands around the parts may be the caller's local data: the prefix is copied here.
        append(prefix);
        return send_parts(parts, suffix, timeout);
    }
    char* to = reserve(bytes);
    const auto put = [&to](std::string_view text) {
        if (!text.empty()) {
            std::memcpy(to, text.data(), text.size());
            to += text.size();
        }
    };
    put(prefix);
    for (const BodyPart& part : parts) {
        put(part.bytes);
    }
    put(suffix);
    commit(bytes);
    return hold ? async::Task<Status>::ready(Status{}) : flush(timeout);
}

async::Task<Status> Output::send_parts(std::span<const BodyPart> parts, std::string_view suffix,
                                       Milliseconds timeout) {
    std::size_t next = 0;
    bool suffix_queued = suffix.empty();
    while (next < parts.size() || buffered() > 0 || !suffix_queued) {
        if (next < parts.size() && parts[next].file >= 0) {
            if (buffered() > 0) {
                if (Status flushed = co_await flush(timeout); !flushed) {
                    co_return flushed;
                }
            }
            if (Status sent = co_await send_file(parts[next], timeout); !sent) {
                co_return sent;
            }
            ++next;
            continue;
        }
        iovec list[kMaxIov];
        std::size_t count = 0;
        if (buffered() > 0) {
            list[count++] = {buffer_.data() + begin_, buffered()};
        }
        const std::size_t first = next;
        std::size_t until = next;
        for (; until < parts.size() && parts[until].file < 0 && count < kMaxIov - 1; ++until) {
            if (!parts[until].bytes.empty()) {
                list[count++] = {const_cast<char*>(parts[until].bytes.data()),
                                 parts[until].bytes.size()};
            }
        }
        const bool with_suffix = until == parts.size() && !suffix_queued;
        if (with_suffix) {
            list[count++] = {const_cast<char*>(suffix.data()), suffix.size()};
        }
        std::span<iovec> rest(list, count);
        while (!rest.empty()) {
            const ssize_t moved = io_.try_writev(rest);
            if (moved == Io::kWouldBlock) {
                if (!co_await io_.writable(timeout)) {
                    co_return fail({.kind = ErrorKind::TimedOut, .detail = "client timed out"});
                }
                continue;
            }
            if (moved < 0) {
                co_return fail(errno_error(errno, "writev()"));
            }
            sent_ += static_cast<std::uint64_t>(moved);
            auto left = static_cast<std::size_t>(moved);
            while (!rest.empty() && left >= rest.front().iov_len) {
                left -= rest.front().iov_len;
                rest = rest.subspan(1);
            }
            if (left > 0) {
                rest.front().iov_base = static_cast<char*>(rest.front().iov_base) + left;
                rest.front().iov_len -= left;
            }
        }
        begin_ = end_ = 0;
        next = std::max(until, first);
        suffix_queued = suffix_queued || with_suffix;
    }
    co_return Status{};
}

async::Task<Status> Output::send_file(const BodyPart& part, Milliseconds timeout) {
    off_t offset = part.offset;
    std::size_t left = part.file_size;
    while (left > 0) {
        const ssize_t moved = io_.try_sendfile(part.file, offset, std::min(left, kFileStep));
        if (moved == Io::kWouldBlock) {
            if (!co_await io_.writable(timeout)) {
                co_return fail({.kind = ErrorKind::TimedOut, .detail = "client timed out"});
            }
            continue;
        }
        if (moved < 0) {
            co_return fail(errno_error(errno, "sendfile()"));
        }
        if (moved == 0) {
            // The file became shorter than promised; the framing cannot be kept.
            co_return fail(
                {.kind = ErrorKind::Io, .detail = "file was truncated while it was sent"});
        }
        left -= static_cast<std::size_t>(moved);
        sent_ += static_cast<std::uint64_t>(moved);
        if (left > 0) {
            co_await async::yield(io_.reactor());
        }
    }
    co_return Status{};
}

void Output::release() {
    if (buffered() == 0) {
        buffer_.reset();
        begin_ = end_ = 0;
    }
}

}  // namespace moongate::http::h1
