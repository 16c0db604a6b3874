// `resolver`: the name servers and parameters of a statement, checked while the configuration is
// read and parsed again where a resolver is made from CoreLocationSettings::resolver. Any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "conf/error.h"
#include "engine/listen_address.h"

namespace moongate::engine {

struct ResolverSettings {
    std::vector<ParsedAddress> servers;  // port 53 where none is written
    std::optional<Milliseconds> valid;   // instead of the answers' time to live
    bool ipv4 = true;
    bool ipv6 = true;
    std::string status_zone;
};

// nginx's messages: `invalid parameter: "x"`, `host not found in resolver "x"`.
conf::Expected<ResolverSettings> parse_resolver(std::span<const std::string> args);

}  // namespace moongate::engine
