// ngx.socket: what lua-resty-core expects to find before it is loaded. The cosockets themselves are
// not there yet: creating one says so.
#include "lua/api.h"

namespace moongate::lua {
namespace {

int no_socket(lua_State* L) {
    lua_pushnil(L);
    lua_pushliteral(L, "cosockets are not supported yet");
    return 2;
}

}  // namespace

void install_sockets(lua_State* L) {
    lua_createtable(L, 0, 8);
    lua_setfield(L, LUA_REGISTRYINDEX, "__tcp_cosocket_mt");
    lua_createtable(L, 0, 4);
    set_function(L, "tcp", no_socket);
    set_function(L, "stream", no_socket);
    set_function(L, "udp", no_socket);
    set_function(L, "connect", no_socket);
    lua_setfield(L, -2, "socket");
}

}  // namespace moongate::lua
