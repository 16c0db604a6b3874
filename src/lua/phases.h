// The handlers and filters through which requests run Lua code, and set_by_lua's value. The
// request's worker.
#pragma once

#include "async/task.h"
#include "base/result.h"
#include "engine/action.h"
#include "engine/filters.h"
#include "lua/settings.h"

namespace moongate::lua {

async::Task<engine::Action> server_rewrite_by_lua(engine::Request& request);
async::Task<engine::Action> rewrite_by_lua(engine::Request& request);
async::Task<engine::Action> access_by_lua(engine::Request& request);
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
