#include "net/syslog_sink.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <mutex>

#include "base/clock.h"
#include "base/strings.h"

namespace moongate::net {
namespace {

constexpr std::string_view kFacilities[] = {
    "kern",   "user",   "mail",     "daemon", "auth",   "intern", "lpr",    "news",
    "uucp",   "clock",  "authpriv", "ftp",    "ntp",    "audit",  "alert",  "cron",
    "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7",
};
// As in nginx.conf: error and warn, not err and warning.
constexpr std::string_view kSeverities[] = {"emerg", "alert",  "crit", "error",
                                            "warn",  "notice", "info", "debug"};
constexpr std::size_t kMaxTag = 32;  // RFC 3164 §4.1.3
constexpr std::size_t kMaxLine = 2048;
constexpr std::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

template <std::size_t N>
int find_name(const std::string_view (&names)[N], std::string_view name) {
    for (std::size_t i = 0; i < N; ++i) {
        if (names[i] == name) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

// Which parameters were given: each may be given once.
struct Seen {
    bool server = false;
    bool facility = false;
    bool severity = false;
    bool tag = false;
};

std::unexpected<std::string> duplicate(std::string_view name) {
    return std::unexpected(fmt::format("duplicate syslog \"{}\"", name));
}

std::expected<void, std::string> read_tag(std::string_view value, SyslogSettings& settings) {
    if (value.size() > kMaxTag) {
        return std::unexpected("syslog tag length exceeds 32");
    }
    for (char c : value) {
        if (!is_digit(c) && !is_alpha(c) && c != '_') {
            return std::unexpected(
                "syslog \"tag\" only allows alphanumeric characters and underscore");
        }
    }
    settings.tag = value;
    return {};
}

std::expected<void, std::string> read_parameter(std::string_view text, SyslogSettings& settings,
                                                Seen& seen) {
    const auto value_of = [text](std::string_view name) { return text.substr(name.size()); };
    if (text.starts_with("server=")) {
        if (std::exchange(seen.server, true)) {
            return duplicate("server");
        }
        settings.server = value_of("server=");
    } else if (text.starts_with("facility=")) {
        if (std::exchange(seen.facility, true)) {
            return duplicate("facility");
        }
        const int index = find_name(kFacilities, value_of("facility="));
        if (index < 0) {
            return std::unexpected(
                fmt::format("unknown syslog facility \"{}\"", value_of("facility=")));
        }
        settings.facility = static_cast<std::uint8_t>(index);
    } else if (text.starts_with("severity=")) {
        if (std::exchange(seen.severity, true)) {
            return duplicate("severity");
        }
        const int index = find_name(kSeverities, value_of("severity="));
        if (index < 0) {
            return std::unexpected(
                fmt::format("unknown syslog severity \"{}\"", value_of("severity=")));
        }
        settings.severity = static_cast<std::uint8_t>(index);
    } else if (text.starts_with("tag=")) {
        if (std::exchange(seen.tag, true)) {
            return duplicate("tag");
        }
        return read_tag(value_of("tag="), settings);
    } else if (text == "nohostname") {
        settings.host_name = false;
    } else {
        return std::unexpected(fmt::format("unknown syslog parameter \"{}\"", text));
    }
    return {};
}

struct Server {
    sockaddr_storage address{};
    socklen_t bytes = 0;
};

std::unexpected<std::string> server_error(std::string_view why, std::string_view server) {
    return std::unexpected(fmt::format("{} in syslog server \"{}\"", why, server));
}

std::expected<Server, std::string> resolve_unix(std::string_view server) {
    Server result;
    sockaddr_un address{.sun_family = AF_UNIX};
    const std::string_view path = server.substr(5);
    if (path.empty()) {
        return server_error("no path in the unix domain socket", server);
    }
    if (path.size() >= sizeof address.sun_path) {
        return server_error("too long path in the unix domain socket", server);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    std::memcpy(&result.address, &address, sizeof address);
    result.bytes = sizeof address;
    return result;
}

// host, host:port, [v6] or [v6]:port.
std::expected<Server, std::string> resolve_host(std::string_view server) {
    std::string_view host = server;
    std::string_view port = "514";
    std::size_t colon = server.rfind(':');
    if (server.starts_with('[')) {
        const std::size_t end = server.find(']');
        if (end == std::string_view::npos) {
            return server_error("invalid host", server);
        }
        host = server.substr(1, end - 1);
        colon =
            end + 1 < server.size() && server[end + 1] == ':' ? end + 1 : std::string_view::npos;
    } else {
        host = server.substr(0, colon);
    }
    if (colon != std::string_view::npos) {
        port = server.substr(colon + 1);
        const auto number = parse_number<std::uint16_t>(port);
        if (!number || *number == 0) {
            return server_error("invalid port", server);
        }
    }
    if (host.empty()) {
        return server_error("no host", server);
    }
    addrinfo hints{.ai_socktype = SOCK_DGRAM};
    addrinfo* found = nullptr;
    if (::getaddrinfo(std::string(host).c_str(), std::string(port).c_str(), &hints, &found) != 0) {
        return server_error("host not found", server);
    }
    Server result;
    std::memcpy(&result.address, found->ai_addr, found->ai_addrlen);
    result.bytes = found->ai_addrlen;
    ::freeaddrinfo(found);
    return result;
}

std::string own_host_name() {
    char name[256] = {};
    return ::gethostname(name, sizeof name - 1) == 0 ? to_lower(name) : std::string("-");
}

class DatagramSyslogSink final : public SyslogSink {
public:
    DatagramSyslogSink(SyslogSettings settings, const Server& server)
        : settings_(std::move(settings)), server_(server), host_name_(own_host_name()) {}
    ~DatagramSyslogSink() override { close_socket(); }

    void write(LogLevel level, std::string_view line) override {
        const int index = static_cast<int>(level) - static_cast<int>(LogLevel::Emerg);
        send(index < 0 ? 0 : static_cast<unsigned>(index), line);
    }
    void write_access(std::string_view line) override { send(settings_.severity, line); }

private:
    void send(unsigned severity, std::string_view line) {
        while (line.ends_with('\n')) {
            line.remove_suffix(1);
        }
        const std::string text = header(severity).append(line.substr(0, kMaxLine));
        const std::lock_guard lock(mutex_);
        if (fd_ < 0 && !open_socket()) {
            return;
        }
        if (::send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            errno != EAGAIN && errno != EINTR) {
            close_socket();
        }
    }

    // "<190>Oct  1 08:49:37 host nginx: "
    std::string header(unsigned severity) const {
        const std::time_t now = Clock::current().unix_seconds();
        std::tm local{};
        ::localtime_r(&now, &local);
        std::string text = fmt::format("<{}>{} {:2} {:02}:{:02}:{:02} ",
                                       settings_.facility * 8U + severity, kMonths[local.tm_mon],
                                       local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
        if (settings_.host_name) {
            text.append(host_name_).append(" ");
        }
        return text.append(settings_.tag).append(": ");
    }

    bool open_socket() {
        fd_ = ::socket(server_.address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd_ < 0) {
            return false;
        }
        if (::connect(fd_, reinterpret_cast<const sockaddr*>(&server_.address), server_.bytes) !=
            0) {
            close_socket();
            return false;
        }
        return true;
    }

    void close_socket() {
        if (fd_ >= 0) {
            ::close(fd_);
            fd_ = -1;
        }
    }

    const SyslogSettings settings_;
    const Server server_;
    const std::string host_name_;
    std::mutex mutex_;
    int fd_ = -1;
};

}  // namespace

std::expected<SyslogSettings, std::string> parse_syslog(std::string_view parameters) {
    SyslogSettings settings;
    Seen seen;
    for (std::string_view rest = parameters;;) {
        const std::size_t comma = rest.find(',');
        if (auto read = read_parameter(rest.substr(0, comma), settings, seen); !read) {
            return std::unexpected(std::move(read.error()));
        }
        if (comma == std::string_view::npos) {
            break;
        }
        rest.remove_prefix(comma + 1);
    }
    if (!seen.server) {
        return std::unexpected("no syslog server specified");
    }
    return settings;
}

std::expected<std::shared_ptr<SyslogSink>, std::string> make_syslog_sink(
    const SyslogSettings& settings) {
    const auto server = settings.server.starts_with("unix:") ? resolve_unix(settings.server)
                                                             : resolve_host(settings.server);
    if (!server) {
        return std::unexpected(server.error());
    }
    return std::make_shared<DatagramSyslogSink>(settings, *server);
}

}  // namespace moongate::net
