// The handlers and filters through which requests run Lua code, and set_by_lua's value. The
// request's worker.
#pragma once

#include "async/task.h"
#include "base/result.h"
#include "engine/action.h"
#include "engine/filters.h"
#include "lua/settings.h"

namespace moongate::engine {
struct Location;
}

namespace moongate::lua {

// The handlers of `location`'s phases for the code that its settings hold.
void add_phase_handlers(engine::Location& location, const LuaSettings& settings,
                        const LuaMainSettings& main);
async::Task<engine::Action> content_by_lua(engine::Request& request);
async::Task<engine::Action> log_by_lua(engine::Request& request);

extern const engine::Filter header_filter_by_lua;
extern const engine::Filter body_filter_by_lua;

// What set_by_lua* compiled to.
struct SetCode {
    CodeRef code;
    std::vector<conf::CompiledString> arguments;
};
async::Task<Result<std::string_view>> set_by_lua(engine::Request& request, void* set_code);

}  // namespace moongate::lua
