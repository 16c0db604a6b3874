// ServerHandler: what a protocol session calls. The engine implements it, one object a connection.
#pragma once

#include "async/task.h"
#include "base/clock.h"
#include "http/exchange.h"
#include "http/h1_parser.h"

namespace moongate::http {

struct HeadPolicy {
    ParseLimits limits;
    std::size_t header_buffer_size = 1024;       // client_header_buffer_size
    std::size_t large_buffers_bytes = 4 * 8192;  // all of large_client_header_buffers
    Milliseconds header_timeout{60000};          // client_header_timeout: for a whole head
    bool operator==(const HeadPolicy&) const = default;
};

class ServerHandler {
public:
    virtual ~ServerHandler() = default;
    // Asked again after each wait, before the request's server is known: valid until the next wait.
    virtual const HeadPolicy& head_policy() = 0;
    // From the head to the log line. The response has been handed to the exchange when the task
    // ends.
    virtual async::Task<void> handle(Exchange& exchange) = 0;
    // No further request shall be read: the worker is ending.
    virtual bool draining() const = 0;
    // The connection waits for a request (true) or has begun one (false): for counters and for
    // closing idle ones.
    virtual void idle(bool waiting) = 0;
};

}  // namespace moongate::http
