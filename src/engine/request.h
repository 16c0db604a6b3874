// Request: one HTTP request from its head to its log line (nginx's ngx_http_request_t). Built by
// the engine when a session hands it an Exchange, destroyed after the log phase; everything it
// points to lives in its arena, in the session's buffers or in the snapshot it pins. Belongs to one
// worker. A subrequest is a Request with a parent, on an Exchange that captures its response.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "async/reactor.h"
#include "base/log.h"
#include "conf/level.h"
#include "conf/variables.h"
#include "engine/filters.h"
#include "http/exchange.h"

namespace moongate::engine {

struct Location;
struct Server;
struct ListenAddress;
struct RequestBody;
class Snapshot;
class Streaming;
class Subrequest;
class WorkerState;

// The response's head until it is sent; filters and Lua change it.
struct Response {
    int status = 0;  // 0: not decided
    std::string_view status_text;
    std::string_view content_type;  // empty: the location's default_type is not applied by itself
    std::string_view charset;
    std::int64_t content_length = -1;
    std::int64_t last_modified = -1;  // seconds since the epoch
    std::string_view location;
    http::HeaderList headers;  // all but Content-Type, Content-Length, Last-Modified, Location,
                               // Server, Date, Connection, Transfer-Encoding; Server and Date too
                               // where somebody set them (empty: they are not sent)
    const http::HeaderList* trailers = nullptr;
    bool ignores_conditions = false;  // If-Match, If-Modified-Since and so on do not count
    bool allow_ranges = false;        // the content handler can serve ranges: adds Accept-Ranges
    int forced_status =
        0;  // an error page is being sent: this status, whatever the page's handler sets
    bool head_sent = false;  // passed all filters
    bool ended = false;      // the last part passed all filters
};

class Request final : public conf::VariableSource {
public:
    // `snapshot` must be pinned by the caller for as long as the request lives.
    Request(WorkerState& worker, const Snapshot& snapshot, http::Exchange& exchange,
            const Server& server);
    ~Request();

    // --- what it runs on
    WorkerState& worker;
    const Snapshot& snapshot;
    http::Exchange& exchange;
    const Server* server;
    const Location* location;  // server->default_location until the find_config phase
    Request* parent = nullptr;
    Request* main = this;

    async::Reactor& reactor() const;
    const conf::SettingsSet& settings() const;
    template <class S>
    const S& get() const {
        return settings().get<S>();
    }

    // --- the request line, as it may have been rewritten
    http::Method method;
    std::string_view method_text;
    std::string_view uri;        // decoded and normalised
    std::string_view args;       // without '?'
    std::string_view extension;  // of uri
    std::string_view host;       // $host: lower case; the server's name where the client sent none
    http::HeaderList& headers;   // the exchange's: Lua and modules may change it
    std::string_view named_location;  // set with Action::redirect() to go to @name
    std::string_view location_key;    // set by a find_config handler: the location is searched for
                                      // this instead of the URI, once
    bool uri_changed = false;  // by rewrite: look for the location again after the rewrite phase
    bool valid_unparsed_uri = true;  // head().uri still stands for uri and args
    bool valid_location = true;  // false: `rewrite ... break` changed the URI, so that it no longer
                                 // begins with the location's name (alias, proxy_pass)
    bool add_uri_to_alias = false;  // try_files in a regex location with alias: the URI goes on
    bool internal = false;
    bool header_only = false;  // HEAD, or a subrequest that wants no body
    bool in_error_page = false;
    std::uint8_t uri_changes_left = 11;  // ten redirects, as in nginx
    std::uint8_t subrequests_left = 51;  // levels of nesting, as in nginx

    // --- subrequests (subrequest.h)
    Subrequest* subrequests = nullptr;      // those it has now
    std::uint32_t subrequests_at_work = 0;  // of the main request, on all levels
    bool status_only = false;               // captured: no error pages
    std::unique_ptr<Streaming> streaming;   // null: it never had a streamed one

    // --- body
    RequestBody* body = nullptr;  // null until somebody reads it (request_body.h)

    // --- response
    Response response;
    // Sends the head through the filters. An error means the client is gone or a filter refused.
    async::Task<Status> send_head();
    async::Task<Status> send_body(BodyChunk chunk);
    // Head and a body in memory, in one: status, type and length are set from the arguments.
    async::Task<Status> send(int status, std::string_view content_type, std::string_view body);
    // Removes what a previous attempt set before an error page or another response is built.
    void clear_response();
    int filter_status = 0;         // a header filter refused the response: its page is sent instead
    std::int64_t limit_rate = -1;  // bytes a second, of $limit_rate; -1: the location's setting
    // True where the rest of the phases may stop because the client left (proxy_ignore_client_abort
    // off …).
    bool abort_on_client_close = false;
    // Asked before that: true where somebody saw to the client's leaving and the phases go on.
    bool (*on_client_close)(Request&) = nullptr;

    // --- modules' data
    // pointer a module (Module::context_slot); cleared by internal redirects as in nginx.
    template <class T>
    T*& context(int slot) {
        return reinterpret_cast<T*&>(contexts_[static_cast<std::size_t>(slot)]);
    }
    void clear_contexts();

    // --- for $request_time, $status, the log
    std::uint64_t start_ms;       // Clock::unix_ms() at the first byte
    std::uint64_t start_mono_ms;  // Clock::monotonic_ms()
    const Log& log() const;
    template <class... Args>
    void log_error(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
        if (log().enabled(level)) {
            write_log(level, one_line(fmt::format(format, std::forward<Args>(args)...)));
        }
    }
    // With line ends as \x0A: what came from a peer must not begin a log line of its own.
    static std::string one_line(std::string message);
    // As log_error() for text that may have several lines (Lua's tracebacks).
    // Appends ", client: …, server: …, request: …, upstream: …, host: …, referrer: …" as nginx
    // does.
    void write_log(LogLevel level, std::string_view message) const;
    // What write_log says the engine was doing, such as "reading client request headers"; a
    // literal.
    std::string_view log_action;
    std::string_view log_upstream;  // "http://127.0.0.1:8081/x" while an upstream is asked

    // --- redirects
    // Prepares Action::redirect() to `new_uri` (decoded); the caller returns it.
    void set_internal_uri(std::string_view new_uri, std::string_view new_args);
    void set_extension();

private:
    std::span<void*> contexts_;
};

}  // namespace moongate::engine
