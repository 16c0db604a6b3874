// What a protocol adds to UpstreamFlow: the bytes of its request, and the reading of its response.
// One object a request, in the request's arena; HTTP/1 is proxy_protocol.h. One worker.
#pragma once

#include <cstdint>
#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "engine/action.h"
#include "http/exchange.h"
#include "http/header_list.h"

namespace moongate::upstream {

// A piece of a response's body, found in the bytes received.
struct BodyStep {
    enum class Kind : std::uint8_t { NeedMore, Data, Done, Error };
    Kind kind = Kind::NeedMore;
    std::size_t consumed = 0;
    std::string_view data;  // a view into the input; for Data alone
};

struct HeadStep {
    enum class Kind : std::uint8_t {
        NeedMore,
        Informational,  // 1xx: another head follows
        Final,
        Invalid,  // logged by the protocol
    };
    Kind kind = Kind::NeedMore;
    std::size_t consumed = 0;  // bytes of the head
};

class Protocol {
public:
    virtual ~Protocol() = default;

    // The request up to its body; built once, the same for every server that is asked.
    virtual std::string_view request_head() = 0;
    // Builds the request anew from what the client's request is by now; `body` receives what to
    // send where it is not streamed. False: it cannot be sent (logged).
    virtual bool rebuild(http::BodyPart& body, bool streamed) = 0;
    // Before a server is asked (again).
    virtual void begin_response() = 0;
    virtual HeadStep read_head(std::string_view bytes) = 0;
    // Of the head read last.
    virtual int status() const = 0;
    virtual const http::HeaderList& headers() const = 0;
    virtual const http::HeaderList* trailers() const = 0;

    // The body, from the bytes behind the head on.
    virtual BodyStep read_body(std::string_view bytes) = 0;
    // The peer ended the connection: true where the body is complete thereby.
    virtual bool ends_with_connection() const = 0;
    virtual bool has_body() const = 0;
    // How many bytes are still needed at least; 0 where nothing is known. Lets small bodies be read
    // without a call too many.
    virtual bool keep_alive() const = 0;
    virtual bool upgraded() const = 0;

    // Turns the head into request.response. Returns what the content phase should do instead of
    // sending it (X-Accel-Redirect), or Kind::Next.
    virtual engine::Action fill_response() = 0;
    virtual async::Task<Status> send_informational() = 0;
};

}  // namespace moongate::upstream
