// Resolver: names to addresses for one worker, as the `resolver` directive describes it: which
// servers, which families, how long answers are valid. Caches answers (TTL or valid=), refusals (10
// s or valid=), joins equal questions, and serves the last good answer for a while where the name
// servers fail. One thread.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "async/event.h"
#include "async/task.h"
#include "base/clock.h"
#include "net/dns_client.h"

namespace moongate::net {

struct ResolverOptions {
    std::string servers;        // for DnsClient
    std::int64_t valid_s = -1;  // -1: what the answer says
    bool ipv4 = true;
    bool ipv6 = true;
};

// The values of a `resolver` directive. The error is nginx's message. Blocks where a name server is
// given by name.
std::expected<ResolverOptions, std::string> parse_resolver(std::span<const std::string> values);

struct ResolveError {
    int code = 2;
    std::string_view text() const { return dns_error_text(code); }
};

struct Resolved {
    std::vector<Address> addresses;    // port 0
    std::uint64_t valid_until_ms = 0;  // Clock::monotonic_ms()
};

struct ResolvedService {
    struct Target {
        std::vector<Address> addresses;  // with ports
        std::uint16_t priority = 0;
        std::uint16_t weight = 0;
    };
    std::vector<Target> targets;
    std::uint64_t valid_until_ms = 0;
};

class Resolver {
public:
    static constexpr std::size_t kMaxNames = 10000;
    static constexpr std::int64_t kNegativeS = 10;
    static constexpr std::uint64_t kStaleMs = 600'000;

    Resolver(async::Reactor& reactor, ResolverOptions options);
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;
    ~Resolver();

    // Addresses of `name` in the order of the answer, IPv4 and IPv6 mixed as nginx does.
    async::Task<std::expected<Resolved, ResolveError>> resolve(std::string name,
                                                               Milliseconds timeout);
    // SRV records of `name` and the addresses of their targets.
    async::Task<std::expected<ResolvedService, ResolveError>> resolve_service(std::string name,
                                                                              Milliseconds timeout);

private:
    struct Entry;
    struct Cache;

    static void answered(void* context, DnsType type, DnsAnswer answer);
    std::shared_ptr<Entry> look_up(const std::string& name, bool service);
    void begin(Entry& entry);

    async::Reactor& reactor_;
    ResolverOptions options_;
    std::unique_ptr<Cache> cache_;
    DnsClient client_;  // ends before the cache its questions point into
};

}  // namespace moongate::net
