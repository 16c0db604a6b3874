// UpstreamFlow: the response on its way to the client. A body that came whole with its head goes
// out in one piece, after the connection was given back. Otherwise buffered (reading goes on while
// the client takes its time, up to proxy_buffers and then a temporary file) or unbuffered (each
// piece is flushed before the next is read).
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "upstream/flow.h"

namespace moongate::upstream {

using engine::Action;

namespace {
constexpr int kReadsPerTurn = 64;
constexpr std::size_t kLargestRead = 64 * 1024;
constexpr std::size_t kMostParts = 16;
}  // namespace

std::string_view UpstreamFlow::decode(char* from, std::size_t bytes, bool& done, bool& bad) {
    std::string_view input(from, bytes);
    char* first = nullptr;
    std::size_t size = 0;
    for (;;) {
        const BodyStep step = protocol_.read_body(input);
        input.remove_prefix(step.consumed);
        switch (step.kind) {
            case BodyStep::Kind::Data:
                if (first == nullptr) {
                    first = const_cast<char*>(step.data.data());
                } else if (first + size != step.data.data()) {
                    std::memmove(first + size, step.data.data(), step.data.size());
                }
                size += step.data.size();
                continue;  // the decoder may know the end without a further byte
            case BodyStep::Kind::NeedMore:
                break;
            case BodyStep::Kind::Done:
                done = true;
                if (!input.empty()) {
                    // More than was announced: not part of the answer, and a reason not to use the
                    // connection again.
                    extra_bytes_ = true;
                    log_failure(LogLevel::Warn,
                                "upstream sent more data than specified in \"Content-Length\" "
                                "header");
                }
                break;
            case BodyStep::Kind::Error:
                bad = true;
                break;
        }
        break;
    }
    log_->last().response_length += size;
    return {first, size};
}

Action UpstreamFlow::finish_response(bool complete) {
    if (complete) {
        release_connection();
    }
    end_attempt(complete ? Outcome::Ok : Outcome::Failed);
    if (!complete) {
        request_.exchange.abort();
        request_.response.ended = true;
    }
    request_.log_action = {};
    request_.log_upstream = {};
    return Action::done();
}

Milliseconds UpstreamFlow::rate_delay(std::uint64_t received) {
    if (rate_ == 0) {
        return Milliseconds::zero();
    }
    const std::uint64_t due = received * 1000 / rate_;
    const std::uint64_t passed = request_.reactor().now_ms() - attempt_ms_;
    return due > passed ? Milliseconds(due - passed) : Milliseconds::zero();
}

async::Task<Action> UpstreamFlow::respond() {
    const Action instead = protocol_.fill_response();
    if (instead.kind != Action::Kind::Next) {
        if (!protocol_.has_body() && in_at_ == in_size_) {
            release_connection();
        }
        end_attempt(Outcome::Ok);
        if (instead.kind == Action::Kind::Redirect) {
            remember_for_redirect();
        }
        co_return instead;
    }
    std::string_view first(in_.data() + in_at_, in_size_ - in_at_);
    if (protocol_.upgraded()) {
        co_return co_await tunnel(first);
    }
    mark_action("sending to client");
    if (!protocol_.has_body()) {
        if (!first.empty()) {
            extra_bytes_ = true;
        }
        release_connection();
        end_attempt(Outcome::Ok);
        Status sent = co_await request_.send_head();
        if (sent) {
            sent = co_await request_.send_body({{}, {.last = true}});
        }
        co_return finish_response(true);
    }
    if (request_.header_only) {
        // A body we have no use for: it is not worth reading to its end.
        end_attempt(Outcome::Ok);
        Status sent = co_await request_.send_head();
        if (sent) {
            sent = co_await request_.send_body({{}, {.last = true}});
        }
        co_return finish_response(true);
    }
    bool done = false;
    bool bad = false;
    first = decode(in_.data() + in_at_, first.size(), done, bad);
    if (done) {
        // All of it is here: the connection serves others while the client is being written to.
        release_connection();
        end_attempt(Outcome::Ok);
        Status sent = co_await request_.send_head();
        if (sent) {
            const http::BodyPart part{first};
            sent = co_await request_.send_body({{&part, first.empty() ? 0U : 1U}, {.last = true}});
        }
        co_return finish_response(true);
    }
    const Status sent = co_await request_.send_head();
    if (!sent) {
        co_return client_gone(sent.error());
    }
    if (bad) {
        mark_action("reading upstream");
        log_failure(LogLevel::Error, "upstream sent invalid chunked response");
        co_return finish_response(false);
    }
    if (buffering_) {
        co_return co_await relay_buffered(first);
    }
    co_return co_await relay_unbuffered(first);
}

async::Task<Action> UpstreamFlow::relay_unbuffered(std::string_view first) {
    Buffer buffer(std::max<std::size_t>(options_.buffer_size, 4096));
    bool done = false;
    int reads = 0;
    {
        const http::BodyPart part{first};
        const Status sent =
            co_await request_.send_body({{&part, first.empty() ? 0U : 1U}, {.flush = true}});
        if (!sent) {
            end_attempt(Outcome::Ok);
            co_return Action::done();
        }
    }
    while (!done) {
        mark_action("reading upstream");
        if (const Milliseconds delay = rate_delay(log_->last().response_length);
            delay > Milliseconds::zero()) {
            co_await async::sleep(request_.reactor(), delay);
        }
        if (!connection_->io.registration().readable) {
            const bool ready = co_await connection_->io.readable(read_timeout_);
            if (!ready) {
                timed_out();
                co_return finish_response(false);
            }
        } else if (++reads % kReadsPerTurn == 0) {
            co_await async::yield(request_.reactor());
        }
        const ssize_t got = connection_->io.try_read(buffer.data(), buffer.capacity());
        if (got == async::Io::kWouldBlock) {
            continue;
        }
        if (got <= 0) {
            if (got == 0 && protocol_.ends_with_connection()) {
                break;
            }
            if (got == 0) {
                log_failure(LogLevel::Error, "upstream prematurely closed connection");
            } else {
                fault_of_errno("recv()");
            }
            co_return finish_response(false);
        }
        log_->last().bytes_received += static_cast<std::uint64_t>(got);
        bool bad = false;
        const std::string_view data =
            decode(buffer.data(), static_cast<std::size_t>(got), done, bad);
        if (!data.empty()) {
            mark_action("sending to client");
            const http::BodyPart part{data};
            const Status sent = co_await request_.send_body({{&part, 1}, {.flush = true}});
            if (!sent) {
                end_attempt(Outcome::Ok);
                co_return Action::done();
            }
        }
        if (bad) {
            log_failure(LogLevel::Error, "upstream sent invalid chunked response");
            co_return finish_response(false);
        }
    }
    release_connection();
    end_attempt(Outcome::Ok);
    static_cast<void>(co_await request_.send_body({{}, {.last = true}}));
    co_return finish_response(true);
}

// What was read and not yet taken by the client: pieces in memory, or ranges of the temporary file,
// in order.
struct UpstreamFlow::Segment {
    Buffer buffer;  // empty: the bytes are the flow's first buffer, or in the file
    std::string_view bytes;
    off_t offset = 0;
    std::size_t file_size = 0;

    bool in_file() const { return file_size > 0; }
};

class UpstreamFlow::Relay {
public:
    explicit Relay(UpstreamFlow& flow)
        : flow_(flow),
          chunk_(std::clamp(flow.options_.buffers.count * flow.options_.buffers.size / 2,
                            flow.options_.buffers.size, kLargestRead)),
          memory_(std::max(flow.options_.buffers.count * flow.options_.buffers.size, chunk_)) {}
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;
    ~Relay() {
        if (file_ >= 0) {
            ::close(file_);
        }
    }

    bool empty() const { return queue_.empty(); }
    void add_first(std::string_view bytes) {
        if (!bytes.empty()) {
            queue_.push_back({Buffer(), bytes, 0, 0});
        }
    }
    // Where the next read goes; nothing where the queue is full.
    bool make_room() {
        if (filling_ && filled_ < filling_.capacity()) {
            return true;
        }
        const bool in_memory = used_ + chunk_ <= memory_;
        if (!in_memory && !may_spill()) {
            return false;
        }
        filling_ = Buffer(chunk_);
        filled_ = 0;
        spilling_ = !in_memory;
        return true;
    }
    char* room() { return filling_.data() + filled_; }
    std::size_t room_size() const { return std::min(chunk_, filling_.capacity()) - filled_; }

    // Takes decoded bytes that lie in the room.
    Status keep(std::string_view data) {
        if (data.empty()) {
            return {};
        }
        if (spilling_) {
            return spill(data);
        }
        Buffer whole = std::move(filling_);
        used_ += chunk_;
        queue_.push_back({std::move(whole), data, 0, 0});
        filled_ = 0;
        return {};
    }
    // The next batch for the client; its segments stay until it was written.
    async::Task<Status> write(bool last) {
        parts_.clear();
        batch_ = 0;
        for (const Segment& segment : queue_) {
            if (parts_.size() == kMostParts) {
                break;
            }
            parts_.push_back(segment.in_file()
                                 ? http::BodyPart{{}, file_, segment.offset, segment.file_size}
                                 : http::BodyPart{segment.bytes});
            ++batch_;
        }
        static_cast<void>(last);
        return flow_.request_.send_body({parts_, {}});
    }
    void written() {
        for (; batch_ > 0; --batch_) {
            if (queue_.front().buffer) {
                used_ -= chunk_;
            }
            queue_.pop_front();
        }
        if (queue_.empty()) {
            file_end_ = 0;  // the file's space can be used again
        }
    }

private:
    bool may_spill() const {
        return flow_.options_.max_temp_file_size > 0 &&
               static_cast<std::size_t>(file_end_) + chunk_ <= flow_.options_.max_temp_file_size;
    }
    Status spill(std::string_view data) {
        if (file_ < 0) {
            Result<int> opened = engine::open_temporary_file(flow_.options_.temp_path, nullptr);
            if (!opened) {
                return opened.error();
            }
            file_ = *opened;
            flow_.log_failure(LogLevel::Warn,
                              "an upstream response is buffered to a temporary file");
        }
        const off_t begin = file_end_;
        while (!data.empty()) {
            const ssize_t put = ::pwrite(file_, data.data(), data.size(), file_end_);
            if (put < 0 && errno == EINTR) {
                continue;
            }
            if (put <= 0) {
                return errno_error(errno, "pwrite()");
            }
            file_end_ += put;
            data.remove_prefix(static_cast<std::size_t>(put));
        }
        const auto size = static_cast<std::size_t>(file_end_ - begin);
        if (!queue_.empty() && queue_.size() > batch_ && queue_.back().in_file() &&
            queue_.back().offset + static_cast<off_t>(queue_.back().file_size) == begin) {
            queue_.back().file_size += size;
        } else {
            queue_.push_back({Buffer(), {}, begin, size});
        }
        filling_.reset();
        filled_ = 0;
        return {};
    }

    UpstreamFlow& flow_;
    const std::size_t chunk_;
    const std::size_t memory_;
    std::deque<Segment> queue_;
    std::vector<http::BodyPart> parts_;
    std::size_t batch_ = 0;  // segments at the front that are being written
    std::size_t used_ = 0;
    Buffer filling_;
    std::size_t filled_ = 0;
    bool spilling_ = false;
    int file_ = -1;
    off_t file_end_ = 0;
};

namespace {
async::Task<bool> wait_readable(async::Io& io, Milliseconds timeout) {
    co_return co_await io.readable(timeout);
}
}  // namespace

async::Task<Action> UpstreamFlow::relay_buffered(std::string_view first) {
    Relay relay(*this);
    async::Background<Status> writing(request_.reactor());
    async::Background<bool> reading(request_.reactor());
    relay.add_first(first);
    bool done = false;
    bool failed = false;
    int reads = 0;
    for (;;) {
        if (writing.done()) {
            const Status sent = writing.take();
            relay.written();
            if (!sent) {
                end_attempt(Outcome::Ok);  // the client is gone
                co_return Action::done();
            }
        }
        if (!writing.running() && !writing.done() && !relay.empty()) {
            mark_action("sending to client");
            if (writing.start(relay.write(false))) {
                continue;
            }
        }
        if (done || failed) {
            if (!writing.running() && relay.empty()) {
                break;
            }
            co_await async::any_done(writing);
            continue;
        }
        mark_action("reading upstream");
        if (const Milliseconds delay = rate_delay(log_->last().response_length);
            delay > Milliseconds::zero()) {
            co_await async::sleep(request_.reactor(), delay);
        }
        if (!relay.make_room()) {
            co_await async::any_done(writing);
            continue;
        }
        if (!connection_->io.registration().readable) {
            bool ready = true;
            if (writing.running()) {
                if (!reading.running() && !reading.done()) {
                    reading.start(wait_readable(connection_->io, read_timeout_));
                }
                co_await async::any_done(writing, reading);
                if (!reading.done()) {
                    continue;
                }
                ready = reading.take();
            } else {
                if (reading.running() || reading.done()) {
                    reading.cancel();
                }
                ready = co_await connection_->io.readable(read_timeout_);
            }
            if (!ready) {
                timed_out();
                failed = true;
                continue;
            }
        } else if (++reads % kReadsPerTurn == 0) {
            co_await async::yield(request_.reactor());
        }
        const ssize_t got = connection_->io.try_read(relay.room(), relay.room_size());
        if (got == async::Io::kWouldBlock) {
            continue;
        }
        if (got <= 0) {
            if (got == 0 && protocol_.ends_with_connection()) {
                done = true;
                continue;
            }
            if (got == 0) {
                log_failure(LogLevel::Error, "upstream prematurely closed connection");
            } else {
                fault_of_errno("recv()");
            }
            failed = true;
            continue;
        }
        log_->last().bytes_received += static_cast<std::uint64_t>(got);
        bool bad = false;
        const Status kept =
            relay.keep(decode(relay.room(), static_cast<std::size_t>(got), done, bad));
        if (!kept) {
            log_failure(LogLevel::Crit, fmt::format("{} failed {}", kept.error().detail,
                                                    errno_text(kept.error().code)));
            failed = true;
        }
        if (bad) {
            log_failure(LogLevel::Error, "upstream sent invalid chunked response");
            failed = true;
        }
        if (done) {
            // The client may take long; the connection need not wait for it.
            reading.cancel();
            release_connection();
            end_attempt(Outcome::Ok);
        }
    }
    if (failed) {
        co_return finish_response(false);
    }
    static_cast<void>(co_await request_.send_body({{}, {.last = true}}));
    co_return finish_response(true);
}

}  // namespace moongate::upstream
