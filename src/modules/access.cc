// See access.h. The first rule that matches the address decides; without one the next module does.
#include "modules/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/strings.h"
#include "conf/compiler.h"
#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/request.h"

namespace moongate::modules {

namespace {

using conf::Applied;

struct AddressRule {
    int family = AF_UNSPEC;  // AF_UNSPEC: `all`
    bool deny = false;
    unsigned bits = 0;
    std::array<std::uint8_t, 16> address{};

    bool covers(int of, const std::uint8_t* bytes) const {
        if (family == AF_UNSPEC) {
            return true;
        }
        if (family != of) {
            return false;
        }
        const unsigned whole = bits / 8;
        if (std::memcmp(bytes, address.data(), whole) != 0) {
            return false;
        }
        const unsigned rest = bits % 8;
        return rest == 0 || ((bytes[whole] ^ address[whole]) >> (8 - rest)) == 0;
    }
};

struct AccessSettings {
    std::vector<AddressRule> rules;
};

// Clears the address' bits behind the mask; true where there were any.
bool clear_host_bits(AddressRule& rule) {
    bool cleared = false;
    for (unsigned i = 0; i < rule.address.size(); ++i) {
        const unsigned kept = rule.bits <= i * 8 ? 0 : std::min(8U, rule.bits - i * 8);
        const auto mask = static_cast<std::uint8_t>(0xffU << (8 - kept));
        cleared = cleared || (rule.address[i] & ~mask) != 0;
        rule.address[i] &= mask;
    }
    return cleared;
}

Applied parse_cidr(conf::Compiler& compiler, std::string_view text, AddressRule& rule) {
    const std::size_t slash = text.find('/');
    const std::string host(text.substr(0, slash));
    unsigned most = 32;
    if (::inet_pton(AF_INET, host.c_str(), rule.address.data()) == 1) {
        rule.family = AF_INET;
    } else if (::inet_pton(AF_INET6, host.c_str(), rule.address.data()) == 1) {
        rule.family = AF_INET6;
        most = 128;
    } else {
        return conf::reject(fmt::format("invalid parameter \"{}\"", text));
    }
    rule.bits = most;
    if (slash != std::string_view::npos) {
        const auto bits = parse_number<unsigned>(text.substr(slash + 1));
        if (!bits.has_value() || *bits > most) {
            return conf::reject(fmt::format("invalid parameter \"{}\"", text));
        }
        rule.bits = *bits;
        if (clear_host_bits(rule)) {
            compiler.warn(fmt::format("low address bits of {} are meaningless", text));
        }
    }
    return {};
}

Applied apply_rule(conf::Compiler& compiler, const conf::Statement& statement,
                   AccessSettings& settings) {
    AddressRule rule;
    rule.deny = statement.name == "deny";
    const std::string_view whom = statement.arg(1);
    if (whom == "unix:") {
        rule.family = AF_UNIX;
    } else if (whom != "all") {
        if (Applied parsed = parse_cidr(compiler, whom, rule); !parsed) {
            return parsed;
        }
    }
    settings.rules.push_back(rule);
    return {};
}

engine::Action check_access(engine::Request& request) {
    const auto& rules = request.get<AccessSettings>().rules;
    const http::SocketAddress& remote = request.exchange.connection().remote;
    int family = remote.family();
    const std::uint8_t* bytes = nullptr;
    if (family == AF_INET) {
        bytes = reinterpret_cast<const std::uint8_t*>(&remote.v4.sin_addr);
    } else if (family == AF_INET6) {
        const in6_addr& address = remote.v6.sin6_addr;
        bytes = address.s6_addr;
        // A mapped address is an IPv4 one as soon as there are rules for those.
        const bool has_v4 = std::ranges::any_of(rules, [](const AddressRule& rule) {
            return rule.family == AF_INET || rule.family == AF_UNSPEC;
        });
        if (IN6_IS_ADDR_V4MAPPED(&address) && has_v4) {
            family = AF_INET;
            bytes += 12;
        }
    } else if (family != AF_UNIX) {
        return engine::Action::next();
    }
    for (const AddressRule& rule : rules) {
        if (!rule.covers(family, bytes)) {
            continue;
        }
        if (!rule.deny) {
            return engine::Action::done();
        }
        if (!request.get<engine::CoreLocationSettings>().satisfy_any) {
            request.log_error(LogLevel::Error, "access forbidden by rule");
        }
        return engine::Action::finish(403);
    }
    return engine::Action::next();
}

void install(engine::Location& location) {
    if (!location.settings->get<AccessSettings>().rules.empty()) {
        location.handlers.add(engine::Phase::Access, {.name = "access", .run = &check_access});
    }
}

constexpr conf::Contexts kContexts = conf::kHttpLevels | conf::kLimitExcept;

constexpr std::array kRows{
    conf::custom<apply_rule>("allow", kContexts, conf::kTake1, "",
                             "Lets clients of an address or network in.")
        .syntax("address | CIDR | unix: | all")
        .clears<&AccessSettings::rules>()
        .group("access"),
    conf::custom<apply_rule>("deny", kContexts, conf::kTake1, "",
                             "Keeps clients of an address or network out.")
        .syntax("address | CIDR | unix: | all")
        .clears<&AccessSettings::rules>()
        .group("access"),
};

}  // namespace

const engine::Module access_module{
    .directives = {.module = "access", .rows = kRows},
    .install = &install,
};

}  // namespace moongate::modules
