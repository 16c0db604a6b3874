// `events {}` and what stands in it. The event method is always epoll.
#include <arpa/inet.h>
#include <fmt/format.h>

#include "conf/compiler.h"
#include "conf/directive.h"
#include "engine/core_module.h"
#include "engine/listen_address.h"
#include "engine/main_settings.h"

namespace moongate::engine {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;

// The block's settings belong to the main level: nothing inherits from `events`.
Applied enter_events(Compiler& compiler, const Statement& statement) {
    if (compiler.level().get<EventSettings>().seen) {
        return conf::reject_directive("events", "is duplicate");
    }
    auto level = compiler.child_level();
    if (auto done = compiler.walk(statement, conf::kEvents, *level); !done) {
        return done;
    }
    auto& settings = compiler.level().edit<EventSettings>();
    settings = level->get<EventSettings>();
    settings.seen = true;
    return {};
}

Applied apply_worker_connections(Compiler&, const Statement& statement, EventSettings& settings) {
    const auto number = conf::parse_integer(statement.arg(1));
    if (!number) {
        return conf::reject(fmt::format("invalid number \"{}\"", statement.arg(1)));
    }
    settings.worker_connections = *number;
    return {};
}

Applied apply_use(Compiler&, const Statement& statement, EventSettings& settings) {
    if (statement.arg(1) != "epoll") {
        return conf::reject(fmt::format("invalid event type \"{}\"", statement.arg(1)));
    }
    settings.use = statement.arg(1);
    return {};
}

bool is_network(std::string_view text) {
    const std::string host(text.substr(0, text.find('/')));
    in6_addr address{};
    const bool v4 = inet_pton(AF_INET, host.c_str(), &address) == 1;
    if (!v4 && inet_pton(AF_INET6, host.c_str(), &address) != 1) {
        return false;
    }
    if (host.size() == text.size()) {
        return true;
    }
    const auto bits = conf::parse_integer(text.substr(host.size() + 1));
    return bits && *bits <= (v4 ? 32 : 128);
}

Applied apply_debug_connection(Compiler&, const Statement& statement, EventSettings& settings) {
    const std::string_view text = statement.arg(1);
    if (text != "unix:" && !is_network(text)) {
        if (text.contains('/') || !parse_addresses(text, 80, false)) {
            return conf::reject(fmt::format("host not found in debug_connection \"{}\"", text));
        }
    }
    settings.debug_connections.emplace_back(text);
    return {};
}

constexpr conf::Directive kRows[] = {
    conf::block<enter_events>("events", conf::kMain, conf::kNoArgs,
                              "What concerns connections as such.")
        .immediate(),
    conf::custom<apply_worker_connections>("worker_connections", conf::kEvents, conf::kTake1, "512",
                                           "How many connections a worker may have at a time.")
        .syntax("number")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_use>("use", conf::kEvents, conf::kTake1, "epoll",
                            "The event method: epoll is the one there is.")
        .syntax("method")
        .merged(conf::Merge::Inherit),
    conf::flag<&EventSettings::multi_accept>(
        "multi_accept", conf::kEvents, "off",
        "Whether a worker accepts all waiting connections at once."),
    conf::flag<&EventSettings::accept_mutex>(
        "accept_mutex", conf::kEvents, "off",
        "Accepted for compatibility: the system wakes one worker a connection."),
    conf::msec<&EventSettings::accept_mutex_delay>("accept_mutex_delay", conf::kEvents, "500ms",
                                                   "Accepted for compatibility, see accept_mutex."),
    conf::custom<apply_debug_connection>(
        "debug_connection", conf::kEvents, conf::kTake1, "",
        "Clients whose requests are logged at debug level; accepted, without effect yet.")
        .syntax("address | CIDR | unix:"),
    conf::number<&EventSettings::worker_aio_requests>(
        "worker_aio_requests", conf::kEvents, "32", "Accepted for compatibility, without effect."),
    conf::number<&EventSettings::epoll_events>("epoll_events", conf::kEvents, "512",
                                               "Accepted for compatibility, without effect."),
};

}  // namespace

const Module events_module{
    .directives = {.module = "events", .rows = kRows},
};

}  // namespace moongate::engine
