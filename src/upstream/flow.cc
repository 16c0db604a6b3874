#include "upstream/flow.h"

#include <algorithm>

#include "base/clock.h"
#include "conf/values.h"
#include "engine/core_settings.h"
#include "net/connect.h"

namespace moongate::upstream {

using engine::Action;

int flow_context_slot = -1;

namespace {

struct NextStatus {
    int status;
    std::uint32_t reason;
};
constexpr NextStatus kNextStatuses[] = {{500, kNext500}, {502, kNext502}, {503, kNext503},
                                        {504, kNext504}, {403, kNext403}, {404, kNext404},
                                        {429, kNext429}};

bool idempotent(http::Method method) {
    return method != http::Method::Post && method != http::Method::Lock &&
           method != http::Method::Patch;
}

}  // namespace

UpstreamFlow::UpstreamFlow(engine::Request& request, const FlowOptions& options, Protocol& protocol,
                           std::shared_ptr<const Upstream> upstream)
    : request_(request),
      options_(options),
      protocol_(protocol),
      upstream_(std::move(upstream)),
      worker_(UpstreamWorker::of(request.worker)),
      main_(request.main),
      selection_(upstream_->transient ? own_set_.emplace(*upstream_) : worker_.peers(upstream_)),
      connect_timeout_(options.connect_timeout),
      send_timeout_(options.send_timeout),
      read_timeout_(options.read_timeout),
      log_(&own_log_),
      buffering_(options.buffering) {
    selection_.request = &request;
    started_ms_ = request.reactor().now_ms();
    if (!worker_.earlier.empty()) {
        // An upstream failed before the request was redirected here: go on with its list.
        if (const auto found = worker_.earlier.find(request.main);
            found != worker_.earlier.end() && found->second->count > 0) {
            log_ = found->second;
            log_->add().separator = true;
        }
    }
    request.context<UpstreamFlow>(flow_context_slot) = this;
}

UpstreamFlow::~UpstreamFlow() {
    if (!worker_.earlier.empty()) {
        const auto found = worker_.earlier.find(main_);
        if (found != worker_.earlier.end() && found->second == &own_log_) {
            worker_.earlier.erase(found);
        }
    }
}

UpstreamFlow* UpstreamFlow::of(engine::Request& request) {
    return request.context<UpstreamFlow>(flow_context_slot);
}

const AttemptLog* UpstreamFlow::attempts_of(engine::Request& request) {
    if (UpstreamFlow* flow = of(request)) {
        return flow->log_;
    }
    const auto& earlier = UpstreamWorker::of(request.worker).earlier;
    if (!earlier.empty()) {
        if (const auto found = earlier.find(request.main); found != earlier.end()) {
            return found->second;
        }
    }
    return nullptr;
}

void UpstreamFlow::remember_for_redirect() {
    worker_.earlier.try_emplace(request_.main, log_);
}

bool UpstreamFlow::choose() {
    selection_.now_s = static_cast<std::int64_t>(request_.reactor().now_ms() / 1000);
    return upstream_->balancer->choose(selection_);
}

// The time-outs that the balancer asked for.
void UpstreamFlow::apply_terms() {
    const TryTerms& terms = selection_.terms;
    const auto either = [](Milliseconds asked, Milliseconds set) {
        return asked > Milliseconds::zero() ? asked : set;
    };
    connect_timeout_ = either(terms.connect_timeout, options_.connect_timeout);
    send_timeout_ = either(terms.send_timeout, options_.send_timeout);
    read_timeout_ = either(terms.read_timeout, options_.read_timeout);
}

void UpstreamFlow::begin_attempt() {
    take_peer(selection_);
    Attempt& attempt = log_->add();
    attempt.peer = selection_.peer != nullptr ? std::string_view(selection_.peer->name)
                                              : selection_.address_text;
    if (selection_.set->upstream().has_dynamic_servers()) {
        attempt.peer = request_.arena().copy(attempt.peer);  // the peer may go before the log line
    }
    attempt_open_ = true;
    attempt_ms_ = request_.reactor().now_ms();
    request_sent_ = body_sent_ = response_read_ = extra_bytes_ = false;
    in_size_ = in_at_ = 0;
    protocol_.begin_response();
    pending_ = protocol_.request_head();
    pending_body_ = body_.file < 0 ? body_.bytes : std::string_view();
}

const net::Address* UpstreamFlow::bound_to() const {
    return selection_.terms.local ? &*selection_.terms.local : local_ ? &*local_ : nullptr;
}

ConnectionIdentity UpstreamFlow::identity() const {
    const net::Address* local = bound_to();
    const bool of_location = upstream_->keepalive.local && !selection_.terms.keepalive;
    if (local == nullptr && !of_location && selection_.terms.identity.empty()) {
        return {};
    }
    std::string text;
    if (local != nullptr) {
        text += "bind ";
        text += local->bytes();
    }
    if (of_location) {
        text += fmt::format(" at {}", location_);
    }
    if (!selection_.terms.identity.empty()) {
        text += " as ";
        text += selection_.terms.identity;
    }
    return ConnectionIdentity(std::move(text));
}

// The list of a pool that the balancer asked for: a group of its own, so that its time and size
// hold for it alone.
Bucket* UpstreamFlow::own_pool() {
    const KeepaliveSettings& settings = *selection_.terms.keepalive;
    const net::Address& address =
        selection_.peer != nullptr ? selection_.peer->address : *selection_.address;
    const ConnectionIdentity opened_as = identity();
    const std::string name = fmt::format("{} {} {} {}{}", upstream_->name, settings.timeout.count(),
                                         settings.connections, address.bytes(), opened_as.text);
    return &worker_.pool.bucket(name, address, opened_as, true);
}

bool UpstreamFlow::take_idle() {
    bucket_ = nullptr;
    reused_ = false;
    if (selection_.terms.keepalive) [[unlikely]] {
        connection_ = worker_.pool.take(*own_pool());
        reused_ = connection_ != nullptr;
        return reused_;
    }
    if (upstream_->keepalive.connections == 0) {
        return false;
    }
    Peer* peer = selection_.peer;
    // The list of the peer's last request is mostly this one's too.
    const bool plain =
        peer != nullptr && bound_to() == nullptr && selection_.terms.identity.empty();
    const auto tag =
        reinterpret_cast<std::uint64_t>(upstream_->keepalive.local ? location_ : nullptr);
    if (plain && peer->bucket != nullptr && peer->bucket_identity == tag) {
        bucket_ = peer->bucket;
    } else {
        const net::Address& address = peer != nullptr ? peer->address : *selection_.address;
        bucket_ = &worker_.pool.bucket(upstream_->name, address, identity());
        if (plain) {
            peer->bucket = bucket_;
            peer->bucket_identity = tag;
        }
    }
    connection_ = worker_.pool.take(*bucket_);
    reused_ = connection_ != nullptr;
    return reused_;
}

bool UpstreamFlow::rebuild_request() {
    http::BodyPart body;
    if (!protocol_.rebuild(body, streaming_)) {
        return false;
    }
    if (!streaming_) {
        body_ = body;
    }
    return true;
}

async::Task<Result<async::Io>> UpstreamFlow::open_connection() {
    mark_action("connecting to upstream");
    net::ConnectOptions options;
    options.timeout = connect_timeout_;
    options.local = bound_to();
    options.transparent = options_.bind_transparent;
    options.keepalive = options_.socket_keepalive;
    options.rcvbuf = options_.socket_rcvbuf;
    options.sndbuf = options_.socket_sndbuf;
    const net::Address& to =
        selection_.peer != nullptr ? selection_.peer->address : *selection_.address;
    return net::connect(request_.reactor(), to, options);
}

void UpstreamFlow::log_failure(LogLevel level, std::string_view text) {
    const std::string_view server =
        log_->count > 0 && attempt_open_ ? log_->last().peer : std::string_view(upstream_->name);
    request_.log_upstream =
        request_.arena().concat(scheme_, server, server.starts_with("unix:") ? ":" : "", uri_);
    request_.log_error(level, "{}", text);
}

// nginx names the server where connect() fails without waiting, and takes reasons other than the
// usual ones for a fault of the configuration.
void UpstreamFlow::log_connect_failure(const Error& error) {
    if (error.detail != net::kRefusedAtOnce) {
        log_failure(LogLevel::Error,
                    fmt::format("{} failed {}", error.detail, errno_text(error.code)));
        return;
    }
    bool usual = false;
    for (const int reason :
         {ECONNREFUSED, EAGAIN, ECONNRESET, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH}) {
        usual = usual || error.code == reason;
    }
    log_failure(
        usual ? LogLevel::Error : LogLevel::Crit,
        fmt::format("connect() to {} failed {}", log_->last().peer, errno_text(error.code)));
}

Action UpstreamFlow::no_live_upstreams() {
    mark_action("connecting to upstream");
    // nginx counts it as a try, under the upstream's name.
    Attempt& attempt = log_->add();
    attempt.peer = upstream_->name;
    attempt.status = 502;
    attempt.response_ms = 0;
    log_failure(LogLevel::Error, "no live upstreams");
    remember_for_redirect();
    return Action::finish(502);
}

void UpstreamFlow::end_attempt(Outcome outcome) {
    if (!attempt_open_) {
        return;
    }
    attempt_open_ = false;
    Attempt& attempt = log_->last();
    if (attempt.response_ms < 0) {
        attempt.response_ms = static_cast<std::int64_t>(request_.reactor().now_ms() - attempt_ms_);
    }
    connection_.reset();
    selection_.last_end = outcome;
    selection_.last_status = attempt.status;
    if (release_peer(selection_, outcome)) {
        mark_action(request_.log_action);
        log_failure(LogLevel::Warn, "upstream server temporarily disabled");
    }
}

bool UpstreamFlow::can_retry(std::uint32_t reason) const {
    if (request_sent_ && !idempotent(request_.method)) {
        reason |= kNextNonIdempotent;
    }
    if ((options_.next_upstream & reason) != reason || (options_.next_upstream & kNextOff) != 0) {
        return false;
    }
    if (request_sent_ && streaming_) {
        return false;  // what was read from the client is gone
    }
    const auto limit = static_cast<std::uint64_t>(options_.next_upstream_timeout.count());
    return limit == 0 || request_.reactor().now_ms() - started_ms_ < limit;
}

bool UpstreamFlow::retry(std::uint32_t reason, int status, Outcome outcome) {
    log_->last().status = status;
    const bool stale = reused_ && reason == kNextError;
    Peer* peer = selection_.peer;
    const std::uint32_t left = selection_.tries_left;
    // A kept connection that broke says nothing about the server: it may be asked again.
    end_attempt(stale ? Outcome::Next : outcome);
    if (stale) {
        selection_.tries_left = left;
        selection_.last_end = outcome;
        std::erase(selection_.tried, peer);
    }
    if (selection_.tries_left == 0 || !can_retry(reason)) {
        remember_for_redirect();
        answer_ = Action::finish(status);
        return false;
    }
    return true;
}

bool UpstreamFlow::status_wants_next(std::uint32_t& reason) const {
    for (const NextStatus& one : kNextStatuses) {
        if (one.status == protocol_.status()) {
            reason = one.reason;
            return selection_.tries_left > 1 && can_retry(one.reason);
        }
    }
    return false;
}

bool UpstreamFlow::intercepted() const {
    if (!options_.intercept_errors) {
        return false;
    }
    for (const auto& page : request_.get<engine::CoreLocationSettings>().error_pages) {
        if (page.status == protocol_.status()) {
            return true;
        }
    }
    return false;
}

void UpstreamFlow::release_connection() {
    ConnectionPtr connection = std::move(connection_);
    const bool own = selection_.terms.keepalive.has_value();
    if (connection == nullptr || (bucket_ == nullptr && !own) || !protocol_.keep_alive() ||
        !body_sent_ || extra_bytes_ || request_.worker.exiting) {
        return;
    }
    worker_.pool.put(own ? *own_pool() : *bucket_, std::move(connection),
                     own ? *selection_.terms.keepalive : upstream_->keepalive);
}

UpstreamFlow::Fault UpstreamFlow::fault_of_errno(std::string_view call) {
    const int reason = errno;
    log_failure(LogLevel::Error, fmt::format("{} failed {}", call, errno_text(reason)));
    fault_reason_ = kNextError;
    return Fault::Error;
}

// The head or the body could not be sent on.
Action UpstreamFlow::client_gone(const Error& error) {
    end_attempt(Outcome::Ok);
    if (request_.exchange.response_started()) {
        return Action::done();
    }
    const bool left = error.kind == ErrorKind::Closed || error.kind == ErrorKind::Reset;
    return Action::finish(left                ? engine::kClientClosedRequest
                          : error.code >= 400 ? error.code
                                              : 500);
}

async::Task<Action> UpstreamFlow::run() {
    const Settle settle{*this};
    request_.abort_on_client_close = !options_.ignore_client_abort;
    const Balancer& balancer = *upstream_->balancer;
    balancer.prepare(request_, selection_);
    selection_.tries_left = selection_.set->tries();
    selection_.tries_limit = options_.next_upstream_tries;
    if (options_.next_upstream_tries != 0) {
        selection_.tries_left = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(selection_.tries_left, options_.next_upstream_tries));
    }
    if (options_.bind) {
        const std::string_view text = options_.bind.evaluate(request_);
        local_ = text.empty() ? std::nullopt : net::parse_ip(text, 0);
        if (!text.empty() && !local_) {
            const auto url = net::parse_ip(text.substr(0, text.rfind(':')), 0);
            local_ = url;
        }
    }
    if (options_.limit_rate) {
        rate_ = static_cast<std::uint64_t>(
            conf::parse_size(options_.limit_rate.evaluate(request_)).value_or(0));
    }
    for (;;) {
        bool live = false;
        if (balancer.waits()) {
            mark_action("connecting to upstream");
            selection_.now_s = static_cast<std::int64_t>(request_.reactor().now_ms() / 1000);
            auto chosen = co_await balancer.choose_later(selection_);
            live = chosen && *chosen;
            if (!chosen) {
                co_return Action::finish(chosen.error().code != 0 ? chosen.error().code : 500);
            }
            apply_terms();
        } else {
            live = choose();
        }
        if (!live) {
            co_return no_live_upstreams();
        }
        begin_attempt();
        if (!take_idle()) {
            auto opened = co_await open_connection();
            if (!opened) {
                const bool timeout = opened.error().kind == ErrorKind::TimedOut;
                if (timeout) {
                    log_failure(LogLevel::Error,
                                fmt::format("upstream timed out {}", errno_text(ETIMEDOUT)));
                } else {
                    log_connect_failure(opened.error());
                }
                if (retry(timeout ? kNextTimeout : kNextError, timeout ? 504 : 502,
                          Outcome::Failed)) {
                    continue;
                }
                co_return answer_;
            }
            connection_ = std::make_unique<Connection>();
            connection_->io = std::move(*opened);
            connection_->opened_ms = request_.reactor().now_ms();
        }
        ++connection_->requests;
        log_->last().connect_ms =
            static_cast<std::int64_t>(request_.reactor().now_ms() - attempt_ms_);

        Fault fault = Fault::None;
        mark_action("sending request to upstream");
        if (!streaming_ && try_send()) {
            mark_action("reading response header from upstream");
            Reading reading = Reading::NeedMore;
            for (;;) {
                // Nothing can have come to a connection that has just been written to.
                if (connection_->io.registration().readable || in_at_ < in_size_) {
                    reading = try_read_head();
                    if (reading != Reading::NeedMore) {
                        break;
                    }
                    if (protocol_.status() >= 100 && protocol_.status() < 200 &&
                        protocol_.status() != 101) {
                        const Status sent = co_await protocol_.send_informational();
                        if (!sent) {
                            end_attempt(Outcome::Ok);
                            co_return Action::finish(engine::kClientClosedRequest);
                        }
                        protocol_.begin_response();
                        continue;
                    }
                }
                const bool ready = co_await connection_->io.readable(read_timeout_);
                if (!ready) {
                    timed_out();
                    reading = Reading::Failed;
                    break;
                }
            }
            fault = reading == Reading::Failed ? Fault::Error : Fault::None;
        } else {
            fault = co_await send_and_read_head();
        }
        if (fault == Fault::Client) {
            end_attempt(Outcome::Ok);
            co_return answer_;
        }
        if (fault != Fault::None) {
            const bool timeout = fault_reason_ == kNextTimeout;
            if (retry(fault_reason_, timeout ? 504 : 502, Outcome::Failed)) {
                continue;
            }
            co_return answer_;
        }
        log_->last().status = protocol_.status();
        log_->last().header_ms =
            static_cast<std::int64_t>(request_.reactor().now_ms() - attempt_ms_);
        if (protocol_.status() >= 300) {
            std::uint32_t reason = 0;
            if (status_wants_next(reason)) {
                const bool healthy = reason == kNext403 || reason == kNext404;
                if (retry(reason, protocol_.status(), healthy ? Outcome::Next : Outcome::Failed)) {
                    continue;
                }
                co_return answer_;
            }
            if (intercepted()) {
                if (protocol_.status() == 401) {
                    const http::HeaderList& headers = protocol_.headers();
                    for (const http::Header* h = headers.find(http::HeaderId::WwwAuthenticate);
                         h != nullptr; h = headers.next(h)) {
                        request_.response.headers.add(h->name, h->value, h->id, h->hash);
                    }
                }
                const int status = protocol_.status();
                if (!protocol_.has_body() && in_at_ == in_size_) {
                    release_connection();
                }
                end_attempt(Outcome::Ok);
                remember_for_redirect();
                co_return Action::finish(status);
            }
        }
        co_return co_await respond();
    }
}

}  // namespace moongate::upstream
