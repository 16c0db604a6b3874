#include "net/dns_client.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

namespace moongate::net {
namespace {

constexpr int kAttemptMs = 2000;
constexpr int kAttempts = 4;

int code_of(int status) {
    switch (status) {
        case ARES_SUCCESS:
            return 0;
        case ARES_EFORMERR:
        case ARES_EBADRESP:
        case ARES_EBADNAME:
            return 1;
        case ARES_ENOTFOUND:
        case ARES_ENODATA:
            return 3;
        case ARES_ENOTIMP:
            return 4;
        case ARES_EREFUSED:
            return 5;
        case ARES_ETIMEOUT:
            return 110;
        default:
            return 2;
    }
}

void keep_ttl(DnsAnswer& answer, int ttl) {
    const auto seconds = static_cast<std::uint32_t>(std::max(ttl, 0));
    answer.ttl_s = answer.addresses.size() <= 1 ? seconds : std::min(answer.ttl_s, seconds);
}

void read_a(const unsigned char* bytes, int size, DnsAnswer& answer) {
    std::array<ares_addrttl, DnsClient::kMaxRecords> records{};
    int count = static_cast<int>(records.size());
    const int status = ares_parse_a_reply(bytes, size, nullptr, records.data(), &count);
    answer.code = code_of(status);
    for (int i = 0; status == ARES_SUCCESS && i < count; ++i) {
        const auto& record = records[static_cast<std::size_t>(i)];
        Address address;
        auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
        v4.sin_family = AF_INET;
        v4.sin_addr = record.ipaddr;
        address.size = sizeof(sockaddr_in);
        answer.addresses.push_back(address);
        keep_ttl(answer, record.ttl);
    }
}

void read_aaaa(const unsigned char* bytes, int size, DnsAnswer& answer) {
    std::array<ares_addr6ttl, DnsClient::kMaxRecords> records{};
    int count = static_cast<int>(records.size());
    const int status = ares_parse_aaaa_reply(bytes, size, nullptr, records.data(), &count);
    answer.code = code_of(status);
    for (int i = 0; status == ARES_SUCCESS && i < count; ++i) {
        const auto& record = records[static_cast<std::size_t>(i)];
        Address address;
        auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
        v6.sin6_family = AF_INET6;
        std::memcpy(&v6.sin6_addr, &record.ip6addr, sizeof(v6.sin6_addr));
        address.size = sizeof(sockaddr_in6);
        answer.addresses.push_back(address);
        keep_ttl(answer, record.ttl);
    }
}

// The TTL of SRV records, which ares_parse_srv_reply() does not tell: the first answer record's.
std::uint32_t first_ttl(const unsigned char* bytes, int size) {
    ns_msg message;
    ns_rr record;
    if (ns_initparse(bytes, size, &message) != 0 || ns_msg_count(message, ns_s_an) == 0 ||
        ns_parserr(&message, ns_s_an, 0, &record) != 0) {
        return 0;
    }
    return ns_rr_ttl(record);
}

void read_srv(const unsigned char* bytes, int size, DnsAnswer& answer) {
    ares_srv_reply* list = nullptr;
    const int status = ares_parse_srv_reply(bytes, size, &list);
    answer.code = code_of(status);
    if (status != ARES_SUCCESS) {
        return;
    }
    for (const auto* one = list; one != nullptr && answer.services.size() < DnsClient::kMaxRecords;
         one = one->next) {
        answer.services.push_back({one->host, one->port, one->priority, one->weight});
    }
    ares_free_data(list);
    answer.ttl_s = first_ttl(bytes, size);
}

}  // namespace

std::string_view dns_error_text(int code) {
    switch (code) {
        case 1:
            return "Format error";
        case 2:
            return "Server failure";
        case 3:
            return "Host not found";
        case 4:
            return "Unimplemented";
        case 5:
            return "Operation refused";
        case 110:
            return "Operation timed out";
        default:
            return "Unknown error";
    }
}

struct DnsClient::State {
    explicit State(async::Reactor& owner) : reactor(owner), timer(&State::tick, this) {}

    // A descriptor of c-ares; it opens and closes them as it likes.
    struct Watched {
        State* state;
        ares_socket_t fd;
        async::Registration* registration;
    };
    struct Question {
        State* state;
        DnsType type;
        void (*call)(void*, DnsType, DnsAnswer);
        void* context;
    };

    static void socket_changed(void* self, ares_socket_t fd, int readable, int writable) {
        static_cast<State*>(self)->watch(fd, readable != 0, writable != 0);
    }
    void watch(ares_socket_t fd, bool readable, bool writable) {
        auto found = sockets.find(fd);
        if (!readable && !writable) {
            if (found != sockets.end()) {
                reactor.remove(found->second->registration);
                // Freed later: this may be called from inside its own callback.
                retired.push_back(std::move(found->second));
                sockets.erase(found);
            }
            return;
        }
        if (found == sockets.end()) {
            const auto added = reactor.add(fd);
            if (!added) {
                return;  // the question will time out
            }
            found = sockets.emplace(fd, std::make_unique<Watched>(this, fd, *added)).first;
        }
        arm(*found->second, writable);
    }
    static void arm(Watched& watched, bool writable) {
        watched.registration->on_readable = &State::readable;
        watched.registration->readable_context = &watched;
        watched.registration->on_writable = writable ? &State::writable : nullptr;
        watched.registration->writable_context = &watched;
    }
    static void readable(void* context) {
        auto& watched = *static_cast<Watched*>(context);
        State& state = *watched.state;
        const ares_socket_t fd = watched.fd;
        // Edges come once: go on until nothing is left, within reason.
        for (int i = 0; i < 64; ++i) {
            ares_process_fd(state.channel, fd, ARES_SOCKET_BAD);
            int left = 0;
            if (!state.sockets.contains(fd) || ioctl(fd, FIONREAD, &left) != 0 || left <= 0) {
                break;
            }
        }
        state.settle(fd);
    }
    static void writable(void* context) {
        auto& watched = *static_cast<Watched*>(context);
        State& state = *watched.state;
        const ares_socket_t fd = watched.fd;
        ares_process_fd(state.channel, ARES_SOCKET_BAD, fd);
        state.settle(fd);
    }
    void settle(ares_socket_t fd) {
        if (const auto found = sockets.find(fd); found != sockets.end()) {
            found->second->registration->readable = false;
            found->second->registration->on_readable = &State::readable;
            found->second->registration->readable_context = found->second.get();
        }
        retired.clear();
        set_timer();
    }
    static void tick(void* context) {
        auto& state = *static_cast<State*>(context);
        ares_process_fd(state.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        state.retired.clear();
        state.set_timer();
    }
    void set_timer() {
        timeval store{};
        const timeval* next = ares_timeout(channel, nullptr, &store);
        if (next == nullptr) {
            timer.clear();
            return;
        }
        reactor.set_timer(timer, Milliseconds(next->tv_sec * 1000 + next->tv_usec / 1000 + 1));
    }
    static void answered(void* context, int status, int, unsigned char* bytes, int size) {
        const std::unique_ptr<Question> question(static_cast<Question*>(context));
        if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) {
            return;
        }
        DnsAnswer answer;
        answer.code = code_of(status);
        if (status == ARES_SUCCESS) {
            switch (question->type) {
                case DnsType::A:
                    read_a(bytes, size, answer);
                    break;
                case DnsType::Aaaa:
                    read_aaaa(bytes, size, answer);
                    break;
                case DnsType::Srv:
                    read_srv(bytes, size, answer);
                    break;
            }
        }
        question->call(question->context, question->type, std::move(answer));
    }

    async::Reactor& reactor;
    ares_channel channel = nullptr;
    async::Timer timer;
    std::unordered_map<ares_socket_t, std::unique_ptr<Watched>> sockets;
    std::vector<std::unique_ptr<Watched>> retired;
};

DnsClient::DnsClient(async::Reactor& reactor, const std::string& servers)
    : state_(std::make_unique<State>(reactor)) {
    ares_library_init(ARES_LIB_INIT_ALL);
    ares_options options{};
    options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
    options.timeout = kAttemptMs;
    options.tries = kAttempts;
    options.sock_state_cb = &State::socket_changed;
    options.sock_state_cb_data = state_.get();
    const int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
                     ARES_OPT_ROTATE;
    if (ares_init_options(&state_->channel, &options, mask) != ARES_SUCCESS) {
        state_->channel = nullptr;
        return;
    }
    if (ares_set_servers_ports_csv(state_->channel, servers.c_str()) != ARES_SUCCESS) {
        ares_destroy(state_->channel);
        state_->channel = nullptr;
    }
}

DnsClient::~DnsClient() {
    if (state_->channel != nullptr) {
        ares_destroy(state_->channel);
    }
    for (auto& [fd, watched] : state_->sockets) {
        state_->reactor.remove(watched->registration);
    }
}

bool DnsClient::usable() const {
    return state_->channel != nullptr;
}

void DnsClient::ask(const std::string& name, DnsType type, void (*call)(void*, DnsType, DnsAnswer),
                    void* context) {
    if (!usable()) {
        DnsAnswer answer;
        answer.code = 2;
        call(context, type, std::move(answer));
        return;
    }
    const int record = type == DnsType::A ? ns_t_a : type == DnsType::Aaaa ? ns_t_aaaa : ns_t_srv;
    auto* question = new State::Question{state_.get(), type, call, context};
    ares_query(state_->channel, name.c_str(), ns_c_in, record, &State::answered, question);
    state_->retired.clear();
    state_->set_timer();
}

}  // namespace moongate::net
