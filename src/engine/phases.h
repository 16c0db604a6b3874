// The phases of a request in order (nginx's eleven) and what a module puts into them. A handler
// either runs to its end (`run`) or may wait (`wait`); exactly one of the two is set. Handlers of a
// phase run in the order of the module list, and a location holds only those that its settings
// need.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "engine/action.h"

namespace moongate::engine {

class Request;

enum class Phase : std::uint8_t {
    PostRead,
    ServerRewrite,
    FindConfig,
    Rewrite,
    PostRewrite,
    Preaccess,
    Access,
    PostAccess,
    Precontent,
    Content,
    Log,
};
inline constexpr std::size_t kPhaseCount = 11;

struct Handler {
    std::string_view name;  // a literal
    Action (*run)(Request&) = nullptr;
    async::Task<Action> (*wait)(Request&) = nullptr;

    explicit operator bool() const { return run != nullptr || wait != nullptr; }
};

// The handlers of one location (or of a server, for the phases before a location is known).
class HandlerTable {
public:
    void add(Phase phase, Handler handler) {
        lists_[static_cast<std::size_t>(phase)].push_back(handler);
    }
    std::span<const Handler> of(Phase phase) const {
        return lists_[static_cast<std::size_t>(phase)];
    }

private:
    std::array<std::vector<Handler>, kPhaseCount> lists_;
};

}  // namespace moongate::engine
