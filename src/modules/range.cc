// See range.h. A range of a response that comes in pieces is cut out as they pass; several ranges
// need the body in one piece, as a file is.
#include "modules/range.h"

#include <limits>
#include <vector>

#include "base/clock.h"
#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/request.h"
#include "modules/range_parse.h"

namespace moongate::modules {

namespace {

using http::BodyPart;
using http::HeaderId;

int range_slot = -1;

struct Ranges {
    std::vector<ByteRange> ranges;
    std::int64_t length = 0;  // of the whole body
    std::int64_t passed = 0;  // bytes of it that went by
    bool ended = false;
    std::string_view part_head;  // of several: "\r\n--BOUNDARY\r\nContent-Type: …\r\n…bytes "
    std::string_view closing;    // "\r\n--BOUNDARY--\r\n"
    std::vector<std::string_view> positions;  // "0-1/9\r\n\r\n"
};

// nginx: a number of 20 digits that no other response of this worker has.
std::string_view make_boundary(engine::Request& request) {
    thread_local std::uint64_t counter = 0;
    const std::uint64_t mixed = (request.exchange.connection().number << 24) ^
                                (Clock::current().unix_ms() << 8) ^ ++counter;
    return request.arena().copy(fmt::format("{:020}", mixed));
}

bool if_range_allows(const engine::Request& request) {
    const http::Header* condition = request.headers.find(HeaderId::IfRange);
    if (condition == nullptr) {
        return true;
    }
    const std::string_view value = condition->value;
    if (value.size() >= 2 && value.back() == '"') {
        const http::Header* etag = request.response.headers.find(HeaderId::ETag);
        return etag != nullptr && etag->value == value;
    }
    return request.response.last_modified >= 0 &&
           parse_http_date(value) == request.response.last_modified;
}

void describe_single(engine::Request& request, const Ranges& state) {
    engine::Response& response = request.response;
    const ByteRange& range = state.ranges.front();
    response.headers.set(HeaderId::ContentRange,
                         request.arena().copy(fmt::format("bytes {}-{}/{}", range.start,
                                                          range.end - 1, state.length)));
    response.content_length = range.end - range.start;
}

void describe_multiple(engine::Request& request, Ranges& state) {
    engine::Response& response = request.response;
    Arena& arena = request.arena();
    const std::string_view boundary = make_boundary(request);
    std::string head = fmt::format("\r\n--{}\r\n", boundary);
    if (!response.content_type.empty()) {
        head += fmt::format("Content-Type: {}", response.content_type);
        if (!response.charset.empty()) {
            head += fmt::format("; charset={}", response.charset);
        }
        head += "\r\n";
    }
    head += "Content-Range: bytes ";
    state.part_head = arena.copy(head);
    state.closing = arena.concat("\r\n--", boundary, "--\r\n");
    auto total = static_cast<std::int64_t>(state.closing.size());
    for (const ByteRange& range : state.ranges) {
        state.positions.push_back(
            arena.copy(fmt::format("{}-{}/{}\r\n\r\n", range.start, range.end - 1, state.length)));
        total += static_cast<std::int64_t>(state.part_head.size() + state.positions.back().size()) +
                 (range.end - range.start);
    }
    response.content_type = arena.concat("multipart/byteranges; boundary=", boundary);
    response.charset = {};
    response.content_length = total;
    response.headers.remove(HeaderId::ContentRange);
}

Status adjust_head(engine::Request& request) {
    engine::Response& response = request.response;
    if (!response.allow_ranges || response.status != 200 || request.main != &request ||
        response.content_length < 0) [[likely]] {
        return {};
    }
    // The directive's default stands for "no limit", which is a number in nginx too.
    constexpr std::int64_t kNoLimit = std::numeric_limits<std::int32_t>::max();
    std::int64_t most = request.get<engine::CoreLocationSettings>().max_ranges;
    most = most == kNoLimit ? -1 : most;
    if (most == 0) {
        return {};
    }
    const http::Header* header = request.headers.find(HeaderId::Range);
    if (header != nullptr && if_range_allows(request)) {
        auto* state = request.arena().make<Ranges>();
        state->length = response.content_length;
        switch (parse_ranges(header->value, state->length, most, state->ranges)) {
            case RangeAnswer::NotSatisfiable:
                response.headers.set(HeaderId::ContentRange, request.arena().copy(fmt::format(
                                                                 "bytes */{}", state->length)));
                return Error{ErrorKind::Denied, ErrorSide::Client, false, 416,
                             "range not satisfiable"};
            case RangeAnswer::Ranges:
                request.context<Ranges>(range_slot) = state;
                response.status = 206;
                response.status_text = {};
                if (state->ranges.size() == 1) {
                    describe_single(request, *state);
                } else {
                    describe_multiple(request, *state);
                }
                return {};
            case RangeAnswer::Whole:
                break;
        }
    }
    response.headers.set(HeaderId::AcceptRanges, "bytes");
    return {};
}

// Appends the bytes [from, to) of `parts`, counted from their beginning.
void slice(std::span<const BodyPart> parts, std::uint64_t from, std::uint64_t to,
           std::vector<BodyPart>& out) {
    std::uint64_t at = 0;
    for (const BodyPart& part : parts) {
        const std::uint64_t size = part.size();
        const std::uint64_t first = std::max(from, at);
        const std::uint64_t last = std::min(to, at + size);
        if (first < last) {
            BodyPart piece = part;
            if (part.file >= 0) {
                piece.offset += static_cast<off_t>(first - at);
                piece.file_size = last - first;
            } else {
                piece.bytes = part.bytes.substr(first - at, last - first);
            }
            out.push_back(piece);
        }
        at += size;
    }
}

async::Task<Status> settled(Status status) {
    co_return status;
}

async::Task<Status> pass(engine::Request& request, std::vector<BodyPart> parts,
                         http::WriteFlags flags, engine::FilterPosition next) {
    co_return co_await engine::next_body(request, {parts, flags}, next);
}

async::Task<Status> single_body(engine::Request& request, Ranges& state, engine::BodyChunk chunk,
                                engine::FilterPosition next) {
    const ByteRange& range = state.ranges.front();
    const std::int64_t start = state.passed;
    state.passed += static_cast<std::int64_t>(chunk.size());
    if (state.ended) {
        return settled({});
    }
    std::vector<BodyPart> out;
    slice(chunk.parts, static_cast<std::uint64_t>(std::max<std::int64_t>(range.start - start, 0)),
          static_cast<std::uint64_t>(std::max<std::int64_t>(range.end - start, 0)), out);
    http::WriteFlags flags = chunk.flags;
    if (range.end <= state.passed) {
        flags.last = true;
        state.ended = true;
    }
    if (out.empty() && !flags.last && !flags.flush) {
        return settled({});
    }
    return pass(request, std::move(out), flags, next);
}

async::Task<Status> multiple_body(engine::Request& request, Ranges& state, engine::BodyChunk chunk,
                                  engine::FilterPosition next) {
    if (state.ended || chunk.parts.empty()) {
        return settled({});
    }
    if (static_cast<std::int64_t>(chunk.size()) != state.length) {
        request.log_error(LogLevel::Alert, "range in overlapped buffers");
        return settled(Error{ErrorKind::Unsupported, ErrorSide::Internal, false, 0,
                             "several ranges of a body in pieces"});
    }
    state.ended = true;
    std::vector<BodyPart> out;
    for (std::size_t i = 0; i < state.ranges.size(); ++i) {
        out.push_back({.bytes = state.part_head});
        out.push_back({.bytes = state.positions[i]});
        slice(chunk.parts, static_cast<std::uint64_t>(state.ranges[i].start),
              static_cast<std::uint64_t>(state.ranges[i].end), out);
    }
    out.push_back({.bytes = state.closing});
    http::WriteFlags flags = chunk.flags;
    flags.last = true;
    return pass(request, std::move(out), flags, next);
}

async::Task<Status> filter_body(engine::Request& request, engine::BodyChunk chunk,
                                engine::FilterPosition next) {
    Ranges* state = request.context<Ranges>(range_slot);
    if (state == nullptr) [[likely]] {
        return engine::next_body(request, chunk, next);
    }
    return state->ranges.size() == 1 ? single_body(request, *state, chunk, next)
                                     : multiple_body(request, *state, chunk, next);
}

constexpr engine::Filter kHeaderFilter{.name = "range_header", .adjust_head = &adjust_head};
constexpr engine::Filter kBodyFilter{.name = "range_body", .body = &filter_body};

}  // namespace

const engine::Module range_body_module{
    .directives = {.module = "range_body"},
    .context_slot = &range_slot,
    .install = [](engine::Location& location) { location.filters.push_back(&kBodyFilter); },
};
const engine::Module range_header_module{
    .directives = {.module = "range_header"},
    .install = [](engine::Location& location) { location.filters.push_back(&kHeaderFilter); },
};

}  // namespace moongate::modules
