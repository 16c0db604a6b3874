// See subrequest.h. Source: nginx's ngx_http_subrequest and its postpone filter for what a
// subrequest inherits, lua-nginx-module's documentation of ngx.location.capture.
#include "engine/subrequest.h"

#include <unistd.h>

#include <cerrno>

#include "engine/core_settings.h"
#include "engine/request_body.h"
#include "engine/run.h"
#include "engine/server.h"

namespace moongate::engine {
namespace {

constexpr std::uint32_t kMostAtWork = 64000;

void copy_head(http::RequestHead& to, const http::RequestHead& from, const Request& parent,
               const SubrequestOptions& options, Arena& arena) {
    to.method = options.method;
    to.method_text =
        options.method_text.empty() ? http::method_name(options.method) : options.method_text;
    to.form = from.form;
    to.has_query = from.has_query;
    to.major = from.major;
    to.minor = from.minor;
    to.request_line = from.request_line;
    to.target = from.target;
    to.uri = from.uri;
    to.path = from.path;
    to.query = from.query;
    to.scheme = from.scheme;
    to.authority = from.authority;
    to.headers.bind(arena);
    for (const http::Header& header : parent.headers) {
        // The body has another framing, if there is one at all.
        if (header.id != http::HeaderId::ContentLength &&
            header.id != http::HeaderId::TransferEncoding) {
            to.headers.add(header.name, header.value, header.id, header.hash);
        }
    }
}

bool append_file(std::string& to, const http::BodyPart& part) {
    const std::size_t before = to.size();
    to.resize(before + part.file_size);
    std::size_t done = 0;
    while (done < part.file_size) {
        const ssize_t got = ::pread(part.file, to.data() + before + done, part.file_size - done,
                                    part.offset + static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            to.resize(before + done);
            return false;
        }
        done += static_cast<std::size_t>(got);
    }
    return true;
}

Error not_captured(std::string_view detail) {
    return {ErrorKind::Io, ErrorSide::Internal, false, 0, detail};
}

}  // namespace

bool Subrequest::allowed(Request& parent, std::string_view uri, std::string_view prefix) {
    if (parent.subrequests_left == 0) {
        parent.log_error(LogLevel::Error, "{}subrequests cycle while processing \"{}\"", prefix,
                         uri);
        return false;
    }
    if (parent.main->subrequests_at_work >= kMostAtWork) {
        parent.log_error(LogLevel::Crit, "{}too many subrequests while processing \"{}\"", prefix,
                         uri);
        return false;
    }
    return true;
}

Subrequest::Subrequest(Request& parent, const SubrequestOptions& options) : parent_(parent) {
    using Variables = SubrequestOptions::Variables;
    if (options.variables == Variables::Shared) {
        arena_ = &parent.arena();
    }
    copy_head(head_, parent.exchange.head(), parent, options, arena());
    no_trailers_.bind(arena());
    const http::RequestFraming& framing = parent.exchange.framing();
    framing_.keep_alive = framing.keep_alive;
    framing_.port = framing.port;
    framing_.host = framing.host;

    Request& made = request_.emplace(parent.worker, parent.snapshot,
                                     static_cast<http::Exchange&>(*this), *parent.server);
    made.parent = &parent;
    made.main = parent.main;
    made.host = parent.host;
    made.uri = options.uri;
    made.args = options.args;
    made.set_extension();
    made.internal = true;
    made.valid_unparsed_uri = false;
    made.subrequests_left = static_cast<std::uint8_t>(parent.subrequests_left - 1);
    if (options.variables == Variables::Shared) {
        made.share_values(parent);
    } else if (options.variables == Variables::Copied) {
        made.copy_values(parent);
    }
    if (options.pass_body && parent.body != nullptr) {
        made.body = parent.body;
        if (parent.body->size > 0 || parent.headers.has(http::HeaderId::ContentLength)) {
            framing_.has_content_length = true;
            made.headers.set(http::HeaderId::ContentLength,
                             arena().copy(fmt::format("{}", parent.body->size)));
        }
    }
    ++parent.main->subrequests_at_work;
    next_ = parent.subrequests;
    if (next_ != nullptr) {
        next_->previous_ = this;
    }
    parent.subrequests = this;
}

Subrequest::~Subrequest() {
    (previous_ != nullptr ? previous_->next_ : parent_.subrequests) = next_;
    if (next_ != nullptr) {
        next_->previous_ = previous_;
    }
    --parent_.main->subrequests_at_work;
}

void Subrequest::set_body(std::string_view text) {
    set_request_body(*request_, text);
    framing_.has_content_length = true;
}

Status Subrequest::set_body_file(std::string_view path) {
    framing_.has_content_length = true;
    return set_request_body_file(*request_, path, false);
}

async::Task<void> Subrequest::run() {
    return engine::run(*request_, {});
}

int Subrequest::fatal_status() const {
    const int status = request_->response.status;
    const bool fatal =
        status == kCloseWithoutResponse || status == kClientClosedRequest || status == 408;
    return fatal && !request_->response.head_sent ? status : 0;
}

async::Task<Result<std::size_t>> Subrequest::read_body(char*, std::size_t, Milliseconds) {
    return async::Task<Result<std::size_t>>::ready(Result<std::size_t>(std::size_t{0}));
}

async::Task<Status> Subrequest::send_informational(int, const http::HeaderList&) {
    return async::Task<Status>::ready(Status{});
}

bool wants_abort(const Request& request) {
    if (request.abort_on_client_close) {
        return true;
    }
    for (Subrequest* at = request.subrequests; at != nullptr; at = at->next_) {
        if (wants_abort(at->request())) {
            return true;
        }
    }
    return false;
}

// --- captured ------------------------------------------------------------------------------------

CapturedSubrequest::CapturedSubrequest(Request& parent, const SubrequestOptions& options,
                                       std::size_t limit)
    : Subrequest(parent, options), limit_(limit) {
    request().status_only = true;
}

async::Task<Status> CapturedSubrequest::write(std::span<const http::BodyPart> parts,
                                              http::WriteFlags, Milliseconds) {
    if (request().header_only) {
        return async::Task<Status>::ready(Status{});
    }
    for (const http::BodyPart& part : parts) {
        if (limit_ != 0 && part.size() > limit_ - body_.size()) {
            request().log_error(LogLevel::Error, "too big subrequest response");
            aborted_ = true;
            return async::Task<Status>::ready(Status(not_captured("too big response")));
        }
        if (part.file < 0) {
            body_.append(part.bytes);
        } else if (!append_file(body_, part)) {
            request().log_error(LogLevel::Crit, "reading the response of a subrequest failed {}",
                                errno_text(errno));
            aborted_ = true;
            return async::Task<Status>::ready(Status(not_captured("pread()")));
        }
    }
    return async::Task<Status>::ready(Status{});
}

// --- streamed ------------------------------------------------------------------------------------

StreamedSubrequest::StreamedSubrequest(Request& parent, const SubrequestOptions& options)
    : Subrequest(parent, options),
      order_(Streaming::of(parent).order()),
      node_(order_.add(Streaming::of(parent).node())) {}

StreamedSubrequest::~StreamedSubrequest() {
    if (!finished_) {
        order_.close();  // cancelled, and with it the response
    }
}

async::Task<void> StreamedSubrequest::stream() {
    co_await run();
    finished_ = true;
    order_.end(*node_);
    if (fatal_status() != 0) {
        order_.fail();
    }
}

async::Task<Status> StreamedSubrequest::write(std::span<const http::BodyPart> parts,
                                              http::WriteFlags flags, Milliseconds) {
    if (request().header_only) {
        parts = {};
    }
    return order_.write(*node_, {parts, flags});
}

void StreamedSubrequest::abort() {
    order_.fail();
}

Streaming::Streaming(Request& request, OutputOrder* order, OutputOrder::Node* node)
    : order_(order), node_(node), tasks_(request.reactor()) {
    if (order_ == nullptr) {
        own_.emplace(request);
        order_ = &*own_;
        node_ = &own_->root();
    }
}

Streaming::~Streaming() {
    if (own_) {
        own_->close();
    }
}

Streaming& Streaming::of(Request& request) {
    if (request.streaming == nullptr) {
        auto* streamed = dynamic_cast<StreamedSubrequest*>(&request.exchange);
        request.streaming =
            streamed == nullptr
                ? std::make_unique<Streaming>(request, nullptr, nullptr)
                : std::make_unique<Streaming>(request, &streamed->order(), &streamed->node());
    }
    return *request.streaming;
}

namespace {

async::Task<void> run_beside(std::unique_ptr<StreamedSubrequest> subrequest) {
    co_await async::yield(subrequest->request().reactor());  // the parent goes on first
    co_await subrequest->stream();
}

}  // namespace

void Streaming::start(std::unique_ptr<StreamedSubrequest> subrequest) {
    tasks_.spawn("subrequest", run_beside(std::move(subrequest)));
}

}  // namespace moongate::engine
