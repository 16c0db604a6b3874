// ngx_lua's escaping of URI components: as nginx's, but ! ' ( ) * stay. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace moongate::lua {

std::size_t escaped_component_size(std::string_view text);
// Writes the escaped text and returns behind its end.
char* escape_component(std::string_view text, char* to);
std::string escape_component(std::string_view text);

}  // namespace moongate::lua
