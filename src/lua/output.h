// Output: what ngx.say, print, flush and eof have produced. Bytes gather in a buffer; they pass the
// response's filters when the buffer is full, at a flush, at the end, and at once where the
// location has Lua filters. The head passes the filters at the first output, as in ngx_lua; nothing
// reaches the socket before a flush, a full packet or the end. Belongs to a Context.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "async/event.h"
#include "async/task.h"
#include "base/result.h"

namespace moongate::engine {
class Request;
}

namespace moongate::lua {

struct Context;

class Output {
public:
    Output() = default;
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;
    ~Output();

    // Room for `bytes` more bytes, which the caller fills.
    char* reserve(Context& context, std::size_t bytes);
    // Status, type and head, if that was not done. False: the response failed.
    bool begin(Context& context);
    // Behind reserve(): sends where it is time to.
    bool commit(Context& context);
    // What was gathered goes out; false: the response failed.
    bool flush(Context& context);
    // co_await finish(): everything is sent, and the response ends.
    async::Task<Status> finish(Context& context);
    // The same without waiting for it (ngx.eof).
    bool start_finish(Context& context);

    // Nothing more goes this way: the connection is a raw request socket from now on.
    void take_over();
    bool taken_over() const { return taken_over_; }

    // Gives up what is being sent: the phase that produced it is cancelled or has failed.
    void cancel();

    bool head_started() const { return head_started_; }
    bool buffering() const { return buffering_; }
    bool eof() const { return eof_; }
    bool has_data() const { return seen_data_; }
    bool failed() const { return failed_; }
    bool busy() const { return busy_; }
    // The status that a filter wants instead of this response; 0: none.
    int refusal() const { return refusal_; }
    // For waiting until busy() is false.
    async::Event& idle(Context& context);

    bool type_set = false;     // Lua set Content-Type
    bool headers_set = false;  // Lua set some header

private:
    struct Buffer {
        char* data = nullptr;
        std::size_t size = 0;
        std::size_t capacity = 0;
        bool heap = false;
    };

    void prepare_head(Context& context);
    bool kick(Context& context);
    async::Task<void> pump(engine::Request& request);
    void grow(Context& context, std::size_t bytes);

    Buffer filling_;
    Buffer sending_;
    async::Task<void> pump_;
    std::optional<async::Event> idle_;
    std::size_t send_at_ = 0;  // bytes that are worth passing on
    int refusal_ = 0;
    bool head_prepared_ = false;
    bool head_started_ = false;  // ngx.headers_sent
    bool head_sent_ = false;     // given to the filters
    bool buffering_ = false;     // HTTP/1.0: until the length is known
    bool flush_ = false;
    bool last_ = false;
    bool eof_ = false;
    bool seen_data_ = false;
    bool failed_ = false;
    bool busy_ = false;
    bool taken_over_ = false;
};

}  // namespace moongate::lua
