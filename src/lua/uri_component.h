// ngx_lua's own tables of what is percent-encoded: its URI components keep ! ' ( ) *, its URIs
// < > " \ ^ ` { | }, unlike nginx's; header names and values lose what would end or split the
// field. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/arena.h"

namespace moongate::lua {

enum class LuaEscape : std::uint8_t { Uri, Args, HeaderName, HeaderValue };

std::size_t escaped_size(std::string_view text, LuaEscape kind);
// Writes the escaped text and returns behind its end.
char* escape(std::string_view text, LuaEscape kind, char* to);
std::string escape(std::string_view text, LuaEscape kind);
// A copy in `arena`, NUL-terminated.
std::string_view escaped_in(std::string_view text, LuaEscape kind, Arena& arena);

// For log lines: \xNN for control bytes, '"', '\\' and all that is not ASCII.
std::string escape_for_log(std::string_view text);

std::size_t escaped_component_size(std::string_view text);
// Writes the escaped text and returns behind its end.
char* escape_component(std::string_view text, char* to);
std::string escape_component(std::string_view text);

}  // namespace moongate::lua
