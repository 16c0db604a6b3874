// UpstreamFlow: how a request is answered by another server, whatever the protocol: choose a peer,
// take or open a connection, send the request, read the head, perhaps ask the next peer, relay the
// body, give the connection back. One object a request, in its arena; destroying the running task
// (the client left) closes the connection and settles the peer's counts. Source:
// nginx's ngx_http_upstream.c for order, conditions and log lines. One worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "async/background.h"
#include "base/buffer.h"
#include "conf/compiled_string.h"
#include "conf/values.h"
#include "engine/action.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "upstream/connection_pool.h"
#include "upstream/protocol.h"
#include "upstream/upstream.h"
#include "upstream/upstream_worker.h"

namespace moongate::upstream {

// When another server is asked: nginx's NGX_HTTP_UPSTREAM_FT_* (values are ours).
enum NextOn : std::uint32_t {
    kNextError = 1,
    kNextTimeout = 2,
    kNextInvalidHeader = 4,
    kNext500 = 8,
    kNext502 = 16,
    kNext503 = 32,
    kNext504 = 64,
    kNext403 = 128,
    kNext404 = 256,
    kNext429 = 512,
    kNextNonIdempotent = 1024,
    kNextOff = 2048,
};

struct FlowOptions {
    Milliseconds connect_timeout{60000};
    Milliseconds send_timeout{60000};
    Milliseconds read_timeout{60000};
    Milliseconds next_upstream_timeout{0};
    std::uint32_t next_upstream = kNextError | kNextTimeout;
    std::uint64_t next_upstream_tries = 0;
    std::size_t buffer_size = 4096;
    conf::Buffers buffers{8, 4096};
    std::size_t max_temp_file_size = 1024 * 1024 * 1024;
    std::size_t temp_file_write_size = 8192;
    std::string temp_path;
    bool buffering = true;
    bool request_buffering = true;
    bool ignore_client_abort = false;
    bool intercept_errors = false;
    bool socket_keepalive = false;
    int socket_rcvbuf = 0;
    int socket_sndbuf = 0;
    conf::CompiledString limit_rate;
    conf::CompiledString bind;
    bool bind_transparent = false;
};

// One try, for $upstream_*. Without a peer: a separator between two upstreams (" : ").
struct Attempt {
    std::string_view peer;
    int status = 0;
    std::int64_t connect_ms = -1;
    std::int64_t header_ms = -1;
    std::int64_t response_ms = -1;
    std::uint64_t response_length = 0;
    std::uint64_t bytes_received = 0;
    std::uint64_t bytes_sent = 0;
    bool separator = false;
};

struct AttemptLog {
    static constexpr std::size_t kInline = 2;
    std::size_t count = 0;
    Attempt first[kInline];
    std::vector<Attempt> more;

    Attempt& add() {
        ++count;
        return count <= kInline ? (first[count - 1] = Attempt{}) : more.emplace_back();
    }
    const Attempt& operator[](std::size_t i) const {
        return i < kInline ? first[i] : more[i - kInline];
    }
    Attempt& last() { return count <= kInline ? first[count - 1] : more.back(); }
};

class UpstreamFlow {
public:
    UpstreamFlow(engine::Request& request, const FlowOptions& options, Protocol& protocol,
                 std::shared_ptr<const Upstream> upstream);
    UpstreamFlow(const UpstreamFlow&) = delete;
    UpstreamFlow& operator=(const UpstreamFlow&) = delete;
    ~UpstreamFlow();

    // "http://" and what follows the server in log lines: the request's URI at the upstream.
    void describe(std::string_view scheme, std::string_view uri) {
        scheme_ = scheme;
        uri_ = uri;
    }
    // The body to send: one piece in memory or a file (already read), or the client's as it comes.
    void send_body(http::BodyPart part) { body_ = part; }
    // What follows the body's file.
    void send_tail(std::string_view tail) { tail_ = tail; }
    void stream_body(bool chunked) {
        streaming_ = true;
        stream_chunked_ = chunked;
    }
    // X-Accel-Buffering, X-Accel-Limit-Rate.
    void set_buffering(bool on) { buffering_ = on; }
    // Another than options.bind: what else connections were opened with.
    void set_location(const void* owner) { location_ = owner; }

    // The content phase.
    async::Task<engine::Action> run();

    // While a balancer chooses: what was built is thrown away and the request built anew.
    bool rebuild_request();

    // The flow of a request that has one; null otherwise.
    static UpstreamFlow* of(engine::Request& request);
    static const AttemptLog* attempts_of(engine::Request& request);
    const Protocol& protocol() const { return protocol_; }
    bool response_read() const { return response_read_; }

private:
    enum class Fault : std::uint8_t { None, Error, Timeout, InvalidHeader, Status, Client };
    enum class Reading : std::uint8_t { NeedMore, Ready, Failed };

    // --- flow.cc: choosing, retrying, ending
    bool choose();
    void apply_terms();
    void begin_attempt();
    bool take_idle();
    Bucket* own_pool();
    const net::Address* bound_to() const;
    engine::Action no_live_upstreams();
    // Ends the attempt. True: go on with another peer; false: `answer_` is the end.
    bool retry(std::uint32_t reason, int status, Outcome outcome);
    void end_attempt(Outcome outcome);
    // Ends what run() left open, also when its task is destroyed. The arena lives longer than the
    // request, so that the destructor would be too late.
    struct Settle {
        UpstreamFlow& flow;
        ~Settle() { flow.end_attempt(Outcome::Ok); }
    };
    engine::Action client_gone(const Error& error);
    void log_failure(LogLevel level, std::string_view text);
    void log_connect_failure(const Error& error);
    void mark_action(std::string_view action) { request_.log_action = action; }
    ConnectionIdentity identity() const;
    bool status_wants_next(std::uint32_t& reason) const;
    bool intercepted() const;
    void release_connection();
    void remember_for_redirect();
    async::Task<Result<async::Io>> open_connection();
    std::uint32_t method_bits() const;
    bool can_retry(std::uint32_t reason) const;

    // --- send.cc
    // Sends what goes in one call. True: all of it is sent.
    bool try_send();
    async::Task<Fault> send_and_read_head();
    async::Task<Fault> send_rest();
    async::Task<Fault> send_streamed();
    async::Task<Fault> write_all(std::string_view bytes);
    async::Task<Fault> send_file(int file, off_t offset, std::size_t bytes);
    async::Task<Fault> wait_head();
    Fault fault_of_errno(std::string_view call);

    // --- head.cc
    Reading try_read_head();
    async::Task<Fault> read_head();
    void timed_out();

    // --- relay.cc
    struct Segment;
    class Relay;
    async::Task<engine::Action> respond();
    async::Task<engine::Action> relay_unbuffered(std::string_view first);
    async::Task<engine::Action> relay_buffered(std::string_view first);
    // Decodes what lies at `from`, moving later pieces up to the first; the result is one view.
    std::string_view decode(char* from, std::size_t bytes, bool& done, bool& bad);
    engine::Action finish_response(bool complete);
    Milliseconds rate_delay(std::uint64_t received);

    // --- tunnel.cc
    async::Task<engine::Action> tunnel(std::string_view first);

    engine::Request& request_;
    const FlowOptions& options_;
    Protocol& protocol_;
    std::shared_ptr<const Upstream> upstream_;
    UpstreamWorker& worker_;
    const engine::Request* const main_;
    std::optional<PeerSet> own_set_;  // of a transient upstream
    Selection selection_;
    ConnectionPtr connection_;
    Bucket* bucket_ = nullptr;
    std::optional<net::Address> local_;
    Milliseconds connect_timeout_;
    Milliseconds send_timeout_;
    Milliseconds read_timeout_;

    AttemptLog* log_;
    std::string_view scheme_;
    std::string_view uri_;
    const void* location_ = nullptr;
    std::uint64_t started_ms_ = 0;
    std::uint64_t attempt_ms_ = 0;
    engine::Action answer_;

    http::BodyPart body_;
    std::string_view tail_;
    std::string_view pending_;  // of the request's head (and memory body) not sent yet
    std::string_view pending_body_;
    Buffer in_;  // the response's head, and what came with it
    std::size_t in_size_ = 0;
    std::size_t in_at_ = 0;  // behind the head
    bool streaming_ = false;
    bool stream_chunked_ = false;
    bool buffering_ = true;
    bool reused_ = false;         // the connection served requests before
    bool request_sent_ = false;   // bytes of it reached the peer
    bool body_sent_ = false;      // all of the request did
    bool response_read_ = false;  // a head was read: $upstream_http_* mean something
    bool extra_bytes_ = false;    // came behind the response: the connection is not reused
    bool attempt_open_ = false;
    std::uint32_t fault_reason_ = 0;
    std::uint64_t rate_ = 0;
    AttemptLog own_log_;
};

extern int flow_context_slot;

}  // namespace moongate::upstream
