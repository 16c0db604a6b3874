#include "app/listeners.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <thread>

#include "app/socket_options.h"
#include "base/strings.h"

namespace moongate::app {
namespace {

constexpr int kBindTries = 5;
constexpr std::chrono::milliseconds kBindDelay{500};

enum class OpenResult : std::uint8_t { Opened, InUse, Failed };

const char* unix_path(const Listener& listener) {
    return reinterpret_cast<const sockaddr_un&>(listener.spec.address).sun_path;
}

bool set_before_bind(int fd, const Listener& listener, const Log& log) {
    const int on = 1;
    if (::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
        log.print(LogLevel::Emerg, 0, "setsockopt(SO_REUSEADDR) {} failed {}", listener.name,
                  errno_text(errno));
        return false;
    }
    if (listener.spec.reuseport &&
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        log.print(LogLevel::Emerg, 0, "setsockopt(SO_REUSEPORT) {} failed {}", listener.name,
                  errno_text(errno));
        return false;
    }
    if (listener.spec.address.ss_family == AF_INET6) {
        const int only = listener.spec.ipv6_only ? 1 : 0;
        if (::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0) {
            log.print(LogLevel::Emerg, 0, "setsockopt(IPV6_V6ONLY) {} failed, ignored {}",
                      listener.name, errno_text(errno));
        }
    }
    return true;
}

OpenResult open_one(Listener& listener, bool testing, const Log& log) {
    const ListenSpec& spec = listener.spec;
    UniqueFd fd(
        ::socket(spec.address.ss_family, spec.type | SOCK_NONBLOCK | SOCK_CLOEXEC, spec.protocol));
    if (!fd) {
        log.print(LogLevel::Emerg, 0, "socket() {} failed {}", listener.name, errno_text(errno));
        return OpenResult::Failed;
    }
    if (!set_before_bind(fd.get(), listener, log)) {
        return OpenResult::Failed;
    }
    const auto* address = reinterpret_cast<const sockaddr*>(&spec.address);
    if (::bind(fd.get(), address, spec.address_bytes) != 0) {
        const int error = errno;
        if (error != EADDRINUSE || !testing) {
            log.print(LogLevel::Emerg, 0, "bind() to {} failed {}", listener.name,
                      errno_text(error));
        }
        return error == EADDRINUSE ? OpenResult::InUse : OpenResult::Failed;
    }
    if (spec.address.ss_family == AF_UNIX) {
        if (::chmod(unix_path(listener), 0666) != 0) {
            log.print(LogLevel::Emerg, 0, "chmod() \"{}\" failed {}", unix_path(listener),
                      errno_text(errno));
        }
        if (testing) {
            ::unlink(unix_path(listener));
        }
    }
    if (spec.type == SOCK_STREAM && ::listen(fd.get(), spec.backlog) != 0) {
        const int error = errno;
        if (error != EADDRINUSE || !testing) {
            log.print(LogLevel::Emerg, 0, "listen() to {}, backlog {} failed {}", listener.name,
                      spec.backlog, errno_text(error));
        }
        return error == EADDRINUSE ? OpenResult::InUse : OpenResult::Failed;
    }
    listener.fd = std::move(fd);
    return OpenResult::Opened;
}

// One entry a socket, not yet open where `previous` does not have it.
ListenerSet plan(const std::vector<ListenSpec>& wanted, const ListenerSet& previous,
                 const Log& log) {
    ListenerSet set;
    for (const ListenSpec& spec : wanted) {
        const std::string name = address_text(spec.address, spec.address_bytes);
        for (unsigned copy = 0; copy < std::max(1U, spec.sockets); ++copy) {
            auto listener = previous.find(name, spec.type, copy);
            if (listener != nullptr) {
                if (spec.reuseport && !listener->spec.reuseport) {
                    share_port(listener->fd.get(), name, log);
                }
                // Its options stay as they are until the new set is accepted: see
                // configure_listeners().
            } else {
                listener = std::make_shared<Listener>();
                listener->spec = spec;
                listener->name = name;
                listener->copy = copy;
            }
            set.add(std::move(listener));
        }
    }
    return set;
}

// How many addresses are in use by others; nullopt where one failed for another reason.
std::optional<int> open_missing(ListenerSet& set, bool testing, const Log& log) {
    int in_use = 0;
    for (const auto& listener : set.all()) {
        if (listener->fd) {
            continue;
        }
        switch (open_one(*listener, testing, log)) {
            case OpenResult::Opened:
                break;
            case OpenResult::InUse:
                ++in_use;
                break;
            case OpenResult::Failed:
                return std::nullopt;
        }
    }
    return in_use;
}

std::shared_ptr<Listener> inherit_one(int fd, const ListenerSet& set, const Log& log) {
    auto listener = std::make_shared<Listener>();
    ListenSpec& spec = listener->spec;
    spec.address_bytes = sizeof spec.address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&spec.address), &spec.address_bytes) != 0) {
        log.print(LogLevel::Crit, 0, "getsockname() of the inherited socket #{} failed {}", fd,
                  errno_text(errno));
        return nullptr;
    }
    listener->name = address_text(spec.address, spec.address_bytes);
    if (listener->name.empty()) {
        log.print(LogLevel::Crit, 0, "the inherited socket #{} has an unsupported protocol family",
                  fd);
        return nullptr;
    }
    if (!read_socket_options(fd, spec)) {
        log.print(LogLevel::Crit, 0, "getsockopt(SO_TYPE) {} failed {}", listener->name,
                  errno_text(errno));
        return nullptr;
    }
    while (set.find(listener->name, spec.type, listener->copy) != nullptr) {
        ++listener->copy;
    }
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    listener->fd = UniqueFd(fd);
    listener->configured = true;
    return listener;
}

}  // namespace

std::string address_text(const sockaddr_storage& address, socklen_t bytes) {
    char buffer[INET6_ADDRSTRLEN] = {};
    if (address.ss_family == AF_INET) {
        const auto& inet = reinterpret_cast<const sockaddr_in&>(address);
        ::inet_ntop(AF_INET, &inet.sin_addr, buffer, sizeof buffer);
        return fmt::format("{}:{}", buffer, ntohs(inet.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        const auto& inet = reinterpret_cast<const sockaddr_in6&>(address);
        ::inet_ntop(AF_INET6, &inet.sin6_addr, buffer, sizeof buffer);
        return fmt::format("[{}]:{}", buffer, ntohs(inet.sin6_port));
    }
    if (address.ss_family == AF_UNIX) {
        const auto& local = reinterpret_cast<const sockaddr_un&>(address);
        const std::size_t room =
            bytes > offsetof(sockaddr_un, sun_path) ? bytes - offsetof(sockaddr_un, sun_path) : 0;
        return fmt::format("unix:{}",
                           std::string_view(local.sun_path, ::strnlen(local.sun_path, room)));
    }
    return {};
}

bool ListenerSet::contains(const Listener& listener) const {
    return find(listener.name, listener.spec.type, listener.copy) != nullptr;
}

std::shared_ptr<Listener> ListenerSet::find(std::string_view name, int type, unsigned copy) const {
    for (const auto& listener : listeners_) {
        if (listener->copy == copy && listener->spec.type == type && listener->name == name) {
            return listener;
        }
    }
    return nullptr;
}

std::vector<ListenSocket> ListenerSet::sockets() const {
    std::vector<ListenSocket> sockets;
    sockets.reserve(listeners_.size());
    for (const auto& listener : listeners_) {
        sockets.push_back(
            {listener->name, listener->spec.type, listener->copy, listener->fd.get()});
    }
    return sockets;
}

void ListenerSet::remove_socket_files(const ListenerSet& kept, const Log& log) const {
    for (const auto& listener : listeners_) {
        if (listener->spec.address.ss_family != AF_UNIX || kept.contains(*listener)) {
            continue;
        }
        const char* path = unix_path(*listener);
        if (::unlink(path) != 0) {
            log.print(LogLevel::Emerg, 0, "unlink() \"{}\" failed {}", path, errno_text(errno));
        }
    }
}

std::optional<ListenerSet> open_listeners(const std::vector<ListenSpec>& wanted,
                                          const ListenerSet& previous, const Log& log) {
    ListenerSet set = plan(wanted, previous, log);
    for (int tries = 0; tries < kBindTries; ++tries) {
        const auto in_use = open_missing(set, false, log);
        if (!in_use) {
            break;
        }
        if (*in_use == 0) {
            return set;
        }
        log.write(LogLevel::Notice, 0, "try again to bind() after 500ms");
        std::this_thread::sleep_for(kBindDelay);
        if (tries + 1 == kBindTries) {
            log.write(LogLevel::Emerg, 0, "still could not bind()");
        }
    }
    ListenerSet fresh;
    for (const auto& listener : set.all()) {
        if (listener->fd && !previous.contains(*listener)) {
            fresh.add(listener);
        }
    }
    fresh.remove_socket_files({}, log);
    return std::nullopt;
}

void configure_listeners(const ListenerSet& set, const std::vector<ListenSpec>& wanted,
                         const Log& log) {
    for (const ListenSpec& spec : wanted) {
        const std::string name = address_text(spec.address, spec.address_bytes);
        for (unsigned copy = 0; copy < std::max(1U, spec.sockets); ++copy) {
            if (const auto listener = set.find(name, spec.type, copy); listener != nullptr) {
                const ListenSpec* previous = listener->configured ? &listener->spec : nullptr;
                apply_socket_options(listener->fd.get(), name, spec, previous, log);
                listener->spec = spec;
                listener->configured = true;
            }
        }
    }
}

bool test_listeners(const std::vector<ListenSpec>& wanted, const Log& log) {
    ListenerSet set = plan(wanted, {}, log);
    return open_missing(set, true, log).has_value();
}

ListenerSet inherit_listeners(std::string_view variable, const Log& log) {
    log.print(LogLevel::Notice, 0, "using inherited sockets from \"{}\"", variable);
    ListenerSet set;
    std::string_view rest = variable;
    while (!rest.empty()) {
        const std::size_t end = rest.find_first_of(":;");
        const auto fd = parse_number<int>(rest.substr(0, end));
        if (end == std::string_view::npos || !fd) {
            log.print(LogLevel::Emerg, 0,
                      "invalid socket number \"{}\" in NGINX environment variable, ignoring{}",
                      rest, end == std::string_view::npos ? "" : " the rest of the variable");
            break;
        }
        if (auto listener = inherit_one(*fd, set, log); listener != nullptr) {
            set.add(std::move(listener));
        }
        rest.remove_prefix(end + 1);
    }
    return set;
}

std::string listeners_variable(const ListenerSet& set) {
    std::string value;
    for (const auto& listener : set.all()) {
        value += fmt::format("{};", listener->fd.get());
    }
    return value;
}

}  // namespace moongate::app
