// One worker's questions to name servers: c-ares driven by the reactor. Answers come as plain
// records with their time to live; caching is resolver.h's. Source: RFC 1035, RFC 2782. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async/reactor.h"
#include "net/address.h"

namespace moongate::net {

enum class DnsType : std::uint8_t { A, Aaaa, Srv };

struct DnsAnswer {
    // nginx's resolver codes: 0 OK, 1 format error, 2 server failure, 3 host not found (no such
    // name, or no data of the type), 4 unimplemented, 5 refused, 110 timed out.
    int code = 0;
    std::uint32_t ttl_s = 0;  // the smallest of the records'
    std::vector<Address> addresses;
    struct Service {
        std::string host;
        std::uint16_t port = 0;
        std::uint16_t priority = 0;
        std::uint16_t weight = 0;
    };
    std::vector<Service> services;
};

// "Host not found" and so on.
std::string_view dns_error_text(int code);

class DnsClient {
public:
    // What a hostile or careless server may make us hold for one name.
    static constexpr std::size_t kMaxRecords = 64;

    // `servers`: "192.0.2.1:53,[2001:db8::1]:53".
    DnsClient(async::Reactor& reactor, const std::string& servers);
    DnsClient(const DnsClient&) = delete;
    DnsClient& operator=(const DnsClient&) = delete;
    // Ends pending questions without calling back.
    ~DnsClient();

    bool usable() const;
    // `call` runs once, perhaps before this returns.
    void ask(const std::string& name, DnsType type,
             void (*call)(void* context, DnsType type, DnsAnswer answer), void* context);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace moongate::net
