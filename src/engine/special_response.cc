#include "engine/special_response.h"

#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/request.h"
#include "http/status.h"

namespace moongate::engine {
namespace {

// After these the client and the server may disagree about where the next request begins.
bool ends_connection(int status) {
    switch (status) {
        case 400:
        case 408:
        case 413:
        case 414:
        case 494:
        case 495:
        case 496:
        case 497:
        case 500:
        case 501:
        case 505:
            return true;
        default:
            return false;
    }
}

bool is_redirect(int status) {
    return status >= 301 && status <= 308 && status != 304;
}

const engine::ErrorPage* find_page(const CoreLocationSettings& core, int status) {
    for (const engine::ErrorPage& page : core.error_pages) {
        if (page.status == status) {
            return &page;
        }
    }
    return nullptr;
}

async::Task<Action> send_page(Request& request, const engine::ErrorPage& page, int status) {
    const std::string_view target = page.target.evaluate(request);
    const int shown = page.answer >= 0 ? page.answer : status;
    if (target.starts_with('/') || target.starts_with('@')) {
        // The page is fetched with GET: the original method may not suit it.
        if (!request.header_only) {
            request.method = http::Method::Get;
            request.method_text = "GET";
        }
        // "=" leaves the status to the page, unless Lua has set one (ngx.status, ngx.exit).
        const int chosen = shown == 0 ? request.response.status : 0;
        request.clear_response();
        request.response.status = chosen;
        request.response.forced_status = shown;
        if (target.front() == '@') {
            request.named_location = target;
            request.internal = true;
        } else {
            const std::size_t question = target.find('?');
            request.set_internal_uri(target.substr(0, question), question == std::string_view::npos
                                                                     ? std::string_view()
                                                                     : target.substr(question + 1));
        }
        co_return Action::redirect();
    }
    request.response.location = target;
    co_return co_await finish_with_status(request, is_redirect(shown) ? shown : 302);
}

// Who captures a response sees the status itself, as with lua-nginx-module.
async::Task<Action> send_status(Request& request, int status) {
    Response& response = request.response;
    response.status = status;
    response.content_type = {};
    response.content_length = 0;
    response.last_modified = -1;
    response.allow_ranges = false;
    static_cast<void>(co_await request.send_head());
    static_cast<void>(co_await request.send_body({{}, {.last = true}}));
    co_return Action::done();
}

std::string_view page_text(Request& request, int status, ServerTokens tokens) {
    const http::ErrorPage* page = http::error_page(status);
    if (page == nullptr) {
        return {};
    }
    const std::string_view server = tokens == ServerTokens::Off ? "moongate" : "moongate/0.1.0";
    const std::string_view before = page->note.empty() ? "" : "<center>";
    const std::string_view after = page->note.empty() ? "" : "</center>\r\n";
    return request.arena().concat("<html>\r\n<head><title>", page->title,
                                  "</title></head>\r\n<body>\r\n<center><h1>", page->heading,
                                  "</h1></center>\r\n", before, page->note, after, "<hr><center>",
                                  server, "</center>\r\n</body>\r\n</html>\r\n");
}

}  // namespace

async::Task<Action> finish_with_status(Request& request, int status) {
    const bool is_subrequest = request.main != &request;
    if (status == kCloseWithoutResponse || status == kClientClosedRequest ||
        (is_subrequest && status == 408 && !request.response.head_sent)) {
        request.response.status = status;
        request.exchange.disable_keep_alive();
        request.exchange.abort();
        co_return Action::done();
    }
    if (request.response.head_sent) {
        if (!request.response.ended) {
            request.exchange
                .abort();  // too late for a status: the client must see that it was cut short
        }
        co_return Action::done();
    }
    if (request.status_only) [[unlikely]] {
        co_return co_await send_status(request, status);
    }
    // An error page that fails itself, or returns a bare status, answers with that.
    request.response.forced_status = 0;
    const auto& core = request.get<CoreLocationSettings>();
    if (ends_connection(status)) {
        request.exchange.disable_keep_alive();
    }
    const bool settle = request.in_error_page && !core.recursive_error_pages;
    if (!settle && request.uri_changes_left > 0) {
        const engine::ErrorPage* page = find_page(core, status);
        if (page != nullptr) {
            request.in_error_page = true;
            co_return co_await send_page(request, *page, status);
        }
    }
    const int shown = http::sent_status(status);
    if (shown < 300 && shown != 0) {
        // A bare 2xx: 201, 204 and what Lua ends with.
        request.response.status = shown;
        request.response.content_length = shown == 204 ? -1 : 0;
        static_cast<void>(co_await request.send_head());
        static_cast<void>(co_await request.send_body({{}, {.last = true}}));
        co_return Action::done();
    }
    // Headers that a handler set for its own response (Content-Type, length, ETag …) do not fit the
    // page; those that belong to the status (Location, WWW-Authenticate, Retry-After) stay.
    Response& response = request.response;
    response.last_modified = -1;
    response.headers.remove(http::HeaderId::ContentEncoding);
    response.headers.remove(http::HeaderId::AcceptRanges);
    response.headers.remove(http::HeaderId::ETag);
    response.allow_ranges = false;
    const std::string_view text =
        shown == 304 ? std::string_view() : page_text(request, status, core.server_tokens);
    static_cast<void>(co_await request.send(shown, text.empty() ? "" : "text/html", text));
    co_return Action::done();
}

}  // namespace moongate::engine
