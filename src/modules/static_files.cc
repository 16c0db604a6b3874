// The `static` content handler: a file for GET and HEAD, a redirect for a directory. See
// static_files.h.
#include "modules/static_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "http/uri.h"
#include "modules/answer.h"

namespace moongate::modules {

namespace {

using engine::Action;
using http::Method;

class OpenFile {
public:
    explicit OpenFile(const char* path)
        // O_NONBLOCK: opening a FIFO must not wait for its other end.
        : fd_(::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    ~OpenFile() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    int fd() const { return fd_; }

private:
    int fd_;
};

Action refuse(engine::Request& request, std::string_view call, const char* path, int error) {
    int status = 500;
    LogLevel level = LogLevel::Crit;
    switch (error) {
        case ENOENT:
        case ENOTDIR:
        case ENAMETOOLONG:
            status = 404;
            level = LogLevel::Error;
            break;
        case EACCES:
        case EMLINK:
        case ELOOP:
            status = 403;
            level = LogLevel::Error;
            break;
        default:
            break;
    }
    if (status != 404 || request.get<engine::CoreLocationSettings>().log_not_found) {
        request.log_error(level, "{} \"{}\" failed {}", call, path, errno_text(error));
    }
    return Action::finish(status);
}

// A URI may have been rewritten from parts that a client chose: no segment leads upwards, and no
// NUL hides an end.
bool is_safe(std::string_view path) {
    if (path.find('\0') != std::string_view::npos) {
        return false;
    }
    for (std::size_t at = path.find("/.."); at != std::string_view::npos;
         at = path.find("/..", at + 1)) {
        if (at + 3 == path.size() || path[at + 3] == '/') {
            return false;
        }
    }
    return true;
}

Action redirect_to_directory(engine::Request& request) {
    Arena& arena = request.arena();
    const std::string_view uri = http::escape_uri(request.uri, http::EscapeType::Uri, arena);
    request.response.location =
        request.args.empty() ? arena.concat(uri, "/") : arena.concat(uri, "/?", request.args);
    return Action::finish(301);
}

void describe(engine::Request& request, const struct stat& info) {
    engine::Response& response = request.response;
    response.status = 200;
    response.content_length = info.st_size;
    response.last_modified = info.st_mtime;
    response.allow_ranges = true;
    if (response.content_type.empty()) {
        response.content_type = media_type(request);
    }
    if (request.get<engine::CoreLocationSettings>().etag) {
        char* etag = request.arena().allocate_chars(40);
        const auto end = fmt::format_to_n(etag, 40, "\"{:x}-{:x}\"", info.st_mtime, info.st_size);
        response.headers.set(http::HeaderId::ETag, {etag, end.size});
    }
}

async::Task<Action> serve_file(engine::Request& request) {
    if (request.method != Method::Get && request.method != Method::Head &&
        request.method != Method::Post) {
        co_return Action::finish(405);
    }
    if (request.uri.empty() || request.uri.back() == '/') {
        co_return Action::next();
    }
    const auto mapped = engine::map_uri_to_path(request);
    if (!mapped.has_value()) {
        co_return Action::finish(500);
    }
    if (!is_safe(request.uri)) {
        request.log_error(LogLevel::Error, "unsafe path \"{}\"", mapped->text());
        co_return Action::finish(404);
    }
    const OpenFile file(mapped->path);
    if (file.fd() < 0) {
        co_return refuse(request, "open()", mapped->path, errno);
    }
    struct stat info{};
    if (::fstat(file.fd(), &info) != 0) {
        co_return refuse(request, "fstat()", mapped->path, errno);
    }
    if (S_ISDIR(info.st_mode)) {
        co_return redirect_to_directory(request);
    }
    if (!S_ISREG(info.st_mode)) {
        request.log_error(LogLevel::Crit, "\"{}\" is not a regular file", mapped->path);
        co_return Action::finish(404);
    }
    if (request.method == Method::Post) {
        co_return Action::finish(405);
    }
    request.log_action = "sending response to client";
    describe(request, info);
    const Status head = co_await request.send_head();
    if (!head) {
        co_return after_send(head);
    }
    const http::BodyPart part{
        .file = file.fd(), .offset = 0, .file_size = static_cast<std::size_t>(info.st_size)};
    const std::span<const http::BodyPart> parts(&part, info.st_size == 0 ? 0 : 1);
    const Status body = co_await request.send_body({parts, {.last = true}});
    co_return after_send(body);
}

void install(engine::Location& location) {
    location.handlers.add(engine::Phase::Content, {.name = "static", .wait = &serve_file});
}

}  // namespace

const engine::Module static_module{
    .directives = {.module = "static"},
    .install = &install,
};

}  // namespace moongate::modules
