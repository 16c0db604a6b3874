// UpstreamFlow: sending the request. A small one goes in one call from run(); what does not fit is
// sent by a task of its own while the response is already being waited for, so that a server which
// answers early (413, 401) is heard.
#include <array>
#include <cerrno>

#include "http/chunked.h"
#include "upstream/flow.h"

namespace moongate::upstream {

namespace {
constexpr std::size_t kStreamBuffer = 16 * 1024;
constexpr std::size_t kChunkRoom = http::kChunkHeaderMax;
}  // namespace

bool UpstreamFlow::try_send() {
    std::array<iovec, 2> parts{};
    std::size_t count = 0;
    for (const std::string_view piece : {pending_, pending_body_}) {
        if (!piece.empty()) {
            parts[count++] = {const_cast<char*>(piece.data()), piece.size()};
        }
    }
    const ssize_t sent = count == 1 ? connection_->io.try_write(pending_.data(), pending_.size())
                                    : connection_->io.try_writev({parts.data(), count});
    if (sent <= 0) {
        return false;  // send_and_read_head() tries again, and deals with errors
    }
    request_sent_ = true;
    auto bytes = static_cast<std::size_t>(sent);
    log_->last().bytes_sent += bytes;
    const std::size_t of_head = std::min(bytes, pending_.size());
    pending_.remove_prefix(of_head);
    pending_body_.remove_prefix(bytes - of_head);
    body_sent_ = pending_.empty() && pending_body_.empty() && body_.file < 0;
    return body_sent_;
}

async::Task<UpstreamFlow::Fault> UpstreamFlow::write_all(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = connection_->io.try_write(bytes.data(), bytes.size());
        if (sent > 0) {
            request_sent_ = true;
            log_->last().bytes_sent += static_cast<std::uint64_t>(sent);
            bytes.remove_prefix(static_cast<std::size_t>(sent));
            continue;
        }
        if (sent == async::Io::kFailed) {
            co_return fault_of_errno("send()");
        }
        const bool ready = co_await connection_->io.writable(send_timeout_);
        if (!ready) {
            timed_out();
            co_return Fault::Timeout;
        }
    }
    co_return Fault::None;
}

async::Task<UpstreamFlow::Fault> UpstreamFlow::send_file(int file, off_t offset,
                                                         std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t sent =
            connection_->io.try_sendfile(file, offset, std::min<std::size_t>(bytes, 1 << 20));
        if (sent > 0) {
            request_sent_ = true;
            log_->last().bytes_sent += static_cast<std::uint64_t>(sent);
            bytes -= static_cast<std::size_t>(sent);
            co_await async::yield(request_.reactor());
            continue;
        }
        if (sent == 0) {
            log_failure(LogLevel::Alert, "request body file was truncated");
            fault_reason_ = kNextError;
            co_return Fault::Error;
        }
        if (sent == async::Io::kFailed) {
            co_return fault_of_errno("sendfile()");
        }
        const bool ready = co_await connection_->io.writable(send_timeout_);
        if (!ready) {
            timed_out();
            co_return Fault::Timeout;
        }
    }
    co_return Fault::None;
}

async::Task<UpstreamFlow::Fault> UpstreamFlow::send_streamed() {
    // Room for a chunk's frame around what is read.
    Buffer buffer(kStreamBuffer);
    const std::size_t room = buffer.capacity() - kChunkRoom - 2;
    char* data = buffer.data() + kChunkRoom;
    const Milliseconds timeout = read_timeout_;
    while (!request_.exchange.body_ended()) {
        const Result<std::size_t> got = co_await request_.exchange.read_body(data, room, timeout);
        if (!got) {
            const int status = got.error().code >= 400 ? got.error().code : 400;
            answer_ = engine::Action::finish(status);
            co_return Fault::Client;
        }
        if (*got == 0) {
            break;
        }
        std::string_view piece(data, *got);
        if (stream_chunked_) {
            char frame[http::kChunkHeaderMax];
            const std::size_t size = http::write_chunk_header(*got, frame);
            std::memcpy(data - size, frame, size);
            std::memcpy(data + *got, "\r\n", 2);
            piece = {data - size, size + *got + 2};
        }
        const Fault fault = co_await write_all(piece);
        if (fault != Fault::None) {
            co_return fault;
        }
    }
    if (stream_chunked_) {
        co_return co_await write_all(http::kLastChunk);
    }
    co_return Fault::None;
}

async::Task<UpstreamFlow::Fault> UpstreamFlow::send_rest() {
    for (std::string_view* piece : {&pending_, &pending_body_}) {
        const Fault fault = co_await write_all(*piece);
        if (fault != Fault::None) {
            co_return fault;
        }
        *piece = {};
    }
    if (body_.file >= 0) {
        Fault fault = co_await send_file(body_.file, body_.offset, body_.file_size);
        if (fault == Fault::None) {
            fault = co_await write_all(tail_);
        }
        if (fault != Fault::None) {
            co_return fault;
        }
    }
    if (streaming_) {
        const Fault fault = co_await send_streamed();
        if (fault != Fault::None) {
            co_return fault;
        }
    }
    body_sent_ = true;
    co_return Fault::None;
}

// Waits until there is something to read, for as long as the request is being sent.
async::Task<UpstreamFlow::Fault> UpstreamFlow::wait_head() {
    while (!connection_->io.registration().readable) {
        co_await connection_->io.readable(async::kNoDeadline);
    }
    co_return Fault::None;
}

async::Task<UpstreamFlow::Fault> UpstreamFlow::send_and_read_head() {
    async::Background<Fault> sending(request_.reactor());
    if (!sending.start(send_rest())) {
        async::Background<Fault> early(request_.reactor());
        early.start(wait_head());
        co_await async::any_done(sending, early);
        // The answer came first: what is left of the request is not sent, and the connection is
        // not used again (body_sent_ is false).
    }
    if (sending.done()) {
        const Fault fault = sending.take();
        if (fault == Fault::Client || fault == Fault::Timeout) {
            co_return fault;
        }
        if (fault != Fault::None && !connection_->io.registration().readable) {
            co_return fault;
        }
        // After a failed write an answer may still lie in the socket.
    }
    mark_action("reading response header from upstream");
    // With the answer's first bytes here, sending goes on only until its head is complete.
    co_return co_await read_head();
}

}  // namespace moongate::upstream
