#include "modules/memc/protocol.h"

#include "base/strings.h"
#include "engine/request.h"
#include "modules/answer.h"

namespace moongate::modules {

using upstream::BodyStep;
using upstream::HeadStep;

namespace {
constexpr std::string_view kValueEnd = "\r\nEND\r\n";
}

MemcProtocol::MemcProtocol(engine::Request& request, MemcCommand command, std::string_view head,
                           std::string_view key, MemcFlags flags)
    : request_(request),
      command_(command),
      request_head_(head),
      key_(key),
      flags_(flags),
      headers_(request.arena()) {}

void MemcProtocol::begin_response() {
    value_flags_ = {};
    status_ = 0;
    length_ = left_ = 0;
    trailer_ = 0;
    has_body_ = false;
    intact_ = true;
}

HeadStep MemcProtocol::invalid(std::string_view what) {
    request_.log_error(LogLevel::Error, "{}", what);
    return {HeadStep::Kind::Invalid, 0};
}

HeadStep MemcProtocol::read_head(std::string_view bytes) {
    if (command_ == MemcCommand::Get) {
        return read_value_line(bytes);
    }
    const MemcReply reply = parse_memc_reply(command_, bytes);
    switch (reply.kind) {
        case MemcReply::Kind::Partial:
            return {HeadStep::Kind::NeedMore, 0};
        case MemcReply::Kind::Invalid:
            return invalid(
                fmt::format("memcached sent invalid response for command \"{}\" at pos {}: {}",
                            memc_name(command_), reply.size, bytes.substr(0, reply.size + 1)));
        case MemcReply::Kind::Whole:
            break;
    }
    status_ = reply.status;
    if (status_ == 404) {
        return {HeadStep::Kind::Final, reply.size};
    }
    // The answer is the body, so that nothing of it counts as the head.
    has_body_ = true;
    length_ = left_ = reply.size;
    trailer_ = kValueEnd.size();
    return {HeadStep::Kind::Final, 0};
}

// VALUE key flags length, or END.
HeadStep MemcProtocol::read_value_line(std::string_view bytes) {
    const std::size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
        return {HeadStep::Kind::NeedMore, 0};
    }
    const std::string_view line = bytes.substr(0, end == 0 ? 0 : end - 1);
    const auto no_valid = [&] {
        return invalid(fmt::format("memcached sent invalid response: \"{}\"", line));
    };
    if (end == 0 || bytes[end - 1] != '\r') {
        return no_valid();
    }
    if (line == "END") {
        request_.log_error(LogLevel::Info, "key: \"{}\" was not found by memcached", key_);
        status_ = 404;
        return {HeadStep::Kind::Final, end + 1};
    }
    constexpr std::string_view kValue = "VALUE ";
    if (!line.starts_with(kValue)) {
        return no_valid();
    }
    std::string_view rest = line.substr(kValue.size());
    if (!rest.starts_with(key_)) {
        return invalid(fmt::format("memcached sent invalid key in response \"{}\" for key \"{}\"",
                                   line, key_));
    }
    rest.remove_prefix(key_.size());
    const std::size_t space = rest.find(' ', 1);
    if (!rest.starts_with(' ') || space == std::string_view::npos) {
        return no_valid();
    }
    const std::string_view flags = rest.substr(1, space - 1);
    const auto length = parse_number<std::int64_t>(rest.substr(space + 1));
    if (!length) {
        return invalid(fmt::format(
            "memcached sent invalid length in response \"{}\" for key \"{}\"", line, key_));
    }
    if (flags_.gzip != 0 && !parse_number<std::uint32_t>(flags)) {
        return invalid(fmt::format("memcached sent invalid flags in response \"{}\" for key \"{}\"",
                                   line, key_));
    }
    value_flags_ = request_.arena().copy(flags);
    status_ = 200;
    has_body_ = true;
    length_ = left_ = static_cast<std::uint64_t>(*length);
    intact_ = false;  // until the end of the value was seen
    return {HeadStep::Kind::Final, end + 1};
}

BodyStep MemcProtocol::read_body(std::string_view bytes) {
    if (left_ > 0) {
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
        if (size == 0) {
            return {};
        }
        left_ -= size;
        return {BodyStep::Kind::Data, size, bytes.substr(0, size)};
    }
    const std::string_view expected = kValueEnd.substr(trailer_);
    const std::size_t size = std::min(expected.size(), bytes.size());
    if (bytes.substr(0, size) != expected.substr(0, size)) {
        request_.log_error(LogLevel::Error, "memcached sent invalid trailer");
        return {BodyStep::Kind::Done, bytes.size(), {}};
    }
    trailer_ += size;
    if (trailer_ < kValueEnd.size()) {
        return {BodyStep::Kind::NeedMore, size, {}};
    }
    intact_ = true;
    return {BodyStep::Kind::Done, size, {}};
}

engine::Action MemcProtocol::fill_response() {
    if (status_ == 404) {
        return engine::Action::finish(404);
    }
    engine::Response& response = request_.response;
    response.status = status_;
    response.content_type = media_type(request_);
    response.content_length = static_cast<std::int64_t>(length_);
    if (command_ != MemcCommand::Get) {
        return engine::Action::next();
    }
    if (flags_.variable >= 0) {
        request_.store(flags_.variable, value_flags_);
    }
    if (flags_.to_last_modified) {
        response.last_modified = parse_number<std::int64_t>(value_flags_).value_or(-1);
    }
    const std::uint32_t bits = parse_number<std::uint32_t>(value_flags_).value_or(0);
    if ((bits & flags_.gzip) != 0) {
        response.headers.set(http::HeaderId::ContentEncoding, "gzip");
    }
    return engine::Action::next();
}

}  // namespace moongate::modules
