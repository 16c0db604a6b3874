// RequestBody: the body of a request once it was read whole: in memory up to
// client_body_buffer_size, else in a temporary file, which is removed with the request unless
// client_body_in_file_only is on. Owned by the request's arena. Source: nginx's client_body_*
// directives.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "engine/core_settings.h"
#include "http/exchange.h"

namespace moongate::engine {

class Request;

struct RequestBody {
    // Contiguous where it is in memory.
    std::string_view memory;
    int file = -1;  // ≥ 0: the whole body is in this file
    std::uint64_t size = 0;
    std::string_view file_name;  // $request_body_file, NUL-terminated; empty without a file
    bool remove_file = false;    // with the request

    RequestBody() = default;
    RequestBody(const RequestBody&) = delete;
    RequestBody& operator=(const RequestBody&) = delete;
    ~RequestBody();

    http::BodyPart part() const {
        return file >= 0 ? http::BodyPart{{}, file, 0, size} : http::BodyPart{memory, -1, 0, 0};
    }
};

// Reads the body whole if that has not been done; then request.body is set (empty for a request
// without one). Errors carry the HTTP status to answer with in `code`: 413, 408, 400, 500.
async::Task<Status> read_request_body(Request& request);

// Replaces the body (ngx.req.set_body_data, set_body_file, a subrequest's). Content-Length is set
// to match.
void set_request_body(Request& request, std::string_view data);
Status set_request_body_file(Request& request, std::string_view path, bool remove_later);

// A body made piece by piece (ngx.req.init_body, append_body, finish_body): kept in memory up to
// `in_memory` bytes, then in a temporary file. Until finish() the request has its former body.
class NewRequestBody {
public:
    NewRequestBody(Request& request, std::size_t in_memory);
    NewRequestBody(const NewRequestBody&) = delete;
    NewRequestBody& operator=(const NewRequestBody&) = delete;

    Status append(std::string_view data);
    Status finish();

private:
    Request& request_;
    RequestBody* body_;
    std::size_t in_memory_;
    std::string pending_;
};

// Reads and forgets what is left of the body, within the limits of lingering
// (ngx.req.discard_body).
async::Task<Status> discard_request_body(Request& request);

// A new temporary file below `directory`, readable and writable, mode 0600; directories of the
// levels, and `directory` itself, are made where they do not exist. Unlinked already, unless `name`
// receives its path. Any thread.
Result<int> open_temporary_file(std::string_view directory, std::string* name,
                                const TempLevels& levels = {});

}  // namespace moongate::engine
