// ngx.conn (also require "ngx.conn"): ngx.conn.ctx is a table that all requests of one client
// connection share, made at its first use and freed with the connection. It belongs to the VM that
// made it: after a reload the connection's next request starts with an empty one, and a VM is not
// kept for it. One worker.
#include "engine/request.h"
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

struct ConnectionTable;

// The connection tables of a VM's state, which end with it. A userdata in the registry refers to
// it.
struct TableList final : VmOwned {
    ~TableList() override;
    lua_State* main = nullptr;
    ConnectionTable* first = nullptr;
};

// What the connection holds.
struct ConnectionTable final : http::ConnectionData {
    ~ConnectionTable() override { forget(); }

    void attach(TableList& to) {
        forget();
        list = &to;
        next_table = to.first;
        if (next_table != nullptr) {
            next_table->previous_table = this;
        }
        to.first = this;
    }
    void forget() {
        if (list == nullptr) {
            return;
        }
        luaL_unref(list->main, LUA_REGISTRYINDEX, ref);
        (previous_table != nullptr ? previous_table->next_table : list->first) = next_table;
        if (next_table != nullptr) {
            next_table->previous_table = previous_table;
        }
        list = nullptr;
        previous_table = next_table = nullptr;
        ref = LUA_NOREF;
    }

    TableList* list = nullptr;
    int ref = LUA_NOREF;
    ConnectionTable* previous_table = nullptr;
    ConnectionTable* next_table = nullptr;
};

const char kListKey = 0;
const char kOwner = 0;

TableList::~TableList() {
    while (ConnectionTable* table = first) {
        first = table->next_table;
        table->list = nullptr;
        table->previous_table = table->next_table = nullptr;
    }
}

int close_list(lua_State* L) {
    delete *static_cast<TableList**>(lua_touserdata(L, 1));
    return 0;
}

TableList& list_of(lua_State* L) {
    lua_pushlightuserdata(L, const_cast<char*>(&kListKey));
    lua_rawget(L, LUA_REGISTRYINDEX);
    auto& list = **static_cast<TableList**>(lua_touserdata(L, -1));
    lua_pop(L, 1);
    return list;
}

ConnectionTable& table_of(http::ConnectionInfo& connection) {
    for (http::ConnectionData* data = connection.data.get(); data != nullptr;
         data = data->next.get()) {
        if (data->owner == &kOwner) {
            return static_cast<ConnectionTable&>(*data);
        }
    }
    auto made = std::make_unique<ConnectionTable>();
    made->owner = &kOwner;
    made->next = std::move(connection.data);
    connection.data = std::move(made);
    return static_cast<ConnectionTable&>(*connection.data);
}

ConnectionTable& current_table(lua_State* L) {
    return table_of(check_request(L).request->exchange.connection());
}

// The table on top of the stack becomes the connection's.
void set_table(lua_State* L, ConnectionTable& table) {
    TableList& list = list_of(L);
    const int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    table.attach(list);
    table.ref = ref;
}

int get_field(lua_State* L) {
    if (to_view(L, 2) != "ctx") {
        lua_pushnil(L);
        return 1;
    }
    ConnectionTable& table = current_table(L);
    if (table.list != &list_of(L)) {
        lua_createtable(L, 0, 4);
        set_table(L, table);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, table.ref);
    return 1;
}

int set_field(lua_State* L) {
    if (lua_type(L, 2) != LUA_TSTRING || to_view(L, 2) != "ctx") {
        lua_rawset(L, 1);
        return 0;
    }
    if (!lua_istable(L, 3)) {
        return luaL_error(L, "ctx should be a table while getting a %s", luaL_typename(L, 3));
    }
    set_table(L, current_table(L));
    return 0;
}

}  // namespace

int open_connection(lua_State* L) {
    auto* holder = static_cast<TableList**>(lua_newuserdata(L, sizeof(TableList*)));
    *holder = new TableList();
    (*holder)->main = Vm::current()->state();
    lua_createtable(L, 0, 1);
    set_function(L, "__gc", close_list);
    lua_setmetatable(L, -2);
    lua_pushlightuserdata(L, const_cast<char*>(&kListKey));
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);

    lua_createtable(L, 0, 0);
    lua_createtable(L, 0, 2);
    set_function(L, "__index", get_field);
    set_function(L, "__newindex", set_field);
    lua_setmetatable(L, -2);
    return 1;
}

}  // namespace moongate::lua
