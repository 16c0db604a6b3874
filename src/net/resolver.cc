#include "net/resolver.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/strings.h"
#include "net/host_url.h"

namespace moongate::net {
namespace {

// "30s", "5m", "1h30m", plain seconds.
std::optional<std::int64_t> parse_seconds(std::string_view text) {
    std::int64_t total = 0;
    while (!text.empty()) {
        std::size_t digits = 0;
        while (digits < text.size() && is_digit(text[digits])) {
            ++digits;
        }
        const auto number = parse_number<std::int64_t>(text.substr(0, digits));
        if (!number || *number > 1'000'000'000) {
            return std::nullopt;
        }
        text.remove_prefix(digits);
        std::int64_t unit = 1;
        if (!text.empty()) {
            switch (text.front()) {
                case 's':
                    unit = 1;
                    break;
                case 'm':
                    unit = 60;
                    break;
                case 'h':
                    unit = 3600;
                    break;
                case 'd':
                    unit = 86400;
                    break;
                case 'w':
                    unit = 604800;
                    break;
                default:
                    return std::nullopt;
            }
            text.remove_prefix(1);
        }
        total += *number * unit;
    }
    return total;
}

}  // namespace

std::expected<ResolverOptions, std::string> parse_resolver(std::span<const std::string> values) {
    ResolverOptions options;
    for (const std::string& value : values) {
        const std::string_view text = value;
        if (text.starts_with("valid=")) {
            const auto seconds = parse_seconds(text.substr(6));
            if (!seconds || text.size() == 6) {
                return std::unexpected(fmt::format("invalid parameter: {}", value));
            }
            options.valid_s = *seconds;
            continue;
        }
        if (text.starts_with("ipv4=") || text.starts_with("ipv6=")) {
            const std::string_view state = text.substr(5);
            if (state != "on" && state != "off") {
                return std::unexpected(fmt::format("invalid parameter: {}", value));
            }
            (text[3] == '4' ? options.ipv4 : options.ipv6) = state == "on";
            continue;
        }
        const auto url = parse_host_url(text, {.default_port = 53});
        if (!url || url->is_unix) {
            return std::unexpected(
                fmt::format("{} in resolver \"{}\"", url ? "invalid host" : url.error(), value));
        }
        const std::vector<Address> addresses = url->address
                                                   ? std::vector<Address>{*url->address}
                                                   : resolve_blocking(url->host, url->port);
        if (addresses.empty()) {
            return std::unexpected(fmt::format("host not found in resolver \"{}\"", value));
        }
        for (const Address& address : addresses) {
            options.servers += (options.servers.empty() ? "" : ",") + to_string(address);
        }
    }
    if (!options.ipv4 && !options.ipv6) {
        return std::unexpected("\"ipv4\" and \"ipv6\" cannot both be \"off\"");
    }
    if (options.servers.empty()) {
        return std::unexpected("no name servers defined");
    }
    return options;
}

struct Resolver::Entry {
    Entry(Resolver& owner, std::string text, bool srv)
        : resolver(owner), name(std::move(text)), service(srv), changed(owner.reactor_) {}

    Resolver& resolver;
    std::string name;
    bool service;
    async::Event changed;  // set while no question is under way
    int pending = 0;
    int code = -1;  // of the last completed question; -1: none yet
    std::uint64_t expires_ms = 0;
    // The answer being collected, and the last good one.
    DnsAnswer fresh;
    DnsAnswer good;
    std::uint64_t good_until_ms = 0;
};

struct Resolver::Cache {
    std::unordered_map<std::string, std::shared_ptr<Entry>, StringHash, std::equal_to<>> names;
    std::unordered_map<std::string, std::shared_ptr<Entry>, StringHash, std::equal_to<>> services;
};

Resolver::Resolver(async::Reactor& reactor, ResolverOptions options)
    : reactor_(reactor),
      options_(std::move(options)),
      cache_(std::make_unique<Cache>()),
      client_(reactor, options_.servers) {}

Resolver::~Resolver() = default;

std::shared_ptr<Resolver::Entry> Resolver::look_up(const std::string& name, bool service) {
    auto& map = service ? cache_->services : cache_->names;
    const std::string key = to_lower(name);
    if (const auto found = map.find(key); found != map.end()) {
        return found->second;
    }
    if (map.size() >= kMaxNames) {
        const std::uint64_t now = reactor_.now_ms();
        std::erase_if(map, [now](const auto& one) {
            return one.second->pending == 0 && one.second->expires_ms <= now;
        });
        // All fresh: somebody makes us ask for ever new names. Any idle one goes.
        for (auto at = map.begin(); map.size() >= kMaxNames && at != map.end();) {
            at = at->second->pending == 0 ? map.erase(at) : std::next(at);
        }
    }
    return map.emplace(key, std::make_shared<Entry>(*this, key, service)).first->second;
}

void Resolver::begin(Entry& entry) {
    entry.changed.reset();
    entry.fresh = DnsAnswer{};
    entry.fresh.code = -1;
    if (entry.service) {
        entry.pending = 1;
        client_.ask(entry.name, DnsType::Srv, &Resolver::answered, &entry);
        return;
    }
    entry.pending = (options_.ipv4 ? 1 : 0) + (options_.ipv6 ? 1 : 0);
    // Local copies: the first answer may come at once, and end the question.
    const bool v4 = options_.ipv4;
    const bool v6 = options_.ipv6;
    if (v4) {
        client_.ask(entry.name, DnsType::A, &Resolver::answered, &entry);
    }
    if (v6) {
        client_.ask(entry.name, DnsType::Aaaa, &Resolver::answered, &entry);
    }
}

void Resolver::answered(void* context, DnsType, DnsAnswer answer) {
    auto& entry = *static_cast<Entry*>(context);
    DnsAnswer& fresh = entry.fresh;
    if (answer.code == 0) {
        fresh.ttl_s = fresh.code == 0 ? std::min(fresh.ttl_s, answer.ttl_s) : answer.ttl_s;
        fresh.code = 0;
        fresh.addresses.insert(fresh.addresses.end(), answer.addresses.begin(),
                               answer.addresses.end());
        fresh.services = std::move(answer.services);
    } else if (fresh.code != 0 && (fresh.code == -1 || fresh.code == 3)) {
        // One family's "not found" says less than the other's failure.
        fresh.code = answer.code;
    }
    if (--entry.pending > 0) {
        return;
    }
    const std::uint64_t now = entry.resolver.reactor_.now_ms();
    const std::int64_t valid = entry.resolver.options_.valid_s;
    entry.code = fresh.code;
    if (fresh.code == 0) {
        const std::uint64_t seconds = valid >= 0 ? static_cast<std::uint64_t>(valid) : fresh.ttl_s;
        entry.expires_ms = now + seconds * 1000;
        entry.good_until_ms = entry.expires_ms + kStaleMs;
        entry.good = std::move(fresh);
    } else if (fresh.code == 3) {
        entry.expires_ms = now + static_cast<std::uint64_t>(valid >= 0 ? valid : kNegativeS) * 1000;
        entry.good_until_ms = 0;
    } else {
        entry.expires_ms = now;  // failures of servers are not remembered
    }
    entry.changed.set();
}

async::Task<std::expected<Resolved, ResolveError>> Resolver::resolve(std::string name,
                                                                     Milliseconds timeout) {
    const std::shared_ptr<Entry> entry = look_up(name, false);
    if (entry->pending == 0 && (entry->code < 0 || entry->expires_ms <= reactor_.now_ms())) {
        begin(*entry);
    }
    if (entry->pending > 0) {
        const bool in_time = co_await entry->changed.wait(timeout);
        if (!in_time) {
            co_return std::unexpected(ResolveError{110});
        }
    }
    if (entry->code != 0 && entry->good_until_ms <= reactor_.now_ms()) {
        co_return std::unexpected(ResolveError{entry->code});
    }
    co_return Resolved{entry->good.addresses, entry->expires_ms};
}

async::Task<std::expected<ResolvedService, ResolveError>> Resolver::resolve_service(
    std::string name, Milliseconds timeout) {
    const std::shared_ptr<Entry> entry = look_up(name, true);
    if (entry->pending == 0 && (entry->code < 0 || entry->expires_ms <= reactor_.now_ms())) {
        begin(*entry);
    }
    if (entry->pending > 0) {
        const bool in_time = co_await entry->changed.wait(timeout);
        if (!in_time) {
            co_return std::unexpected(ResolveError{110});
        }
    }
    if (entry->code != 0 && entry->good_until_ms <= reactor_.now_ms()) {
        co_return std::unexpected(ResolveError{entry->code});
    }
    ResolvedService found;
    found.valid_until_ms = entry->expires_ms;
    int failure = 3;
    const std::vector<DnsAnswer::Service> services = entry->good.services;
    for (const DnsAnswer::Service& service : services) {
        auto host = co_await resolve(service.host, timeout);
        if (!host) {
            failure = host.error().code;
            continue;
        }
        found.valid_until_ms = std::min(found.valid_until_ms, host->valid_until_ms);
        for (Address& address : host->addresses) {
            address.set_port(service.port);
        }
        found.targets.push_back({std::move(host->addresses), service.priority, service.weight});
    }
    if (found.targets.empty()) {
        co_return std::unexpected(ResolveError{failure});
    }
    co_return std::move(found);
}

}  // namespace moongate::net
