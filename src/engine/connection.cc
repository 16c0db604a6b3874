#include "engine/connection.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/run.h"
#include "engine/snapshot.h"
#include "http/h1/server_session.h"
#include "http/uri.h"

namespace moongate::engine {
namespace {

std::atomic<std::uint64_t> next_connection_number{1};

// Numbers are taken from the shared counter in blocks, so that workers do not meet at it.
std::uint64_t take_connection_number() {
    constexpr std::uint64_t kBlock = 64;
    thread_local std::uint64_t next = 0;
    thread_local std::uint64_t end = 0;
    if (next == end) {
        next = next_connection_number.fetch_add(kBlock, std::memory_order_relaxed);
        end = next + kBlock;
    }
    return next++;
}

class ClientConnection final : public http::ServerHandler {
public:
    ClientConnection(WorkerState& worker, ConnectionList& list, int fd,
                     const sockaddr_storage& remote, std::string_view socket)
        : worker_(worker), list_(list), socket_(socket) {
        info_.number = take_connection_number();
        info_.start_ms = Clock::current().monotonic_ms();
        info_.remote = remote;
        socklen_t size = sizeof info_.local;
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&info_.local), &size);
        name_remote();
        link_.fd = fd;
        list_.add(link_);
        ++worker_.counters.active;
    }
    ~ClientConnection() override {
        --worker_.counters.active;
        list_.remove(link_);
    }

    http::ConnectionInfo& info() { return info_; }
    Milliseconds first_wait() {
        return listening() ? settings().client_header_timeout : Milliseconds(0);
    }

    const http::HeadPolicy& head_policy() override {
        if (listening()) {
            const CoreServerSettings& server = settings();
            policy_.header_buffer_size = server.client_header_buffer_size;
            policy_.header_timeout = server.client_header_timeout;
            policy_.large_buffers_bytes =
                server.large_client_header_buffers.count * server.large_client_header_buffers.size;
            policy_.limits = {.max_request_line = server.large_client_header_buffers.size,
                              .max_header_line = server.large_client_header_buffers.size,
                              .max_head = policy_.large_buffers_bytes,
                              .max_headers = static_cast<std::uint32_t>(server.max_headers),
                              .ignore_invalid_headers = server.ignore_invalid_headers,
                              .underscores_in_headers = server.underscores_in_headers};
        }
        return policy_;
    }

    bool draining() const override {
        return worker_.exiting || !const_cast<ClientConnection*>(this)->listening();
    }

    void idle(bool waiting) override {
        link_.idle = waiting;
        worker_.counters.waiting += waiting ? 1 : -1;
    }

    async::Task<void> handle(http::Exchange& exchange) override {
        if (!listening()) {
            co_return;  // the address left the configuration while the request's head came
        }
        const Pin pin(worker_);
        const ListenAddress& address = *address_;
        Request request(worker_, *pin.held->snapshot, exchange, address.hosts.default_server());
        const http::RequestHead& head = exchange.head();
        const std::string_view host = exchange.framing().host;
        if (!host.empty()) {
            request.server = &address.hosts.find(host, &request);
            request.location = request.server->outer.get();
        }
        request.host = host.empty() ? std::string_view(request.server->first_name) : host;
        http::HeadFailure failure = exchange.head_failure();
        if (failure.status == 0) {
            const auto uri = http::normalize_uri(
                head.uri, request.get<CoreServerSettings>().merge_slashes, exchange.arena());
            if (!uri) {
                failure = {400, "client sent invalid request while reading client request line",
                           head.uri};
            } else {
                request.uri = uri->path;
                request.args = uri->args;
                request.extension = uri->extension;
                request.valid_unparsed_uri = !uri->changed;
            }
        }
        co_await run(request, failure);
    }

private:
    struct Pin {
        explicit Pin(WorkerState& worker) : state(worker), held(worker.pin()) {}
        Pin(const Pin&) = delete;
        ~Pin() { state.unpin(held); }
        WorkerState& state;
        SnapshotPin* held;
    };

    // Finds this connection's address in the worker's current snapshot. Looked up again only when
    // that changed.
    bool listening() {
        const Snapshot& now = *worker_.current();
        if (now.version() != version_) {
            version_ = now.version();
            const ListenSocket* socket = now.socket(socket_);
            address_ = socket != nullptr ? &socket->choose(info_.local) : nullptr;
        }
        return address_ != nullptr;
    }

    const CoreServerSettings& settings() {
        return address_->hosts.default_server().outer->settings->get<CoreServerSettings>();
    }

    void name_remote() {
        const void* address = nullptr;
        if (info_.remote.ss_family == AF_INET) {
            const auto& v4 = reinterpret_cast<const sockaddr_in&>(info_.remote);
            address = &v4.sin_addr;
            info_.remote_port = ntohs(v4.sin_port);
        } else if (info_.remote.ss_family == AF_INET6) {
            const auto& v6 = reinterpret_cast<const sockaddr_in6&>(info_.remote);
            address = &v6.sin6_addr;
            info_.remote_port = ntohs(v6.sin6_port);
        }
        if (address == nullptr ||
            inet_ntop(info_.remote.ss_family, address, name_ + 1, kNameBytes - 1) == nullptr) {
            info_.remote_ip = info_.remote_text = "unix:";
            return;
        }
        const std::size_t size = std::strlen(name_ + 1);
        info_.remote_ip = {name_ + 1, size};
        char* end = name_ + 1 + size;
        char* begin = name_ + 1;
        if (info_.remote.ss_family == AF_INET6) {
            *--begin = '[';
            *end++ = ']';
        }
        *end++ = ':';
        end = std::to_chars(end, name_ + sizeof name_, info_.remote_port).ptr;
        info_.remote_text = {begin, static_cast<std::size_t>(end - begin)};
    }

    static constexpr std::size_t kNameBytes = INET6_ADDRSTRLEN + 1;

    WorkerState& worker_;
    ConnectionList& list_;
    ConnectionList::Link link_;
    std::string_view socket_;
    std::uint64_t version_ = ~std::uint64_t{0};
    const ListenAddress* address_ = nullptr;
    http::HeadPolicy policy_;
    http::ConnectionInfo info_;
    char name_[kNameBytes + 8];  // "[address]:65535"
};

}  // namespace

void ConnectionList::add(Link& link) {
    link.previous = head_.previous;
    link.next = &head_;
    head_.previous->next = &link;
    head_.previous = &link;
    ++size_;
}

void ConnectionList::remove(Link& link) {
    link.previous->next = link.next;
    link.next->previous = link.previous;
    --size_;
}

void ConnectionList::close_idle() {
    for (Link* link = head_.next; link != &head_; link = link->next) {
        if (link->idle) {
            ::shutdown(link->fd, SHUT_RDWR);
        }
    }
}

async::Task<void> serve_connection(WorkerState& worker, ConnectionList& list, int fd,
                                   sockaddr_storage remote, socklen_t, std::string_view socket) {
    if (remote.ss_family != AF_UNIX) {
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    async::Io io(worker.reactor(), fd);
    if (!io.is_open()) {
        co_return;
    }
    ClientConnection connection(worker, list, fd, remote, socket);
    http::h1::ServerSession session(io, connection.info(), connection);
    co_await session.run(connection.first_wait());
}

}  // namespace moongate::engine
