// Output: the bytes of responses on their way to an HTTP/1 client. Small pieces are gathered in one
// pooled buffer and leave with one system call; large ones go straight from where they are. Owned
// by the session; one worker.
#pragma once

#include <span>
#include <string_view>

#include "async/io.h"
#include "async/task.h"
#include "base/buffer.h"
#include "base/result.h"
#include "http/exchange.h"

namespace moongate::http::h1 {

class Output {
public:
    explicit Output(async::Io& io) : io_(io) {}

    std::size_t buffered() const { return end_ - begin_; }
    // Room for `bytes` at the end of the buffer, which grows; commit() what was written there.
    char* reserve(std::size_t bytes);
    void commit(std::size_t bytes) { end_ += static_cast<std::uint32_t>(bytes); }
    void append(std::string_view text);

    // Buffers or sends: prefix, the parts, suffix. With `hold` everything that fits stays in the
    // buffer. The suffix lives as long as the parts; the prefix is taken at once.
    async::Task<Status> write(std::string_view prefix, std::span<const BodyPart> parts,
                              std::string_view suffix, bool hold, Milliseconds timeout);
    // True where everything buffered was sent at once or there was nothing; false: flush() has to
    // wait.
    Result<bool> try_flush();
    async::Task<Status> flush(Milliseconds timeout);

    // Gives the buffer back to the pool if it is empty.
    void release();
    std::uint64_t sent_bytes() const { return sent_; }
    bool failed() const { return failed_; }

private:
    async::Task<Status> send_parts(std::span<const BodyPart> parts, std::string_view suffix,
                                   Milliseconds timeout);
    async::Task<Status> wait_and_flush(Milliseconds timeout);
    async::Task<Status> send_file(const BodyPart& part, Milliseconds timeout);
    Error fail(Error error);
    Error failure() const {
        return {
            .kind = failure_, .side = ErrorSide::Client, .detail = "the connection failed before"};
    }

    async::Io& io_;
    Buffer buffer_;
    std::uint32_t begin_ = 0;
    std::uint32_t end_ = 0;
    std::uint64_t sent_ = 0;
    bool failed_ = false;
    ErrorKind failure_ = ErrorKind::Io;
};

}  // namespace moongate::http::h1
