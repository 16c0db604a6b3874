#include "app/supervisor_protocol.h"

#include <algorithm>

#include "app/channel.h"
#include "base/strings.h"

namespace moongate::app::protocol {
namespace {

// Takes the text up to `end` off the front of `rest`.
std::string_view take(std::string_view& rest, char end) {
    const std::size_t at = rest.find(end);
    const std::string_view part = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
    return part;
}

}  // namespace

std::optional<std::uint64_t> parse_sequence(std::string_view body, std::string_view prefix) {
    if (!body.starts_with(prefix)) {
        return std::nullopt;
    }
    body.remove_prefix(prefix.size());
    return parse_number<std::uint64_t>(take(body, '\n'));
}

std::string format_listener(const ListenSocket& socket, bool attached) {
    return fmt::format("{} {} {} {}\n", socket.type, socket.copy, attached ? 1 : 0, socket.name);
}

std::vector<ListenerLine> parse_listeners(std::string_view body) {
    std::vector<ListenerLine> lines;
    take(body, '\n');
    while (!body.empty()) {
        std::string_view line = take(body, '\n');
        const auto type = parse_number<int>(take(line, ' '));
        const auto copy = parse_number<unsigned>(take(line, ' '));
        const auto attached = parse_number<int>(take(line, ' '));
        if (type && copy && attached && !line.empty()) {
            lines.push_back({{std::string(line), *type, *copy, -1}, *attached == 1});
        }
    }
    return lines;
}

std::string format_reload_failed(std::uint64_t sequence, const std::vector<Message>& messages) {
    std::string body = fmt::format("{}{}\n", kReloadFailed, sequence);
    for (const Message& message : messages) {
        std::string line = fmt::format("{} {}", static_cast<int>(message.level), message.text);
        std::ranges::replace(line, '\n', ' ');
        if (body.size() + line.size() + 1 > Channel::kMaxBytes) {
            break;
        }
        body += line;
        body += '\n';
    }
    return body;
}

std::vector<Message> parse_messages(std::string_view body) {
    std::vector<Message> messages;
    take(body, '\n');
    while (!body.empty()) {
        std::string_view line = take(body, '\n');
        const auto level = parse_number<int>(take(line, ' '));
        if (level && *level <= static_cast<int>(LogLevel::Debug)) {
            messages.push_back({static_cast<LogLevel>(*level), std::string(line)});
        }
    }
    return messages;
}

std::string format_open(std::string_view path, OpenMode mode) {
    return fmt::format("open {} {}", mode == OpenMode::Read ? 'r' : 'a', path);
}

std::optional<OpenRequest> parse_open(std::string_view body) {
    const bool read = body.starts_with("open r ");
    if (!read && !body.starts_with("open a ")) {
        return std::nullopt;
    }
    return OpenRequest{std::string(body.substr(7)), read ? OpenMode::Read : OpenMode::Append};
}

std::string format_errno(int value) {
    return fmt::format("{}{}", kErrno, value);
}

std::optional<int> parse_errno(std::string_view body) {
    return body.starts_with(kErrno) ? parse_number<int>(body.substr(kErrno.size())) : std::nullopt;
}

}  // namespace moongate::app::protocol
