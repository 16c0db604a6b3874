// ProxyProtocol: HTTP/1 to an upstream server. Builds the request from the client's and the
// proxy_* settings, and reads the response strictly (HARDENING 6, 8, 9, 11, 18). One object a
// request, in its arena.
#pragma once

#include <optional>
#include <string_view>

#include "engine/request.h"
#include "http/chunked.h"
#include "http/framing.h"
#include "http/h1_parser.h"
#include "upstream/flow.h"
#include "upstream/protocol.h"
#include "upstream/proxy_settings.h"

namespace moongate::upstream {

// Where this request goes: the location's target, or what its variables came to.
struct ProxyVars {
    std::string_view scheme;
    std::string_view host_header;
    std::string_view port;
    std::string_view uri;
    std::string_view location;
};

class ProxyProtocol final : public Protocol {
public:
    ProxyProtocol(engine::Request& request, const ProxySettings& settings, const ProxyVars& vars)
        : request_(request), settings_(settings), vars_(vars) {}

    // `body_size`: -1: none; -2: chunked. False: the request cannot be sent (logged).
    static constexpr std::int64_t kNoBody = -1;
    static constexpr std::int64_t kChunked = -2;
    bool build(std::int64_t body_size);

    const ProxyVars& vars() const { return vars_; }
    std::string_view uri() const { return uri_; }
    UpstreamFlow* flow = nullptr;

    bool rebuild(http::BodyPart& body, bool streamed) override;
    std::string_view request_head() override { return head_bytes_; }
    void begin_response() override;
    HeadStep read_head(std::string_view bytes) override;
    int status() const override { return head_.status; }
    const http::HeaderList& headers() const override { return head_.headers; }
    const http::HeaderList* trailers() const override {
        return chunked_ && chunked_->done() ? &chunked_->trailers() : nullptr;
    }
    BodyStep read_body(std::string_view bytes) override;
    bool ends_with_connection() const override {
        return framing_.body == http::BodyKind::UntilClose;
    }
    bool has_body() const override { return framing_.body != http::BodyKind::None; }
    bool keep_alive() const override { return framing_.keep_alive; }
    bool upgraded() const override { return framing_.upgrade; }
    engine::Action fill_response() override;
    async::Task<Status> send_informational() override;

private:
    HeadStep invalid(std::string_view why);
    std::string_view map_uri();
    std::string_view connection_tokens() const;
    void copy_header(const http::Header& header);
    std::string_view rewrite_location(std::string_view value, std::size_t prefix);
    std::string_view rewrite_cookie(std::string_view value);
    engine::Action accel_redirect(std::string_view uri);

    engine::Request& request_;
    const ProxySettings& settings_;
    ProxyVars vars_;
    std::string_view uri_;
    std::string_view head_bytes_;
    std::int64_t body_size_ = kNoBody;
    http::Method method_ = http::Method::Get;
    http::HeadScan scan_;
    http::ResponseHead head_;
    http::ResponseFraming framing_;
    std::uint64_t left_ = 0;
    std::optional<http::ChunkedDecoder> chunked_;
    std::size_t informational_bytes_ = 0;
};

// nginx's rules for what takes the location's place in the URI. `quoted`: the client's URI had
// escapes. Exposed for tests.
std::string_view map_proxy_uri(std::string_view pass_uri, std::string_view location,
                               std::string_view uri, std::string_view args, bool escape,
                               Arena& arena);

// Rewriting of one text by the first rule that fits; nothing where none does. `prefix`: bytes that
// stay.
std::optional<std::string_view> apply_rules(engine::Request& request,
                                            const std::vector<RewriteRule>& rules,
                                            std::string_view value, std::size_t prefix,
                                            bool domain);
std::optional<std::string_view> rewrite_set_cookie(engine::Request& request,
                                                   const ProxySettings& settings,
                                                   std::string_view value);

}  // namespace moongate::upstream
