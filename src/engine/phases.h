// The phases of a request in order (nginx's eleven) and what a module puts into them. A handler
// either runs to its end (`run`) or may wait (`wait`); exactly one of the two is set. Handlers of a
// phase run in the order of the module list, and a location holds only those that its settings
// need.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
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
    bool operator==(const Handler&) const = default;
};

// The handlers of one location (or of a server, for the phases before a location is known). Tables
// with equal contents share one array (SnapshotBuilder::finish_location), so a location pays for a
// pointer.
class HandlerTable {
public:
    // Behind the handlers that the phase has. Only while the configuration is compiled.
    void add(Phase phase, Handler handler);
    // Before them.
    void add_first(Phase phase, Handler handler);

    bool has(Phase phase) const {
        const auto at = static_cast<std::size_t>(phase);
        return lists_ != nullptr && lists_->starts[at] != lists_->starts[at + 1];
    }
    std::span<const Handler> of(Phase phase) const {
        if (lists_ == nullptr) {
            return {};
        }
        const auto at = static_cast<std::size_t>(phase);
        const Handler* first = lists_->handlers.data();
        return {first + lists_->starts[at], first + lists_->starts[at + 1]};
    }

private:
    friend class SnapshotBuilder;

    // handlers[starts[p]] up to handlers[starts[p + 1]] belong to phase p.
    struct Lists {
        std::array<std::uint16_t, kPhaseCount + 1> starts{};
        std::vector<Handler> handlers;
        bool operator==(const Lists&) const = default;
    };
    void insert(Phase phase, Handler handler, bool first);

    std::shared_ptr<const Lists> lists_;
};

}  // namespace moongate::engine
