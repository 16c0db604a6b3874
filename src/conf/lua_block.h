// Finds the end of a *_by_lua_block body: braces are counted outside of Lua's strings and comments.
// Any thread. Source: the Lua 5.1 manual §2.1; messages as ngx_lua's
// ngx_http_lua_conf_lua_block_parse.
#pragma once

#include <string>
#include <string_view>

namespace moongate::conf {

struct LuaBlockEnd {
    bool found = false;
    std::size_t at = 0;   // offset of the closing '}'
    unsigned line = 0;    // its line, or the line a message is about
    std::string message;  // why not, where not found
};

// `text` starts after the opening '{', which stands on `line`.
LuaBlockEnd find_lua_block_end(std::string_view text, unsigned line);

}  // namespace moongate::conf
