// MemcProtocol: memcached's text protocol for UpstreamFlow. A value that was asked for becomes the
// response's body; the answers to all other commands are bodies as they are. Source: memcached's
// protocol.txt. One object a request, in its arena; one worker.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "upstream/protocol.h"

namespace moongate::engine {
class Request;
}

namespace moongate::modules {

enum class MemcCommand : std::uint8_t {
    Get,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Delete,
    Incr,
    Decr,
    FlushAll,
    Stats,
    Version,
};
inline constexpr std::size_t kMemcCommands = 12;

std::string_view memc_name(MemcCommand command);
std::optional<MemcCommand> memc_command(std::string_view name);
// The commands that bring a value: set, add, replace, append, prepend.
constexpr bool memc_stores(MemcCommand command) {
    return command >= MemcCommand::Set && command <= MemcCommand::Prepend;
}

// How far an answer reaches in the bytes that came.
struct MemcReply {
    enum class Kind : std::uint8_t { Partial, Whole, Invalid };
    Kind kind = Kind::Partial;
    std::size_t size = 0;  // Whole: its bytes; Invalid: where it went wrong
    int status = 200;      // Whole: what it means for the client
};
// The answer to any command but get.
MemcReply parse_memc_reply(MemcCommand command, std::string_view bytes);

// What a value's flags are for.
struct MemcFlags {
    int variable = -1;              // receives them
    bool to_last_modified = false;  // they are the time of the last change
    std::uint32_t gzip = 0;         // bits that say that the value is compressed
};

class MemcProtocol final : public upstream::Protocol {
public:
    // `head`: the command up to its value; `key` as it was sent, for get. Both in the request's
    // arena.
    MemcProtocol(engine::Request& request, MemcCommand command, std::string_view head,
                 std::string_view key, MemcFlags flags);
    // The value that follows the head.
    void set_value(http::BodyPart value) { value_ = value; }

    // Of the value that was read, as the server sent them; empty: there is none.
    std::string_view value_flags() const { return value_flags_; }

    std::string_view request_head() override { return request_head_; }
    // The command was made of variables when the location was entered; it stays.
    bool rebuild(http::BodyPart& body, bool) override {
        body = value_;
        return true;
    }
    void begin_response() override;
    upstream::HeadStep read_head(std::string_view bytes) override;
    int status() const override { return status_; }
    const http::HeaderList& headers() const override { return headers_; }
    const http::HeaderList* trailers() const override { return nullptr; }
    upstream::BodyStep read_body(std::string_view bytes) override;
    bool ends_with_connection() const override { return false; }
    bool has_body() const override { return has_body_; }
    bool keep_alive() const override { return intact_; }
    bool upgraded() const override { return false; }
    engine::Action fill_response() override;
    async::Task<Status> send_informational() override {
        return async::Task<Status>::ready(Status{});
    }

private:
    upstream::HeadStep read_value_line(std::string_view bytes);
    upstream::HeadStep invalid(std::string_view what);

    engine::Request& request_;
    const MemcCommand command_;
    const std::string_view request_head_;
    const std::string_view key_;
    const MemcFlags flags_;
    http::BodyPart value_;
    http::HeaderList headers_;  // none
    std::string_view value_flags_;
    int status_ = 0;
    std::uint64_t length_ = 0;  // of the body
    std::uint64_t left_ = 0;
    std::size_t trailer_ = 0;  // bytes of what follows a value that have come
    bool has_body_ = false;
    bool intact_ = true;  // the connection can be used again
};

}  // namespace moongate::modules
