// UpstreamFlow: reading the response's head.
#include <cerrno>
#include <cstring>

#include "upstream/flow.h"

namespace moongate::upstream {

void UpstreamFlow::timed_out() {
    fault_reason_ = kNextTimeout;
    log_failure(LogLevel::Error, fmt::format("upstream timed out {}", errno_text(ETIMEDOUT)));
}

// One read, and what it completes. NeedMore with a 1xx status: an informational head was read, and
// is to be passed on before the next call.
UpstreamFlow::Reading UpstreamFlow::try_read_head() {
    if (!in_) {
        in_ = Buffer(options_.buffer_size);
    }
    if (in_at_ > 0) {
        // An informational head was before this one: the buffer is for one head at a time.
        std::memmove(in_.data(), in_.data() + in_at_, in_size_ - in_at_);
        in_size_ -= in_at_;
        in_at_ = 0;
    }
    for (;;) {
        if (in_size_ > 0) {
            const HeadStep step = protocol_.read_head({in_.data(), in_size_});
            switch (step.kind) {
                case HeadStep::Kind::Final:
                    in_at_ = step.consumed;
                    response_read_ = true;
                    return Reading::Ready;
                case HeadStep::Kind::Informational:
                    in_at_ = step.consumed;
                    return Reading::NeedMore;
                case HeadStep::Kind::Invalid:
                    fault_reason_ = kNextInvalidHeader;
                    return Reading::Failed;
                case HeadStep::Kind::NeedMore:
                    break;
            }
        }
        if (in_size_ >= options_.buffer_size) {
            log_failure(LogLevel::Error, "upstream sent too big header");
            fault_reason_ = kNextInvalidHeader;
            return Reading::Failed;
        }
        if (!connection_->io.registration().readable) {
            return Reading::NeedMore;
        }
        const ssize_t got =
            connection_->io.try_read(in_.data() + in_size_, options_.buffer_size - in_size_);
        if (got == async::Io::kWouldBlock) {
            return Reading::NeedMore;
        }
        if (got == async::Io::kFailed) {
            fault_of_errno("recv()");
            return Reading::Failed;
        }
        if (got == 0) {
            log_failure(LogLevel::Error, "upstream prematurely closed connection");
            fault_reason_ = kNextError;
            return Reading::Failed;
        }
        in_size_ += static_cast<std::size_t>(got);
        log_->last().bytes_received += static_cast<std::uint64_t>(got);
    }
}

async::Task<UpstreamFlow::Fault> UpstreamFlow::read_head() {
    for (;;) {
        const Reading reading = try_read_head();
        if (reading == Reading::Ready) {
            co_return Fault::None;
        }
        if (reading == Reading::Failed) {
            co_return fault_reason_ == kNextTimeout ? Fault::Timeout : Fault::Error;
        }
        if (protocol_.status() >= 100 && protocol_.status() < 200 && protocol_.status() != 101) {
            const Status sent = co_await protocol_.send_informational();
            if (!sent) {
                answer_ = engine::Action::finish(engine::kClientClosedRequest);
                co_return Fault::Client;
            }
            protocol_.begin_response();
            continue;
        }
        const bool ready = co_await connection_->io.readable(read_timeout_);
        if (!ready) {
            timed_out();
            co_return Fault::Timeout;
        }
    }
}

}  // namespace moongate::upstream
