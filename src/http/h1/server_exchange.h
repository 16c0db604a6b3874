// ServerExchange: one request and response on an HTTP/1 connection. Lives in the frame of the
// session's coroutine. Framing of both directions happens here; bytes are the session's. Source:
// RFC 9112 §6, §7 and §9.
#pragma once

#include <optional>

#include "http/chunked.h"
#include "http/exchange.h"
#include "http/h1/server_session.h"

namespace moongate::http::h1 {

class ServerExchange final : public Exchange {
public:
    explicit ServerExchange(ServerSession& session) : session_(session) {}
    ~ServerExchange() override;

    Arena& arena() override { return arena_; }
    RequestHead& head() override { return head_; }
    std::string_view raw_head() const override { return raw_head_; }
    const RequestFraming& framing() const override { return framing_; }
    const HeadFailure& head_failure() const override { return failure_; }
    ConnectionInfo& connection() override { return session_.connection_; }
    std::string_view protocol() const override;
    std::uint64_t request_bytes() const override { return head_bytes_ + body_wire_bytes_; }

    async::Task<Result<std::size_t>> read_body(char* to, std::size_t room,
                                               Milliseconds timeout) override;
    bool body_ended() const override { return body_ended_; }
    void limit_body(std::uint64_t bytes) override { body_limit_ = bytes; }
    const HeaderList& request_trailers() const override;

    async::Task<Status> send_informational(int status, const HeaderList& headers) override;
    void start_response(const ResponseStart& start) override;
    async::Task<Status> write(std::span<const BodyPart> parts, WriteFlags flags,
                              Milliseconds timeout) override;
    void set_trailers(const HeaderList* trailers) override { trailers_ = trailers; }
    bool response_chunked() const override { return started_ && chunked_; }
    bool response_started() const override { return started_; }
    std::uint64_t bytes_sent() const override;
    std::uint64_t body_bytes_sent() const override { return body_sent_; }
    void abort() override { aborted_ = true; }
    void disable_keep_alive() override { keep_alive_ = false; }
    bool may_keep_alive() const override { return keep_alive_; }
    void set_policy(const ConnectionPolicy& policy) override { session_.policy_ = policy; }

    bool peer_closed() const override { return session_.io_.peer_closed(); }
    void watch_peer(void (*call)(void* context), void* context) override;
    Raw take_over() override;

private:
    friend class ServerSession;

    void parse(std::string_view head, const ParseLimits& limits);
    void fail(int status, std::string_view log_text, std::string_view detail = {});
    async::Task<Result<std::size_t>> read_length(char* to, std::size_t room, Milliseconds timeout);
    async::Task<Result<std::size_t>> read_chunked(char* to, std::size_t room, Milliseconds timeout);
    Result<std::size_t> took(std::size_t bytes);
    async::Task<Status> send_continue(Milliseconds timeout);

    ServerSession& session_;
    Arena arena_;
    RequestHead head_;
    RequestFraming framing_;
    HeadFailure failure_;
    std::string_view raw_head_;
    std::optional<ChunkedDecoder> decoder_;
    std::uint64_t head_bytes_ = 0;
    std::uint64_t body_wire_bytes_ = 0;
    std::uint64_t body_left_ = 0;  // of a Content-Length
    std::uint64_t body_seen_ = 0;  // decoded
    std::uint64_t body_limit_ = 0;
    std::uint64_t body_sent_ = 0;
    std::uint64_t sent_before_ = 0;  // the connection's count at the start
    std::int64_t promised_ = -1;     // Content-Length of the response still to be written
    const HeaderList* trailers_ = nullptr;
    bool body_ended_ = true;
    bool continue_due_ = false;  // the client waits for "100 Continue"
    bool keep_alive_ = false;
    bool started_ = false;
    bool chunked_ = false;
    bool has_body_ = true;
    bool ended_ = false;
    bool aborted_ = false;
    bool taken_over_ = false;
    bool timed_out_ = false;  // the client was too slow: it is not waited for at the end either
};

}  // namespace moongate::http::h1
