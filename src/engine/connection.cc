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

const http::HeadPolicy kDefaultPolicy{};

// No tunnels to wherever the client says (CONNECT), no echo of what hops have added (TRACE).
http::HeadFailure refused_method(http::Method method) {
    switch (method) {
        case http::Method::Connect:
            return {405, "client sent CONNECT method"};
        case http::Method::Trace:
            return {405, "client sent TRACE method"};
        default:
            return {};
    }
}

class ClientConnection final : public http::ServerHandler {
public:
    ClientConnection(WorkerState& worker, ConnectionList& list, int fd,
                     const http::SocketAddress& remote, std::string_view socket)
        : worker_(worker), list_(list), socket_(socket) {
        info_.number = take_connection_number();
        info_.start_ms = Clock::current().monotonic_ms();
        info_.remote = remote;
        socklen_t size = sizeof info_.local;
        ::getsockname(fd, &info_.local.any, &size);
        name_remote();
        link_.fd = fd;
        link_.socket = socket_;
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
        listening();  // serve() may have brought another snapshot; a lost address ends the
                      // connection elsewhere
        return *policy_;
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
        // A request of HTTP/1.0 without a Host belongs to `server_name ""`, where there is one.
        if (!host.empty() || exchange.head_failure().status == 0) {
            request.server = &address.hosts.find(host, &request);
            request.location = request.server->outer.get();
        }
        request.host = host.empty() ? std::string_view(request.server->first_name) : host;
        http::HeadFailure failure = exchange.head_failure();
        if (failure.status == 0) {
            failure = refused_method(head.method);
        }
        if (failure.status != 0) {
            exchange.disable_keep_alive();
        } else {
            const auto uri = http::normalize_uri(
                head.uri, request.get<CoreServerSettings>().merge_slashes, exchange.arena());
            if (!uri) {
                failure = {400, "client sent invalid request while reading client request line",
                           head.uri};
            } else {
                request.uri = uri->path;
                request.args = uri->args;
                request.extension = uri->extension;
                // What captures hold was decoded: as arguments it is encoded again.
                request.set_captures_need_escape(uri->quoted || uri->plus);
            }
        }
        co_await run_now(request, failure);
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
            policy_ = address_ != nullptr ? &settings().head_policy : &kDefaultPolicy;
        }
        return address_ != nullptr;
    }

    const CoreServerSettings& settings() {
        return address_->hosts.default_server().outer->settings->get<CoreServerSettings>();
    }

    void name_remote() {
        const void* address = nullptr;
        if (info_.remote.family() == AF_INET) {
            address = &info_.remote.v4.sin_addr;
        } else if (info_.remote.family() == AF_INET6) {
            address = &info_.remote.v6.sin6_addr;
        }
        info_.remote_port = info_.remote.port();
        const bool named = address != nullptr && inet_ntop(info_.remote.family(), address, name_,
                                                           sizeof name_) != nullptr;
        info_.remote_ip = named ? std::string_view(name_) : "unix:";
    }

    WorkerState& worker_;
    ConnectionList& list_;
    ConnectionList::Link link_;
    std::string_view socket_;
    std::uint64_t version_ = ~std::uint64_t{0};
    const ListenAddress* address_ = nullptr;
    const http::HeadPolicy* policy_ = &kDefaultPolicy;
    http::ConnectionInfo info_;
    char name_[INET6_ADDRSTRLEN];
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

void ConnectionList::close_lost(const Snapshot& now) {
    for (Link* link = head_.next; link != &head_; link = link->next) {
        if (link->idle && now.socket(link->socket) == nullptr) {
            ::shutdown(link->fd, SHUT_RDWR);
        }
    }
}

async::Task<void> serve_connection(WorkerState& worker, ConnectionList& list, int fd,
                                   http::SocketAddress remote, std::string_view socket) {
    if (remote.family() != AF_UNIX) {
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
