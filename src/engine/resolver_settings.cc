#include "engine/resolver_settings.h"

#include <fmt/format.h>

#include "conf/values.h"

namespace moongate::engine {
namespace {

std::unexpected<conf::ConfError> invalid_parameter(std::string_view text) {
    return conf::reject(fmt::format("invalid parameter: {}", text));
}

}  // namespace

conf::Expected<ResolverSettings> parse_resolver(std::span<const std::string> args) {
    ResolverSettings settings;
    for (const std::string_view arg : args) {
        if (arg.starts_with("valid=")) {
            const auto seconds = conf::parse_seconds(arg.substr(6));
            if (!seconds) {
                return invalid_parameter(arg);
            }
            settings.valid = Milliseconds(*seconds * 1000);
        } else if (arg.starts_with("ipv4=") || arg.starts_with("ipv6=")) {
            const std::string_view value = arg.substr(5);
            if (value != "on" && value != "off") {
                return invalid_parameter(arg);
            }
            (arg[3] == '4' ? settings.ipv4 : settings.ipv6) = value == "on";
        } else if (arg.starts_with("status_zone=")) {
            settings.status_zone = arg.substr(12);
        } else {
            auto addresses = parse_addresses(arg, 53, false);
            if (!addresses) {
                return conf::reject(
                    fmt::format("{} in resolver \"{}\"", addresses.error().message, arg));
            }
            for (ParsedAddress& address : *addresses) {
                settings.servers.push_back(std::move(address));
            }
        }
    }
    if (!settings.ipv4 && !settings.ipv6) {
        return conf::reject("\"ipv4\" and \"ipv6\" cannot both be \"off\"");
    }
    if (settings.servers.empty()) {
        return conf::reject("no name servers defined");
    }
    return settings;
}

}  // namespace moongate::engine
