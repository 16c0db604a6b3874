#include "engine/request_body.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/request.h"

namespace moongate::engine {
namespace {

Error client_error(ErrorKind kind, int status, std::string_view detail) {
    return {kind, ErrorSide::Client, false, status, detail};
}

Error server_error(std::string_view detail) {
    return {ErrorKind::Io, ErrorSide::Internal, false, 500, detail};
}

// What a failed read means for the client, logged as nginx logs it.
Error read_error(Request& request, const Error& error, std::uint64_t received) {
    switch (error.kind) {
        case ErrorKind::TooLarge:
            request.log_error(LogLevel::Error,
                              "client intended to send too large chunked body: {} bytes", received);
            return client_error(error.kind, 413, "the body is too large");
        case ErrorKind::TimedOut:
            request.log_error(LogLevel::Info, "client timed out");
            return client_error(error.kind, 408, "the client timed out");
        case ErrorKind::Protocol:
            request.log_error(LogLevel::Error, "client sent invalid chunked body");
            return client_error(error.kind, 400, "the body is malformed");
        case ErrorKind::Closed:
        case ErrorKind::Reset:
            request.log_error(LogLevel::Info, "client prematurely closed connection");
            return client_error(error.kind, 400, "the client closed the connection");
        default:
            request.log_error(LogLevel::Error, "reading the request's body failed: {}",
                              error.detail);
            return server_error(error.detail);
    }
}

bool write_all(int fd, const char* from, std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t done = ::write(fd, from, bytes);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return false;
        }
        from += done;
        bytes -= static_cast<std::size_t>(done);
    }
    return true;
}

// Gives the body a file. It keeps its name while the request lives: Lua and upstreams may be told
// it.
Status open_body_file(Request& request, RequestBody& body) {
    const auto& core = request.get<CoreLocationSettings>();
    std::string name;
    const auto fd =
        open_temporary_file(core.client_body_temp_path, &name, core.client_body_temp_levels);
    if (!fd) {
        request.log_error(LogLevel::Crit, "open() temporary file in \"{}\" failed {}",
                          core.client_body_temp_path, errno_text(fd.error().code));
        return server_error("no temporary file");
    }
    body.file = *fd;
    body.file_name = request.arena().copy(name);
    body.remove_file = core.client_body_in_file_only != 1;
    request.log_error(core.client_body_in_file_only != 0 ? LogLevel::Notice : LogLevel::Warn,
                      "a client request body is buffered to a temporary file {}", name);
    return {};
}

Status append_to_file(Request& request, RequestBody& body, std::string_view bytes) {
    if (body.file < 0) {
        if (auto opened = open_body_file(request, body); !opened) {
            return opened;
        }
    }
    if (!write_all(body.file, bytes.data(), bytes.size())) {
        request.log_error(LogLevel::Crit, "write() \"{}\" failed {}", body.file_name,
                          errno_text(errno));
        return server_error("the temporary file cannot be written");
    }
    return {};
}

// Where bytes are read to. A known length a little above the buffer's size still gets memory of its
// own, as in nginx; an unknown one begins small.
struct ReadBuffer {
    char* data = nullptr;
    std::size_t size = 0;
    std::size_t used = 0;
    std::size_t most = 0;
};

ReadBuffer make_buffer(Request& request, const http::RequestFraming& framing,
                       const CoreLocationSettings& core) {
    constexpr std::size_t kFirst = 4096;
    ReadBuffer buffer;
    buffer.most = std::max<std::size_t>(core.client_body_buffer_size, 1);
    buffer.size = std::min(kFirst, buffer.most);
    if (framing.body == http::BodyKind::Length) {
        const std::uint64_t fits = buffer.most + buffer.most / 4;
        if (framing.content_length < fits) {
            buffer.most = static_cast<std::size_t>(framing.content_length) + 1;
        }
        buffer.size = buffer.most;
    }
    buffer.data = request.arena().allocate_chars(buffer.size);
    return buffer;
}

// Makes room: by twice the memory up to the most allowed, then by writing to the file.
Status make_room(Request& request, RequestBody& body, ReadBuffer& buffer) {
    if (buffer.used < buffer.size) {
        return {};
    }
    if (body.file < 0 && buffer.size < buffer.most) {
        const std::size_t size = std::min(buffer.size * 2, buffer.most);
        char* data = request.arena().allocate_chars(size);
        std::memcpy(data, buffer.data, buffer.used);
        buffer.data = data;
        buffer.size = size;
        return {};
    }
    auto written = append_to_file(request, body, {buffer.data, buffer.used});
    buffer.used = 0;
    return written;
}

}  // namespace

RequestBody::~RequestBody() {
    if (file >= 0) {
        ::close(file);
        if (remove_file) {
            ::unlink(file_name.data());
        }
    }
}

async::Task<Status> read_request_body(Request& request) {
    if (request.body != nullptr) {
        co_return Status();
    }
    const http::RequestFraming& framing = request.exchange.framing();
    // A subrequest got its body when it was made, or none.
    if (request.main != &request || framing.body == http::BodyKind::None ||
        request.exchange.body_ended()) {
        request.body = request.arena().make<RequestBody>();
        co_return Status();
    }
    const auto& core = request.get<CoreLocationSettings>();
    if (core.client_max_body_size != 0 && framing.body == http::BodyKind::Length &&
        framing.content_length > core.client_max_body_size) {
        request.log_error(LogLevel::Error, "client intended to send too large body: {} bytes",
                          framing.content_length);
        co_return client_error(ErrorKind::TooLarge, 413, "the body is too large");
    }
    request.exchange.limit_body(core.client_max_body_size);
    request.log_action = "reading client request body";

    RequestBody& body = *request.arena().make<RequestBody>();
    ReadBuffer buffer = make_buffer(request, framing, core);
    while (!request.exchange.body_ended()) {
        if (auto room = make_room(request, body, buffer); !room) {
            co_return room.error();
        }
        const auto read = co_await request.exchange.read_body(
            buffer.data + buffer.used, buffer.size - buffer.used, core.client_body_timeout);
        if (!read) {
            co_return read_error(request, read.error(), body.size);
        }
        if (*read == 0) {
            break;
        }
        buffer.used += *read;
        body.size += *read;
    }
    if (body.file >= 0 || core.client_body_in_file_only != 0) {
        if (auto written = append_to_file(request, body, {buffer.data, buffer.used}); !written) {
            co_return written.error();
        }
    } else {
        body.memory = {buffer.data, buffer.used};
    }
    request.body = &body;
    request.log_action = {};
    co_return Status();
}

namespace {

void replace_body(Request& request, RequestBody& body) {
    request.body = &body;
    request.headers.remove(http::HeaderId::TransferEncoding);
    request.headers.set(http::HeaderId::ContentLength,
                        request.arena().copy(fmt::format("{}", body.size)));
}

}  // namespace

void set_request_body(Request& request, std::string_view data) {
    RequestBody& body = *request.arena().make<RequestBody>();
    body.memory = request.arena().copy(data);
    body.size = data.size();
    replace_body(request, body);
}

NewRequestBody::NewRequestBody(Request& request, std::size_t in_memory)
    : request_(request), body_(request.arena().make<RequestBody>()), in_memory_(in_memory) {}

Status NewRequestBody::append(std::string_view data) {
    body_->size += data.size();
    if (pending_.size() + data.size() <= in_memory_) {
        pending_.append(data);
        return {};
    }
    if (!pending_.empty()) {
        if (Status written = append_to_file(request_, *body_, pending_); !written) {
            return written;
        }
        pending_.clear();
    }
    if (data.size() > in_memory_) {
        return append_to_file(request_, *body_, data);
    }
    pending_ = data;
    return {};
}

Status NewRequestBody::finish() {
    if (body_->file >= 0) {
        if (Status written = append_to_file(request_, *body_, pending_); !written) {
            return written;
        }
    } else {
        body_->memory = request_.arena().copy(pending_);
    }
    pending_ = {};
    replace_body(request_, *body_);
    return {};
}

Status set_request_body_file(Request& request, std::string_view path, bool remove_later) {
    const std::string_view name = request.arena().copy(path);
    const int fd = ::open(name.data(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno_error(errno, "open()");
    }
    struct stat info{};
    const bool known = ::fstat(fd, &info) == 0;
    if (!known || !S_ISREG(info.st_mode)) {
        const int error = known ? EISDIR : errno;
        ::close(fd);
        return errno_error(error, "fstat()");
    }
    RequestBody& body = *request.arena().make<RequestBody>();
    body.file = fd;
    body.file_name = name;
    body.remove_file = remove_later;
    body.size = static_cast<std::uint64_t>(info.st_size);
    replace_body(request, body);
    return {};
}

async::Task<Status> discard_request_body(Request& request) {
    if (request.main != &request || request.body != nullptr || request.exchange.body_ended()) {
        co_return Status();
    }
    const auto& core = request.get<CoreLocationSettings>();
    constexpr std::size_t kRoom = 4096;
    char* room = request.arena().allocate_chars(kRoom);
    const auto end =
        request.reactor().now_ms() + static_cast<std::uint64_t>(core.lingering_time.count());
    while (!request.exchange.body_ended()) {
        const auto now = request.reactor().now_ms();
        if (now >= end) {
            co_return client_error(ErrorKind::TimedOut, 408, "the client timed out");
        }
        const auto left = Milliseconds(static_cast<std::int64_t>(end - now));
        const auto read = co_await request.exchange.read_body(
            room, kRoom, std::min(left, core.lingering_timeout));
        if (!read) {
            co_return read_error(request, read.error(), 0);
        }
        if (*read == 0) {
            break;
        }
    }
    request.body = request.arena().make<RequestBody>();
    co_return Status();
}

}  // namespace moongate::engine
