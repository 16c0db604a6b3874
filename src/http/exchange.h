// Exchange: one request and its response on a client's connection, whatever the HTTP version. It is
// the seam between protocol sessions (h1/, later h2/ and h3/), which implement it, and the engine,
// which reads the request and writes the response through it. Lives from the end of the request's
// head to the last byte of the response; belongs to the connection's worker.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "async/io.h"
#include "async/task.h"
#include "base/arena.h"
#include "base/result.h"
#include "http/framing.h"
#include "http/head.h"

namespace moongate::http {

// An IPv4, IPv6 or (unnamed) unix address, in a quarter of the room of a sockaddr_storage: every
// open connection has two of them.
struct SocketAddress {
    union {
        sockaddr any;
        sockaddr_in v4;
        sockaddr_in6 v6;
    };

    SocketAddress() : v6{} {}
    sa_family_t family() const { return any.sa_family; }
    // 0 for unix.
    std::uint16_t port() const {
        return family() == AF_INET || family() == AF_INET6 ? ntohs(v4.sin_port) : std::uint16_t{0};
    }
};

// What somebody keeps with a client's connection; freed with it.
struct ConnectionData {
    virtual ~ConnectionData() = default;
    const void* owner = nullptr;
    std::unique_ptr<ConnectionData> next;
};

// What is known of a client's connection; outlives its exchanges.
struct ConnectionInfo {
    std::uint64_t number = 0;    // $connection: unique in the process
    std::uint64_t requests = 0;  // $connection_requests: the current one included
    std::uint64_t start_ms = 0;  // Clock::monotonic_ms() at accept
    SocketAddress remote;
    SocketAddress local;
    std::string_view remote_ip;  // $remote_addr: text without the port, or "unix:"
    std::uint16_t remote_port = 0;
    bool tls = false;
    std::unique_ptr<ConnectionData> data;  // a list; mostly empty
};

// A piece of a body: bytes in memory, or a range of an open file.
struct BodyPart {
    std::string_view bytes;
    int file = -1;  // ≥ 0: `file_size` bytes from `offset` instead of `bytes`
    off_t offset = 0;
    std::size_t file_size = 0;

    std::size_t size() const { return file >= 0 ? file_size : bytes.size(); }
};

struct WriteFlags {
    bool flush = false;  // do not hold anything back to fill packets
    bool last = false;   // the response ends with these parts
};

// The head of a response as the engine decided it. All views live until start_response() returns.
struct ResponseStart {
    int status = 200;
    std::string_view status_text;  // replaces the reason phrase: "404 Gone fishing"
    std::string_view server;       // each of these empty: the field is left out
    std::string_view date;
    std::string_view content_type;
    std::string_view charset;
    std::string_view last_modified;
    std::string_view location;
    std::int64_t content_length = -1;  // -1: unknown, the session frames the body itself
    bool has_body = true;    // false: HEAD, 204, 304: no bytes follow whatever content_length says
    bool may_chunk = true;   // chunked_transfer_encoding
    bool keep_alive = true;  // false: the connection ends with this response
    std::uint32_t keep_alive_header_s = 0;  // "Keep-Alive: timeout=N"; 0: not sent
    const HeaderList* headers = nullptr;    // all other fields, in order
};

// Why a request could not be taken up: its head was malformed, too large or too slow. The engine
// answers with `status` and logs `log_text` without running any phase.
struct HeadFailure {
    int status = 0;  // 0: the head is in order
    std::string_view log_text;
    std::string_view detail;  // the bytes at fault
};

// What happens to the connection behind the response; from the settings of the location that
// answered.
struct ConnectionPolicy {
    Milliseconds keep_alive_timeout{75000};
    Milliseconds send_timeout{60000};
    Milliseconds lingering_time{30000};
    Milliseconds lingering_timeout{5000};
    std::uint8_t lingering = 1;  // 0 off, 1 where the client may still be sending, 2 always
    bool reset_timed_out = false;
    std::size_t postpone_output = 1460;
};

class Exchange {
public:
    virtual ~Exchange() = default;

    // --- request
    virtual Arena& arena() = 0;
    // The engine may change its headers (Lua, modules).
    virtual RequestHead& head() = 0;
    // The head's bytes as they came: ngx.req.raw_header().
    virtual std::string_view raw_head() const = 0;
    virtual const RequestFraming& framing() const = 0;
    virtual const HeadFailure& head_failure() const = 0;
    virtual ConnectionInfo& connection() = 0;
    // "HTTP/1.1": $server_protocol.
    virtual std::string_view protocol() const = 0;
    // Bytes of the request received so far, head and body as on the wire: $request_length.
    virtual std::uint64_t request_bytes() const = 0;

    // Body bytes into `to`; 0: the body has ended. Sends "100 Continue" where the client waits for
    // it. `timeout` bounds the wait for the next bytes. Errors: TimedOut (408), Closed (400),
    // Protocol (400), TooLarge (413).
    virtual async::Task<Result<std::size_t>> read_body(char* to, std::size_t room,
                                                       Milliseconds timeout) = 0;
    virtual bool body_ended() const = 0;
    // More body bytes than this (decoded) make read_body fail with TooLarge. 0: no limit.
    virtual void limit_body(std::uint64_t bytes) = 0;
    virtual const HeaderList& request_trailers() const = 0;

    // --- response
    // 1xx other than 101. Written at once.
    virtual async::Task<Status> send_informational(int status, const HeaderList& headers) = 0;
    // Once. Nothing is sent before the first write() that flushes, fills a packet or is the last.
    virtual void start_response(const ResponseStart& start) = 0;
    // The parts need to live until the task ends. Waits while the client reads slowly, up to
    // `timeout` at a time.
    virtual async::Task<Status> write(std::span<const BodyPart> parts, WriteFlags flags,
                                      Milliseconds timeout) = 0;
    // Sent behind the last part where the protocol and the framing allow. Must live until then.
    virtual void set_trailers(const HeaderList* trailers) = 0;
    virtual bool response_started() const = 0;
    // The body goes out in chunks; known once the response has started.
    virtual bool response_chunked() const { return false; }
    virtual std::uint64_t bytes_sent() const = 0;       // $bytes_sent: head included
    virtual std::uint64_t body_bytes_sent() const = 0;  // $body_bytes_sent
    // The response cannot be completed: end the connection (stream) so that the client sees it was
    // cut.
    virtual void abort() = 0;
    // No further request on this connection.
    virtual void disable_keep_alive() = 0;
    // Whether a further request may follow, as far as the request's framing and the session know.
    virtual bool may_keep_alive() const = 0;
    virtual void set_policy(const ConnectionPolicy& policy) = 0;

    // --- the connection under it
    // client closed its side (or broke the connection).
    virtual bool peer_closed() const = 0;
    // `call` runs once from the reactor when that happens; null takes it back. One watcher at a
    // time.
    virtual void watch_peer(void (*call)(void* context), void* context) = 0;

    // Takes the connection over as a byte stream (after 101, or ngx.req.socket(true)): what was
    // received behind the head, and the descriptor. The session ends the connection when the
    // exchange ends. Not for HTTP/2 and 3: null.
    struct Raw {
        async::Io* io;
        std::string_view received;
    };
    virtual Raw take_over() = 0;
};

}  // namespace moongate::http
