// Subrequests: requests that the gateway makes to itself for the sake of another one, its parent. A
// Subrequest is the Exchange of such a request and owns it, with an arena of its own. It runs the
// phases from server_rewrite on without access control, and the log phase with log_subrequest.
// There are two kinds: captured in memory (ngx.location.capture), where a status takes the place of
// an error page, and streamed into the parent's response at the place where it was started
// (echo_location). Destroying one cancels it; a parent's end destroys those it has. One worker.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "async/task.h"
#include "async/task_group.h"
#include "engine/output_order.h"
#include "engine/request.h"
#include "http/exchange.h"

namespace moongate::engine {

struct SubrequestOptions {
    enum class Variables : std::uint8_t { Own, Copied, Shared };

    std::string_view uri;  // decoded; both live as long as the parent's arena
    std::string_view args;
    http::Method method = http::Method::Get;
    std::string_view method_text;  // empty: the method's name
    Variables variables = Variables::Own;
    bool pass_body = true;  // the parent's body, if it was read
};

class Subrequest : public http::Exchange {
public:
    Subrequest(const Subrequest&) = delete;
    Subrequest& operator=(const Subrequest&) = delete;
    ~Subrequest() override;

    // Whether `parent` may have one more; logs the reason with `prefix` in front if not: the depth
    // of nesting (51) or the number of those at work (64,000) is used up.
    static bool allowed(Request& parent, std::string_view uri, std::string_view prefix = {});

    Request& request() { return *request_; }
    // Instead of the parent's body. The text is copied.
    void set_body(std::string_view text);
    Status set_body_file(std::string_view path);
    // To the end. Once.
    async::Task<void> run();
    // The status with which it ended where that ends the main request too (444, 499, 408), else 0.
    int fatal_status() const;

    // --- Exchange
    Arena& arena() override { return arena_ != nullptr ? *arena_ : own_arena_; }
    http::RequestHead& head() override { return head_; }
    std::string_view raw_head() const override { return parent_.exchange.raw_head(); }
    const http::RequestFraming& framing() const override { return framing_; }
    const http::HeadFailure& head_failure() const override { return no_failure_; }
    http::ConnectionInfo& connection() override { return parent_.exchange.connection(); }
    std::string_view protocol() const override { return parent_.exchange.protocol(); }
    std::uint64_t request_bytes() const override { return parent_.exchange.request_bytes(); }
    async::Task<Result<std::size_t>> read_body(char* to, std::size_t room,
                                               Milliseconds timeout) override;
    bool body_ended() const override { return true; }
    void limit_body(std::uint64_t) override {}
    const http::HeaderList& request_trailers() const override { return no_trailers_; }
    async::Task<Status> send_informational(int, const http::HeaderList&) override;
    void start_response(const http::ResponseStart&) override { started_ = true; }
    void set_trailers(const http::HeaderList*) override {}
    bool response_started() const override { return started_; }
    std::uint64_t bytes_sent() const override { return parent_.exchange.bytes_sent(); }
    std::uint64_t body_bytes_sent() const override { return parent_.exchange.body_bytes_sent(); }
    void disable_keep_alive() override {}
    bool may_keep_alive() const override { return parent_.exchange.may_keep_alive(); }
    void set_policy(const http::ConnectionPolicy&) override {}
    bool peer_closed() const override { return parent_.exchange.peer_closed(); }
    // The main request watches for all: see wants_abort().
    void watch_peer(void (*)(void*), void*) override {}
    Raw take_over() override { return {nullptr, {}}; }

protected:
    Subrequest(Request& parent, const SubrequestOptions& options);

    Request& parent_;

private:
    friend bool wants_abort(const Request& request);

    Arena own_arena_;
    Arena* arena_ = nullptr;  // the parent's, where variables are shared
    http::RequestHead head_;
    http::RequestFraming framing_;
    http::HeadFailure no_failure_;
    http::HeaderList no_trailers_;
    bool started_ = false;
    std::optional<Request> request_;
    Subrequest* previous_ = nullptr;
    Subrequest* next_ = nullptr;
};

// Whether the request, or a subrequest that it waits for, ends when the client has left.
bool wants_abort(const Request& request);

// Its response stays here.
class CapturedSubrequest final : public Subrequest {
public:
    // More than `limit` bytes of body cut it off, with "too big subrequest response" in the log; 0:
    // no limit.
    CapturedSubrequest(Request& parent, const SubrequestOptions& options, std::size_t limit = 0);

    // Status and headers: request().response.
    const std::string& body() const { return body_; }
    // The body is not whole.
    bool truncated() const { return aborted_; }

    async::Task<Status> write(std::span<const http::BodyPart> parts, http::WriteFlags flags,
                              Milliseconds timeout) override;
    void abort() override { aborted_ = true; }

private:
    std::string body_;
    std::size_t limit_;
    bool aborted_ = false;
};

// Its body flows into the parent's response, behind what the parent has written so far. The
// parent's head must have been sent.
class StreamedSubrequest final : public Subrequest {
public:
    StreamedSubrequest(Request& parent, const SubrequestOptions& options);
    ~StreamedSubrequest() override;

    async::Task<Status> write(std::span<const http::BodyPart> parts, http::WriteFlags flags,
                              Milliseconds timeout) override;
    void abort() override;

    // To the end, its output included as far as it is up to itself. One whose status is fatal cuts
    // the whole response off.
    async::Task<void> stream();

    // The response ends behind what this one has sent so far.
    void end_response() { order_.end_at(*node_); }

    OutputOrder& order() { return order_; }
    OutputOrder::Node& node() { return *node_; }

private:
    OutputOrder& order_;
    std::shared_ptr<OutputOrder::Node> node_;
    bool finished_ = false;
};

// What a request has to do with streamed subrequests: those that run beside it, and the order.
class Streaming {
public:
    // `order` null: the request's response is the one that is ordered.
    Streaming(Request& request, OutputOrder* order, OutputOrder::Node* node);
    Streaming(const Streaming&) = delete;
    ~Streaming();

    static Streaming& of(Request& request);

    OutputOrder& order() { return *order_; }
    OutputOrder::Node& node() { return *node_; }
    bool is_root() const { return own_.has_value(); }
    // Starts it and goes on. Its parent's task ends only after it.
    void start(std::unique_ptr<StreamedSubrequest> subrequest);
    async::TaskGroup& tasks() { return tasks_; }

private:
    std::optional<OutputOrder> own_;
    OutputOrder* order_;
    OutputOrder::Node* node_;
    async::TaskGroup tasks_;
};

}  // namespace moongate::engine
