// Set functions: what the set_* directives of set-misc and its relatives compute. One table row a
// function; the directives, Lua's ndk.set_var and array_map_op all find it here by its name. A
// function runs on the request's worker and does not wait. Source: ngx_devel_kit's set_var.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "conf/directive.h"
#include "modules/rewrite/rewrite.h"

namespace moongate::modules {

struct SetFunction {
    std::string_view name;  // the directive's
    std::uint8_t values = 1;
    SetCall call = nullptr;
};

// Null: there is none of that name. array_map_op and ndk.set_var take those of at most one value.
const SetFunction* find_set_function(std::string_view name);
std::span<const SetFunction> set_misc_functions();
std::span<const SetFunction> encrypted_session_functions();

// The rows' apply functions: `set_x $target value...;`. With one value, `set_x $target;` is
// `set_x $target $target;`.
conf::Applied apply_set_function(conf::Compiler& compiler, const conf::Statement& statement);

// Where set_* directives may stand; at the http level they have no effect, as in nginx.
inline constexpr conf::Contexts kSetContexts =
    conf::kHttp | conf::kServer | conf::kServerIf | conf::kLocation | conf::kLocationIf;

// `text`, or "" where it is a null view: results stay valid pointers.
inline Result<std::string_view> set_result(std::string_view text) {
    return text.data() == nullptr ? std::string_view("") : text;
}
// What a failing function returns after it logged why.
inline Error set_failure() {
    return {.kind = ErrorKind::Invalid, .detail = "a set directive failed"};
}

}  // namespace moongate::modules
