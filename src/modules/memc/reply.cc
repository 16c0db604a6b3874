// The answers of memcached, told apart as early as possible: a server that speaks another protocol
// is found out at its first wrong byte.
#include <algorithm>

#include "base/strings.h"
#include "modules/memc/protocol.h"

namespace moongate::modules {

namespace {

using Kind = MemcReply::Kind;

constexpr std::string_view kEnd = "\r\n";
constexpr std::string_view kNames[kMemcCommands] = {"get",    "set",       "add",    "replace",
                                                    "append", "prepend",   "delete", "incr",
                                                    "decr",   "flush_all", "stats",  "version"};

struct Answer {
    std::string_view text;
    int status;
    bool open = false;  // any text follows up to the line's end
};
constexpr Answer kErrors[] = {
    {"ERROR", 502}, {"CLIENT_ERROR ", 502, true}, {"SERVER_ERROR ", 502, true}};
constexpr Answer kStored[] = {
    {"STORED", 201}, {"NOT_STORED", 200}, {"EXISTS", 200}, {"NOT_FOUND", 404}};
constexpr Answer kDeleted[] = {{"DELETED", 200}, {"NOT_FOUND", 404}};
constexpr Answer kCounted[] = {{"NOT_FOUND", 404}};
constexpr Answer kFlushed[] = {{"OK", 200}};
constexpr Answer kVersion[] = {{"VERSION ", 200, true}};
constexpr Answer kStats[] = {{"END", 200}};
constexpr Answer kStat[] = {{"STAT ", 200, true}};

std::size_t common_prefix(std::string_view a, std::string_view b) {
    return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

MemcReply match(const Answer& answer, std::string_view bytes) {
    const std::size_t common = common_prefix(bytes, answer.text);
    if (common < answer.text.size()) {
        return {common == bytes.size() ? Kind::Partial : Kind::Invalid, common, 0};
    }
    const std::string_view rest = bytes.substr(common);
    if (answer.open) {
        const std::size_t end = rest.find(kEnd);
        return end == std::string_view::npos
                   ? MemcReply{Kind::Partial, bytes.size(), 0}
                   : MemcReply{Kind::Whole, common + end + kEnd.size(), answer.status};
    }
    const std::size_t ended = common_prefix(rest, kEnd);
    if (ended == kEnd.size()) {
        return {Kind::Whole, common + ended, answer.status};
    }
    return {ended == rest.size() ? Kind::Partial : Kind::Invalid, common + ended, 0};
}

// digits, spaces, the line's end
MemcReply match_number(std::string_view bytes) {
    std::size_t at = 0;
    while (at < bytes.size() && is_digit(bytes[at])) {
        ++at;
    }
    if (at == 0) {
        return {bytes.empty() ? Kind::Partial : Kind::Invalid, 0, 0};
    }
    while (at < bytes.size() && bytes[at] == ' ') {
        ++at;
    }
    const std::size_t ended = common_prefix(bytes.substr(at), kEnd);
    if (ended == kEnd.size()) {
        return {Kind::Whole, at + ended, 201};
    }
    return {at + ended == bytes.size() ? Kind::Partial : Kind::Invalid, at + ended, 0};
}

// The best of two readings: whole, then partial, then what went right furthest.
MemcReply better(const MemcReply& a, const MemcReply& b) {
    const auto rank = [](const MemcReply& reply) {
        return reply.kind == Kind::Whole ? 2 : reply.kind == Kind::Partial ? 1 : 0;
    };
    if (rank(a) != rank(b)) {
        return rank(a) > rank(b) ? a : b;
    }
    return a.size >= b.size ? a : b;
}

MemcReply match_any(std::span<const Answer> answers, std::string_view bytes, MemcReply best) {
    for (const Answer& answer : answers) {
        best = better(best, match(answer, bytes));
    }
    return best;
}

constexpr MemcReply kNothing{Kind::Invalid, 0, 0};

// Lines of STAT up to END.
MemcReply parse_stats(std::string_view bytes) {
    std::size_t at = 0;
    for (;;) {
        const std::string_view rest = bytes.substr(at);
        MemcReply reply = match_any(kStats, rest, match_any(kStat, rest, kNothing));
        if (at == 0) {
            reply = match_any(kErrors, rest, reply);
        }
        reply.size += at;
        const bool more = reply.kind == Kind::Whole && rest.starts_with(kStat[0].text);
        if (!more) {
            return reply;
        }
        at = reply.size;
    }
}

}  // namespace

std::string_view memc_name(MemcCommand command) {
    return kNames[static_cast<std::size_t>(command)];
}

std::optional<MemcCommand> memc_command(std::string_view name) {
    const auto* found = std::ranges::find(kNames, name);
    if (found == std::end(kNames)) {
        return std::nullopt;
    }
    return static_cast<MemcCommand>(found - std::begin(kNames));
}

MemcReply parse_memc_reply(MemcCommand command, std::string_view bytes) {
    const MemcReply error = match_any(kErrors, bytes, kNothing);
    switch (command) {
        case MemcCommand::Get:
            return kNothing;
        case MemcCommand::Delete:
            return match_any(kDeleted, bytes, error);
        case MemcCommand::Incr:
        case MemcCommand::Decr:
            return better(match_number(bytes), match_any(kCounted, bytes, error));
        case MemcCommand::FlushAll:
            return match_any(kFlushed, bytes, error);
        case MemcCommand::Stats:
            return parse_stats(bytes);
        case MemcCommand::Version:
            return match_any(kVersion, bytes, error);
        default:
            return match_any(kStored, bytes, error);
    }
}

}  // namespace moongate::modules
