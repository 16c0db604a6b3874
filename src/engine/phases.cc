#include "engine/phases.h"

namespace moongate::engine {

void HandlerTable::add(Phase phase, Handler handler) {
    insert(phase, handler, false);
}

void HandlerTable::add_first(Phase phase, Handler handler) {
    insert(phase, handler, true);
}

void HandlerTable::insert(Phase phase, Handler handler, bool first) {
    auto lists = lists_ == nullptr ? std::make_shared<Lists>() : std::make_shared<Lists>(*lists_);
    const auto at = static_cast<std::size_t>(phase);
    lists->handlers.insert(lists->handlers.begin() + lists->starts[first ? at : at + 1], handler);
    for (std::size_t i = at + 1; i <= kPhaseCount; ++i) {
        ++lists->starts[i];
    }
    lists_ = std::move(lists);
}

}  // namespace moongate::engine
