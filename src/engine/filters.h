// Response filters. A location has the filters that its settings need, in order; each passes the
// head and every piece of the body on to the next with next_head() and next_body(), and the last
// step writes to the Exchange. A filter that must not wait is a plain function; one that waits is a
// coroutine that co_awaits the next.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "http/exchange.h"

namespace moongate::engine {

class Request;

// A piece of the response's body. Parts live until the task that was given them ends.
struct BodyChunk {
    std::span<const http::BodyPart> parts;
    http::WriteFlags flags;

    std::size_t size() const {
        std::size_t bytes = 0;
        for (const http::BodyPart& part : parts) {
            bytes += part.size();
        }
        return bytes;
    }
};

// Where in the location's filter list a step stands: hand `next` on to next_head()/next_body().
using FilterPosition = std::uint32_t;

struct Filter {
    std::string_view name;  // a literal
    // At most one of each pair is set; none: the filter takes no part.
    // A failing adjust_head ends the response (nothing has been sent then).
    Status (*adjust_head)(Request&) = nullptr;
    async::Task<Status> (*head)(Request&, FilterPosition next) = nullptr;
    async::Task<Status> (*body)(Request&, BodyChunk, FilterPosition next) = nullptr;
};

// The head of the response, as request.response describes it, through the filters from `from` on.
async::Task<Status> next_head(Request& request, FilterPosition from);
async::Task<Status> next_body(Request& request, BodyChunk chunk, FilterPosition from);
// Behind all filters and behind the order of subrequests (output_order.h): to the exchange, as fast
// as limit_rate allows.
async::Task<Status> write_response(Request& request, BodyChunk chunk);

}  // namespace moongate::engine
