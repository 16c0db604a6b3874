// Apply functions of the *_by_lua* directives: block, string and file forms. Compiling thread only.
// Source: lua-nginx-module's "Directives" chapter.
#pragma once

#include "conf/compiler.h"
#include "lua/settings.h"

namespace moongate::lua {

using conf::Applied;
using conf::Compiler;
using conf::Contexts;
using conf::Directive;
using conf::Statement;

// The code that `statement` holds: its Lua block, its string argument, or the file it names.
// `argument` is the position of that argument.
conf::Expected<CodeRef> read_code(Compiler& compiler, const Statement& statement,
                                  std::size_t argument, bool may_have_variables);

// The same for a member of one of the settings structs; a second statement at a level is refused.
template <class Settings, CodeRef Settings::* Member, bool Variables = true>
Applied apply_code(Compiler& compiler, const Statement& statement, Settings& settings) {
    static const char key = 0;
    if (!compiler.level().first(&key)) {
        return conf::reject("is duplicate");
    }
    auto code = read_code(compiler, statement, 1, Variables);
    if (!code) {
        return std::unexpected(std::move(code.error()));
    }
    settings.*Member = std::move(*code);
    return {};
}

Applied apply_content(Compiler& compiler, const Statement& statement, LuaSettings& settings);
// Both in upstream {}.
Applied apply_balancer(Compiler& compiler, const Statement& statement);
Applied apply_balancer_keepalive(Compiler& compiler, const Statement& statement);
Applied apply_set(Compiler& compiler, const Statement& statement);

}  // namespace moongate::lua
