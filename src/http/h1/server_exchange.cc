#include "http/h1/server_exchange.h"

#include <charconv>
#include <cstring>

#include "http/h1_writer.h"

namespace moongate::http::h1 {
namespace {

using async::Io;

constexpr std::size_t kMinRawRoom = 1024;

// A field whose text is the engine's own: there is nothing to check in it.
void append_own(ByteWriter& writer, std::string_view name, std::string_view value) {
    writer.append(name);
    writer.append(value);
    writer.append("\r\n");
}

Error client_error(ErrorKind kind, std::string_view detail, int status) {
    return {.kind = kind, .side = ErrorSide::Client, .code = status, .detail = detail};
}

}  // namespace

ServerExchange::~ServerExchange() {
    watch_peer(nullptr, nullptr);
}

void ServerExchange::fail(int status, std::string_view log_text, std::string_view detail) {
    failure_ = {status, log_text, detail};
    keep_alive_ = false;
    body_ended_ = true;
    timed_out_ = status == 408;
    if (!head_.headers.arena()) {
        head_.headers.bind(arena_);
    }
    sent_before_ = session_.output_.sent_bytes();
}

void ServerExchange::parse(std::string_view head, const ParseLimits& limits) {
    head_bytes_ = head.size();
    // Empty lines before the request line are not part of it (RFC 9112 §2.2).
    raw_head_ = head.substr(std::min(head.find_first_not_of("\r\n"), head.size()));
    sent_before_ = session_.output_.sent_bytes();
    const ParseResult parsed = parse_request_head(head, limits, arena_, head_);
    if (!parsed) {
        fail(http_status(parsed.error), client_log_text(parsed.error), parsed.detail);
        return;
    }
    framing_ = request_framing(head_, arena_);
    if (framing_.error != HeadError::None) {
        fail(http_status(framing_.error), client_log_text(framing_.error));
        return;
    }
    keep_alive_ = framing_.keep_alive;
    continue_due_ = framing_.expect_continue;
    body_left_ = framing_.content_length;
    body_ended_ = framing_.body == BodyKind::None ||
                  (framing_.body == BodyKind::Length && framing_.content_length == 0);
    if (framing_.body == BodyKind::Chunked) {
        decoder_.emplace(arena_);
    }
}

std::string_view ServerExchange::protocol() const {
    if (failure_.status != 0 && head_.request_line.empty()) {
        return "";
    }
    return head_.minor == 0 ? "HTTP/1.0" : "HTTP/1.1";
}

const HeaderList& ServerExchange::request_trailers() const {
    static const HeaderList kNone{};
    return decoder_ && decoder_->done() ? decoder_->trailers() : kNone;
}

std::uint64_t ServerExchange::bytes_sent() const {
    return session_.output_.sent_bytes() + session_.output_.buffered() - sent_before_;
}

// --- the request's body

async::Task<Status> ServerExchange::send_continue(Milliseconds timeout) {
    continue_due_ = false;
    if (started_ || session_.unread() > 0) {
        co_return Status{};  // the client did not wait
    }
    session_.output_.append("HTTP/1.1 100 Continue\r\n\r\n");
    co_return co_await session_.output_.flush(timeout);
}

async::Task<Result<std::size_t>> ServerExchange::read_body(char* to, std::size_t room,
                                                           Milliseconds timeout) {
    if (body_ended_) {
        co_return 0;
    }
    if (continue_due_) {
        if (Status sent = co_await send_continue(timeout); !sent) {
            co_return sent.error();
        }
    }
    co_return co_await (decoder_ ? read_chunked(to, room, timeout)
                                 : read_length(to, room, timeout));
}

Result<std::size_t> ServerExchange::took(std::size_t bytes) {
    body_seen_ += bytes;
    if (body_limit_ != 0 && body_seen_ > body_limit_) {
        keep_alive_ = false;
        return client_error(ErrorKind::TooLarge, "client intended to send too large chunked body",
                            413);
    }
    return bytes;
}

async::Task<Result<std::size_t>> ServerExchange::read_length(char* to, std::size_t room,
                                                             Milliseconds timeout) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(room, body_left_));
    std::size_t got = std::min(want, session_.unread());
    if (got > 0) {
        std::memcpy(to, session_.input_.data() + session_.begin_, got);
        session_.begin_ += static_cast<std::uint32_t>(got);
    } else {
        for (;;) {
            if (!co_await session_.io_.readable(timeout)) {
                keep_alive_ = false;
                timed_out_ = true;
                co_return client_error(ErrorKind::TimedOut, "client timed out", 408);
            }
            const ssize_t moved = session_.io_.try_read(to, want);
            if (moved == Io::kWouldBlock) {
                continue;
            }
            if (moved <= 0) {
                keep_alive_ = false;
                co_return client_error(ErrorKind::Closed, "client prematurely closed connection",
                                       400);
            }
            got = static_cast<std::size_t>(moved);
            break;
        }
    }
    body_left_ -= got;
    body_wire_bytes_ += got;
    body_ended_ = body_left_ == 0;
    co_return took(got);
}

async::Task<Result<std::size_t>> ServerExchange::read_chunked(char* to, std::size_t room,
                                                              Milliseconds timeout) {
    for (;;) {
        while (session_.unread() > 0) {
            const ChunkedDecoder::Step step =
                decoder_->next(session_.unread_bytes().substr(0, room));
            session_.begin_ += static_cast<std::uint32_t>(step.consumed);
            body_wire_bytes_ += step.consumed;
            switch (step.event) {
                case ChunkedDecoder::Event::Data:
                    std::memcpy(to, step.data.data(), step.data.size());
                    co_return took(step.data.size());
                case ChunkedDecoder::Event::Done:
                    body_ended_ = true;
                    co_return 0;
                case ChunkedDecoder::Event::Error:
                    keep_alive_ = false;
                    co_return client_error(ErrorKind::Protocol, "client sent invalid chunked body",
                                           400);
                case ChunkedDecoder::Event::NeedMore:
                    break;
            }
        }
        // The head's views lie in the front of the input: raw bytes go behind it, or into a buffer
        // of their own while the exchange keeps the head's.
        if (session_.input_.capacity() - session_.end_ < kMinRawRoom) {
            auto* kept = arena_.make<Buffer>(std::move(session_.input_));
            static_cast<void>(kept);
            session_.input_ = Buffer(Buffer::kMedium);
            session_.begin_ = session_.end_ = 0;
        }
        if (!co_await session_.io_.readable(timeout)) {
            keep_alive_ = false;
            timed_out_ = true;
            co_return client_error(ErrorKind::TimedOut, "client timed out", 408);
        }
        const ssize_t moved = session_.fill();
        if (moved == 0 || moved == Io::kFailed) {
            keep_alive_ = false;
            co_return client_error(ErrorKind::Closed, "client prematurely closed connection", 400);
        }
    }
}

// --- the response

async::Task<Status> ServerExchange::send_informational(int status, const HeaderList& headers) {
    if (started_ || head_.minor == 0) {
        co_return Status{};  // HTTP/1.0 knows no interim responses (RFC 9110 §15.2)
    }
    Output& output = session_.output_;
    ByteWriter writer(output.reserve(status_line_size(status) + headers_size(headers) + 2));
    char* const start = writer.position();
    writer.append_status_line(status);
    write_headers(writer, headers);
    writer.append("\r\n");
    output.commit(static_cast<std::size_t>(writer.position() - start));
    co_return co_await output.flush(session_.policy_.send_timeout);
}

void ServerExchange::start_response(const ResponseStart& start) {
    started_ = true;
    has_body_ = start.has_body;
    const bool http11 = head_.minor >= 1;
    keep_alive_ = keep_alive_ && start.keep_alive && !continue_due_;
    if (has_body_ && start.content_length < 0) {
        chunked_ = http11 && start.may_chunk;
        keep_alive_ = keep_alive_ && chunked_;
    }
    promised_ = has_body_ ? start.content_length : -1;

    std::size_t bytes = 512;  // the fixed parts below, with their names
    bytes += start.status_text.size() + start.server.size() + start.content_type.size() +
             start.charset.size() + start.last_modified.size() + start.location.size();
    if (start.headers != nullptr) {
        bytes += headers_size(*start.headers);
    }
    Output& output = session_.output_;
    ByteWriter writer(output.reserve(bytes));
    char* const first = writer.position();
    writer.append_status_line(start.status, start.status_text);
    if (!start.server.empty()) {
        append_own(writer, "Server: ", start.server);
    }
    if (!start.date.empty()) {
        append_own(writer, "Date: ", start.date);
    }
    if (!start.content_type.empty()) {
        writer.append("Content-Type: ");
        writer.append_value(start.content_type);
        if (!start.charset.empty()) {
            writer.append("; charset=");
            writer.append_value(start.charset);
        }
        writer.append("\r\n");
    }
    if (start.content_length >= 0) {
        writer.append("Content-Length: ");
        writer.append_number(static_cast<std::uint64_t>(start.content_length));
        writer.append("\r\n");
    }
    if (!start.last_modified.empty()) {
        append_own(writer, "Last-Modified: ", start.last_modified);
    }
    if (!start.location.empty()) {
        writer.append_header("Location", start.location);
    }
    if (chunked_) {
        writer.append("Transfer-Encoding: chunked\r\n");
    }
    if (start.status == 101) {
        writer.append("Connection: upgrade\r\n");
    } else if (keep_alive_) {
        writer.append("Connection: keep-alive\r\n");
        if (start.keep_alive_header_s != 0) {
            writer.append("Keep-Alive: timeout=");
            writer.append_number(start.keep_alive_header_s);
            writer.append("\r\n");
        }
    } else {
        writer.append("Connection: close\r\n");
    }
    if (start.headers != nullptr) {
        write_headers(writer, *start.headers);
    }
    writer.append("\r\n");
    output.commit(static_cast<std::size_t>(writer.position() - first));
}

namespace {

// The first `bytes` of `parts`, which have more.
std::span<const BodyPart> first_bytes(Arena& arena, std::span<const BodyPart> parts,
                                      std::size_t bytes) {
    const auto kept = arena.make_array<BodyPart>(parts.size());
    std::size_t count = 0;
    for (const BodyPart& part : parts) {
        if (bytes == 0) {
            break;
        }
        const std::size_t size = std::min(part.size(), bytes);
        BodyPart& first = kept[count++] = part;
        first.bytes = first.bytes.substr(0, size);
        first.file_size = part.file >= 0 ? size : 0;
        bytes -= size;
    }
    return kept.first(count);
}

}  // namespace

async::Task<Status> ServerExchange::write(std::span<const BodyPart> parts, WriteFlags flags,
                                          Milliseconds timeout) {
    Output& output = session_.output_;
    std::size_t bytes = 0;
    for (const BodyPart& part : parts) {
        bytes += part.size();
    }
    if (!has_body_ || ended_) {
        parts = {};
        bytes = 0;
    } else if (promised_ >= 0) {
        if (bytes > static_cast<std::uint64_t>(promised_)) {
            // What Content-Length said is sent; more would be read as the next response.
            bytes = static_cast<std::size_t>(promised_);
            parts = first_bytes(arena_, parts, bytes);
            keep_alive_ = false;
        }
        promised_ -= static_cast<std::int64_t>(bytes);
    }
    char prefix[kChunkHeaderMax];
    std::size_t prefix_size = 0;
    std::string_view suffix;
    // A response that was cut short must not look complete.
    const bool finish_chunks = chunked_ && flags.last && !ended_ && !aborted_;
    if (chunked_ && bytes > 0) {
        prefix_size = write_chunk_header(bytes, prefix);
        suffix = kChunkEnd;
    }
    if (finish_chunks) {
        if (trailers_ != nullptr && !trailers_->empty()) {
            const std::size_t size = last_chunk_size(*trailers_);
            char* text = arena_.allocate_chars(size + 2);
            std::memcpy(text, suffix.data(), suffix.size());
            suffix = {text, suffix.size() + write_last_chunk(*trailers_, text + suffix.size())};
        } else {
            suffix = suffix.empty() ? kLastChunk : std::string_view("\r\n0\r\n\r\n");
        }
    }
    body_sent_ += bytes;
    ended_ = ended_ || flags.last;
    const bool hold =
        !flags.last && !flags.flush &&
        output.buffered() + bytes + prefix_size + suffix.size() < session_.policy_.postpone_output;
    return output.write({prefix, prefix_size}, parts, suffix, hold, timeout);
}

// --- the connection

void ServerExchange::watch_peer(void (*call)(void* context), void* context) {
    async::Io& io = session_.io_;
    if (!io.is_open()) {
        return;
    }
    io.registration().on_peer_closed = call;
    io.registration().peer_closed_context = context;
}

Exchange::Raw ServerExchange::take_over() {
    taken_over_ = true;
    const std::string_view received = session_.unread_bytes();
    session_.begin_ = session_.end_;
    return {&session_.io_, received};
}

}  // namespace moongate::http::h1
