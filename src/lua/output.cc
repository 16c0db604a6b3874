// Output (output.h): the buffer, the head, and the pump that moves them through the filters. The
// pump is a task that runs inside the C function that started it as far as it can without waiting.
#include "lua/output.h"

#include <cstdlib>

#include "engine/core_settings.h"
#include "engine/filters.h"
#include "engine/location.h"
#include "engine/request.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

constexpr std::size_t kFirstBuffer = 512;
constexpr std::size_t kSendAt = 16384;
constexpr std::size_t kUsualPacket = 1460;  // postpone_output's default

bool has_lua_filters(const engine::Request& request) {
    return request.get<LuaSettings>().body_filter != nullptr;
}

}  // namespace

Output::~Output() {
    pump_.reset();
    if (filling_.heap) {
        std::free(filling_.data);
    }
    if (sending_.heap) {
        std::free(sending_.data);
    }
}

void Output::cancel() {
    if (busy_) {
        pump_.reset();
        busy_ = false;
        failed_ = true;
    }
}

void Output::take_over() {
    taken_over_ = true;
    head_prepared_ = head_started_ = head_sent_ = true;
    eof_ = true;
}

void Output::grow(Context& context, std::size_t bytes) {
    const std::size_t wanted = filling_.size + bytes;
    if (filling_.data == nullptr && wanted <= kFirstBuffer) {
        filling_ = {context.arena.allocate_chars(kFirstBuffer), 0, kFirstBuffer, false};
        return;
    }
    std::size_t capacity = std::max(filling_.capacity * 2, kFirstBuffer * 2);
    while (capacity < wanted) {
        capacity *= 2;
    }
    char* data = nullptr;
    if (filling_.heap) {
        data = static_cast<char*>(std::realloc(filling_.data, capacity));
    } else {
        data = static_cast<char*>(std::malloc(capacity));
        if (data != nullptr && filling_.size > 0) {
            std::memcpy(data, filling_.data, filling_.size);
        }
    }
    if (data == nullptr) {
        std::abort();
    }
    filling_ = {data, filling_.size, capacity, true};
}

char* Output::reserve(Context& context, std::size_t bytes) {
    if (filling_.capacity - filling_.size < bytes) {
        grow(context, bytes);
    }
    char* at = filling_.data + filling_.size;
    filling_.size += bytes;
    seen_data_ = true;
    return at;
}

void Output::prepare_head(Context& context) {
    head_prepared_ = true;
    engine::Request& request = *context.request;
    const LuaSettings& settings = request.get<LuaSettings>();
    if (request.response.status == 0) {
        request.response.status = 200;
    }
    const auto& core = request.get<engine::CoreLocationSettings>();
    // A location that asks for smaller packets than usual gets them.
    send_at_ = core.postpone_output < kUsualPacket ? std::max<std::size_t>(core.postpone_output, 1)
                                                   : kSendAt;
    if (!type_set && settings.use_default_type && request.response.content_type.empty() &&
        request.response.status != 304) {
        request.response.content_type = core.default_type;
        if (!request.extension.empty() && core.types != nullptr) {
            const auto found = core.types->find(to_lower(request.extension));
            if (found != core.types->end()) {
                request.response.content_type = found->second;
            }
        }
    }
    if (!headers_set) {
        request.response.content_length = -1;
        request.response.allow_ranges = false;
    }
    const http::RequestHead& head = request.exchange.head();
    if (settings.http10_buffering && head.major == 1 && head.minor == 0 && !request.header_only &&
        request.response.content_length < 0) {
        buffering_ = true;
    }
}

bool Output::begin(Context& context) {
    if (head_started_) [[likely]] {
        return !failed_;
    }
    if (!head_prepared_) {
        prepare_head(context);
    }
    if (buffering_) {
        return true;
    }
    head_started_ = true;
    return kick(context);
}

bool Output::commit(Context& context) {
    if (buffering_ || (filling_.size < send_at_ && !has_lua_filters(*context.request))) {
        return !failed_;
    }
    return kick(context);
}

bool Output::flush(Context& context) {
    flush_ = true;
    return kick(context);
}

bool Output::start_finish(Context& context) {
    if (!head_prepared_) {
        prepare_head(context);
    }
    if (buffering_) {
        context.request->response.content_length = static_cast<std::int64_t>(filling_.size);
        buffering_ = false;
    }
    head_started_ = true;
    eof_ = true;
    last_ = true;
    return kick(context);
}

bool Output::kick(Context& context) {
    if (busy_) {
        return !failed_;
    }
    if (failed_) {
        return false;
    }
    busy_ = true;
    pump_ = pump(*context.request);
    pump_.arm(std::noop_coroutine()).resume();
    return !failed_;
}

async::Task<void> Output::pump(engine::Request& request) {
    if (!head_sent_) {
        head_sent_ = true;
        const Status sent = co_await request.send_head();
        failed_ = !sent;
        if (failed_ && !request.response.head_sent) {
            refusal_ = sent.error().code;
        }
    }
    while (!failed_ && (last_ || flush_ || filling_.size >= send_at_ ||
                        (filling_.size > 0 && has_lua_filters(request)))) {
        std::swap(filling_, sending_);
        filling_.size = 0;
        const http::BodyPart part{{sending_.data, sending_.size}, -1, 0, 0};
        engine::BodyChunk chunk;
        if (sending_.size > 0) {
            chunk.parts = {&part, 1};
        }
        chunk.flags = {.flush = std::exchange(flush_, false), .last = std::exchange(last_, false)};
        const Status sent = co_await request.send_body(chunk);
        failed_ = !sent;
        sending_.size = 0;
    }
    busy_ = false;
    if (idle_.has_value()) {
        idle_->set();
    }
}

async::Event& Output::idle(Context& context) {
    if (!idle_.has_value()) {
        idle_.emplace(context.request->reactor());
    }
    idle_->reset();
    return *idle_;
}

async::Task<Status> Output::finish(Context& context) {
    start_finish(context);
    while (busy_) {
        co_await idle(context).wait();
        if (!busy_ && last_ && !failed_) {
            kick(context);
        }
    }
    if (failed_) {
        co_return Error{ErrorKind::Closed, ErrorSide::Client, false, 0, "response not sent"};
    }
    co_return Status{};
}

}  // namespace moongate::lua
