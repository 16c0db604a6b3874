// ProxyProtocol: the server's response.
#include <array>
#include <cstring>

#include "base/clock.h"
#include "conf/values.h"
#include "engine/core_settings.h"
#include "http/uri.h"
#include "upstream/proxy_protocol.h"

namespace moongate::upstream {

using engine::Action;
using http::HeaderId;

namespace {

// Fields that are looked at one by one; all others are only copied.
constexpr http::HeaderIdSet kSpecial{HeaderId::ContentType,
                                     HeaderId::ContentLength,
                                     HeaderId::LastModified,
                                     HeaderId::Location,
                                     HeaderId::Refresh,
                                     HeaderId::SetCookie,
                                     HeaderId::AcceptRanges,
                                     HeaderId::Upgrade,
                                     HeaderId::Connection,
                                     HeaderId::KeepAlive,
                                     HeaderId::TransferEncoding,
                                     HeaderId::ProxyConnection,
                                     HeaderId::XAccelLimitRate,
                                     HeaderId::XAccelBuffering,
                                     HeaderId::XAccelCharset,
                                     HeaderId::Trailer,
                                     HeaderId::Te};

// Copied to the response of an X-Accel-Redirect's target, as nginx does.
constexpr http::HeaderIdSet kKeptByRedirect{HeaderId::SetCookie, HeaderId::ContentDisposition,
                                            HeaderId::CacheControl, HeaderId::Expires,
                                            HeaderId::AcceptRanges};

}  // namespace

void ProxyProtocol::begin_response() {
    scan_ = {};
    head_ = {};
    head_.headers.bind(request_.arena());
    framing_ = {};
    chunked_.reset();
}

HeadStep ProxyProtocol::invalid(std::string_view why) {
    request_.log_upstream = request_.arena().concat(vars_.scheme, vars_.host_header, uri_);
    request_.log_error(LogLevel::Error, "{}", why);
    return {HeadStep::Kind::Invalid, 0};
}

HeadStep ProxyProtocol::read_head(std::string_view bytes) {
    http::ParseLimits limits;
    limits.max_request_line = limits.max_header_line = limits.max_head = settings_.buffer_size + 1;
    const http::HeadScanResult scanned = http::scan_response_head(bytes, limits, scan_);
    if (scanned.error != http::HeadError::None) {
        return invalid(http::upstream_log_text(scanned.error));
    }
    if (scanned.end == 0) {
        return {HeadStep::Kind::NeedMore, 0};
    }
    const http::ParseResult parsed =
        http::parse_response_head(bytes.substr(0, scanned.end), limits, request_.arena(), head_);
    if (!parsed) {
        const std::string_view text = http::upstream_log_text(parsed.error);
        return invalid(parsed.detail.empty()
                           ? text
                           : request_.arena().concat(text, ": \"", parsed.detail, "\""));
    }
    framing_ = http::response_framing(head_, method_);
    if (framing_.error != http::HeadError::None) {
        return invalid(http::upstream_log_text(framing_.error));
    }
    if (head_.status >= 100 && head_.status < 200 && head_.status != 101) {
        informational_bytes_ += scanned.end;
        if (informational_bytes_ > 16 * settings_.buffer_size) {
            return invalid("upstream sent too many informational responses");
        }
        return {HeadStep::Kind::Informational, scanned.end};
    }
    if (head_.status == 101 && !request_.exchange.framing().upgrade_protocol.empty() &&
        settings_.sets_connection) {
        framing_.upgrade = true;
        framing_.keep_alive = false;
    } else if (head_.status == 101) {
        return invalid("upstream sent unexpected 101 response");
    }
    left_ = framing_.content_length;
    if (framing_.body == http::BodyKind::Chunked) {
        chunked_.emplace(request_.arena());
    }
    return {HeadStep::Kind::Final, scanned.end};
}

BodyStep ProxyProtocol::read_body(std::string_view bytes) {
    switch (framing_.body) {
        case http::BodyKind::None:
            return {BodyStep::Kind::Done, 0, {}};
        case http::BodyKind::Length: {
            if (left_ == 0) {
                return {BodyStep::Kind::Done, 0, {}};
            }
            const auto take =
                static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
            left_ -= take;
            if (take == 0) {
                return {BodyStep::Kind::NeedMore, 0, {}};
            }
            return {BodyStep::Kind::Data, take, bytes.substr(0, take)};
        }
        case http::BodyKind::UntilClose:
            if (bytes.empty()) {
                return {BodyStep::Kind::NeedMore, 0, {}};
            }
            return {BodyStep::Kind::Data, bytes.size(), bytes};
        case http::BodyKind::Chunked:
            break;
    }
    const http::ChunkedDecoder::Step step = chunked_->next(bytes);
    switch (step.event) {
        case http::ChunkedDecoder::Event::Data:
            return {BodyStep::Kind::Data, step.consumed, step.data};
        case http::ChunkedDecoder::Event::Done:
            return {BodyStep::Kind::Done, step.consumed, {}};
        case http::ChunkedDecoder::Event::NeedMore:
            return {BodyStep::Kind::NeedMore, step.consumed, {}};
        case http::ChunkedDecoder::Event::Error:
            break;
    }
    return {BodyStep::Kind::Error, 0, {}};
}

async::Task<Status> ProxyProtocol::send_informational() {
    if (head_.status != 103) {
        co_return Status{};  // "100 Continue" and the like concern this hop
    }
    const auto& conditions = request_.get<engine::CoreLocationSettings>().early_hints;
    bool wanted = false;
    for (const auto& condition : conditions) {
        const std::string_view value = condition.evaluate(request_);
        wanted = wanted || (!value.empty() && value != "0");
    }
    if (!wanted) {
        co_return Status{};
    }
    http::HeaderList hints(request_.arena());
    for (const http::Header& header : head_.headers) {
        if (!settings_.hidden.contains(header.id, header.hash, header.name) &&
            !http::kHopByHopHeaders.contains(header.id) && header.id != HeaderId::ContentLength) {
            hints.add(header.name, header.value, header.id, header.hash);
        }
    }
    co_return co_await request_.exchange.send_informational(103, hints);
}

std::string_view ProxyProtocol::rewrite_location(std::string_view value, std::size_t prefix) {
    if (settings_.redirect_mode == RewriteMode::Off) {
        return value;
    }
    const PassTarget& pass = *settings_.pass;
    const bool implicit = settings_.redirect_mode == RewriteMode::Default;
    const auto by_default = [&]() -> std::optional<std::string_view> {
        if (pass.dynamic) {
            return std::nullopt;
        }
        const std::string_view rest = value.substr(prefix);
        if (!rest.starts_with(pass.url)) {
            return std::nullopt;
        }
        std::string_view behind = rest.substr(pass.url.size());
        std::string_view instead = pass.location;
        if (pass.uri.empty()) {
            if (!behind.starts_with('/')) {
                return std::nullopt;
            }
            behind.remove_prefix(1);
            instead = "/";
        }
        return request_.arena().concat(value.substr(0, prefix), instead, behind);
    };
    if (implicit) {
        return by_default().value_or(value);
    }
    for (const RewriteRule& rule : settings_.redirects) {
        const auto changed =
            rule.is_default ? by_default() : apply_rules(request_, {rule}, value, prefix, false);
        if (changed) {
            return *changed;
        }
    }
    return value;
}

void ProxyProtocol::copy_header(const http::Header& header) {
    engine::Response& response = request_.response;
    std::string_view value = header.value;
    switch (header.id) {
        case HeaderId::ContentType:
            response.content_type = value;
            return;
        case HeaderId::LastModified: {
            const std::int64_t seconds = parse_http_date(value);
            if (seconds >= 0) {
                response.last_modified = seconds;
                return;
            }
            break;
        }
        case HeaderId::Location:
            value = rewrite_location(value, 0);
            break;
        case HeaderId::Refresh: {
            const std::size_t url = find_ignore_case(value, "url=");
            if (url != std::string_view::npos) {
                value = rewrite_location(value, url + 4);
            }
            break;
        }
        case HeaderId::SetCookie:
            value = rewrite_set_cookie(request_, settings_, value).value_or(value);
            break;
        case HeaderId::AcceptRanges:
            if (settings_.force_ranges) {
                return;
            }
            break;
        case HeaderId::Upgrade:
            if (!framing_.upgrade) {
                return;
            }
            break;
        case HeaderId::XAccelLimitRate:
        case HeaderId::XAccelBuffering:
        case HeaderId::XAccelCharset:
            break;
        default:
            return;  // of this hop
    }
    response.headers.add(header.name, value, header.id, header.hash);
}

Action ProxyProtocol::accel_redirect(std::string_view uri) {
    http::HeaderList kept(request_.arena());
    for (const http::Header& header : head_.headers) {
        if (kKeptByRedirect.contains(header.id)) {
            kept.add(header.name, header.value, header.id, header.hash);
        }
    }
    const std::string_view type = head_.headers.value(HeaderId::ContentType);
    request_.clear_response();
    for (const http::Header& header : kept) {
        if (header.id == HeaderId::SetCookie) {
            const auto value = rewrite_set_cookie(request_, settings_, header.value);
            request_.response.headers.add(header.name, value.value_or(header.value), header.id,
                                          header.hash);
        } else {
            request_.response.headers.add(header.name, header.value, header.id, header.hash);
        }
    }
    request_.response.content_type = type;
    if (uri.starts_with('@')) {
        request_.named_location = uri;
        return Action::redirect();
    }
    const auto safe = http::parse_unsafe_uri(uri, request_.arena());
    if (!safe) {
        return Action::finish(404);
    }
    if (request_.method != http::Method::Head) {
        request_.method = http::Method::Get;
        request_.method_text = "GET";
    }
    request_.set_internal_uri(safe->path, safe->args);
    return Action::redirect();
}

Action ProxyProtocol::fill_response() {
    engine::Response& response = request_.response;
    const http::HeaderList& headers = head_.headers;
    const std::uint32_t ignored = settings_.ignore_headers;
    if ((ignored & kIgnoreRedirect) == 0) {
        if (const auto* redirect = headers.find(HeaderId::XAccelRedirect);
            redirect != nullptr && !redirect->value.empty()) {
            return accel_redirect(redirect->value);
        }
    }
    if (const auto* rate = headers.find(HeaderId::XAccelLimitRate);
        rate != nullptr && (ignored & kIgnoreLimitRate) == 0) {
        if (const auto bytes = conf::parse_integer(rate->value)) {
            request_.limit_rate = *bytes;
        }
    }
    if (const auto* mode = headers.find(HeaderId::XAccelBuffering);
        mode != nullptr && (ignored & kIgnoreBuffering) == 0) {
        if (equals_ignore_case(mode->value, "no")) {
            flow->set_buffering(false);
        } else if (equals_ignore_case(mode->value, "yes")) {
            flow->set_buffering(true);
        }
    }
    if (const auto* charset = headers.find(HeaderId::XAccelCharset);
        charset != nullptr && (ignored & kIgnoreCharset) == 0) {
        response.charset = charset->value;
    }
    response.status = head_.status;
    response.status_text = head_.status_text;
    // Fields that the server's Connection header declares to be of this hop.
    std::string_view hop = headers.value(HeaderId::Connection);
    if (!hop.empty() &&
        (hop == "keep-alive" || hop == "close" || equals_ignore_case(hop, "keep-alive") ||
         equals_ignore_case(hop, "close") || framing_.upgrade)) {
        hop = {};
    }
    for (const http::Header& header : headers) {
        if (settings_.hidden.contains(header.id, header.hash, header.name)) {
            continue;
        }
        if (kSpecial.contains(header.id)) {
            copy_header(header);
        } else if (hop.empty() || !http::has_token(hop, header.name)) {
            response.headers.add(header.name, header.value, header.id, header.hash);
        }
    }
    if (framing_.has_content_length) {
        response.content_length = static_cast<std::int64_t>(framing_.content_length);
    }
    if (settings_.force_ranges) {
        response.allow_ranges = true;
    }
    if (settings_.pass_trailers && chunked_) {
        response.trailers = &chunked_->trailers();  // filled when the body ends
    }
    return Action::next();
}

}  // namespace moongate::upstream
