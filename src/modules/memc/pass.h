// What memc_pass and memcached_pass share: the target and the settings of the way to it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "conf/compiler.h"
#include "conf/directive.h"
#include "engine/location.h"
#include "upstream/flow.h"
#include "upstream/upstream.h"

namespace moongate::modules {

struct MemcTarget {
    const engine::Location* owner = nullptr;
    conf::CompiledString dynamic;                        // set where it holds variables
    std::shared_ptr<const upstream::Upstream> upstream;  // else, once the configuration is complete
};

// Takes the settings that both modules have under the same names.
template <class Settings>
void derive_memc_flow(Settings& settings) {
    upstream::FlowOptions& flow = settings.flow;
    flow.connect_timeout = settings.connect_timeout;
    flow.send_timeout = settings.send_timeout;
    flow.read_timeout = settings.read_timeout;
    flow.buffer_size = settings.buffer_size;
    flow.next_upstream = settings.next_upstream;
    flow.buffering = false;
    flow.intercept_errors = true;
}

inline constexpr conf::EnumValue kMemcNext[] = {
    {"error", upstream::kNextError},
    {"timeout", upstream::kNextTimeout},
    {"invalid_response", upstream::kNextInvalidHeader},
    {"not_found", upstream::kNext404},
    {"off", upstream::kNextOff},
};

conf::Applied set_memc_target(conf::Compiler& compiler, const conf::Statement& statement,
                              std::shared_ptr<MemcTarget>& target);
// Makes the location's content where the target is its own.
void install_memc_pass(engine::Location& location, const MemcTarget* target,
                       engine::Handler handler);

// The upstream for this request, or null: `status` is the answer (logged).
async::Task<std::shared_ptr<const upstream::Upstream>> memc_upstream(engine::Request& request,
                                                                     const MemcTarget& target,
                                                                     int& status);

}  // namespace moongate::modules
