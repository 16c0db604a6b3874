// The rewrite module: set, if, return, rewrite, break. Its directives make a script of each server
// and location, which runs in the server_rewrite or rewrite phase. Code of other modules takes part
// in the script through rewrite_append_set() (set_by_lua). Source: nginx's ngx_http_rewrite_module.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "conf/error.h"
#include "engine/module.h"

namespace moongate::engine {
class Request;
}

namespace moongate::modules {

extern const engine::Module rewrite_module;

struct Script;
struct RewriteSettings {
    std::shared_ptr<Script> script;  // may be an outer level's: see Script::owner
    bool log = false;
    bool warn_uninitialized = true;
};

// Computes a variable's value from texts that are evaluated at this place of the script. The value
// must live as long as the request's arena. An error ends the request with 500; whoever returns it
// has logged why.
using SetCall = Result<std::string_view> (*)(engine::Request& request,
                                             std::span<const std::string_view> values,
                                             const void* data);

// Computes a variable's value. Exactly one of `run` and `wait` is set; both get data.get(). The
// value must live as long as the request's arena. An error ends the request, with its code where
// that is a status of the client's side, else with 500; whoever returns it has logged why.
struct ValueOp {
    Result<std::string_view> (*run)(engine::Request& request, void* data) = nullptr;
    async::Task<Result<std::string_view>> (*wait)(engine::Request& request, void* data) = nullptr;
    std::shared_ptr<void> data;
};

// `$name` as `set` defines it: its index. nginx's messages: `invalid variable name "x"`,
// `the duplicate "x" variable`.
conf::Expected<int> rewrite_define(conf::Compiler& compiler, std::string_view dollar_name);

// Appends `$variable = op()` to the script of the block that is being compiled. Call it from the
// directive's apply function (pass 1); inside `if`, the directive's name must begin with
// "set_by_lua" so that the enclosing script knows in time that it may wait.
conf::Applied rewrite_append_set(conf::Compiler& compiler, int variable, ValueOp op);

// Appends `$variable = call(texts)`; captures in the texts are escaped as `set` does it.
conf::Applied rewrite_append_call(conf::Compiler& compiler, std::string_view dollar_name,
                                  std::span<const std::string_view> texts, SetCall call,
                                  std::shared_ptr<const void> data = nullptr);

}  // namespace moongate::modules
