#include "lua/preload.h"

#include <lua.hpp>

#include <map>
#include <mutex>
#include <string>

#include "lua/api.h"

namespace moongate::lua {
namespace {

struct Preloads {
    std::mutex mutex;
    std::map<std::string, lua_CFunction, std::less<>> openers;
};

Preloads& preloads() {
    static Preloads all{.mutex = {},
                        .openers = {{"ngx.balancer", open_balancer},
                                    {"ngx.resp", open_response},
                                    {"ngx.conn", open_connection}}};
    return all;
}

}  // namespace

void add_preload(std::string_view name, int (*opener)(lua_State* L)) {
    Preloads& all = preloads();
    const std::lock_guard lock(all.mutex);
    all.openers[std::string(name)] = opener;
}

void install_preloads(lua_State* L) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    Preloads& all = preloads();
    const std::lock_guard lock(all.mutex);
    for (const auto& [name, opener] : all.openers) {
        set_function(L, name.c_str(), opener);
    }
    lua_pop(L, 2);
}

}  // namespace moongate::lua
