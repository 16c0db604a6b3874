// Scripts that run once (script.h).
#include "lua/script.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/timers.h"
#include "lua/worker_lua.h"

namespace moongate::lua {
namespace {

// Turns of the loop in which timers that still wait are called with `premature` set. They end by
// themselves, unless such a call adds a further timer each time.
constexpr int kLastTurns = 100;

// Its result is the function that runs the script.
constexpr std::string_view kConsole = R"lua(
local exit_now, write, code, file, arguments = ...
local stdout, stderr, null, select = io.stdout, io.stderr, ngx.null, select
local type, tostring, maxn, concat = type, tostring, table.maxn, table.concat
local traceback, xpcall, loadfile, loadstring = debug.traceback, xpcall, loadfile, loadstring

local function flatten(values, count)
    local texts = {}
    for i = 1, count do
        local value = values[i]
        if value == null then
            texts[i] = "null"
        elseif type(value) == "table" then
            texts[i] = flatten(value, maxn(value))
        else
            texts[i] = tostring(value)
        end
    end
    return concat(texts)
end
function ngx.print(...)
    return write(flatten({...}, select("#", ...)))
end
function ngx.say(...)
    return write(flatten({...}, select("#", ...)) .. "\n")
end
function ngx.flush()
    return stdout:flush() and 1 or nil
end
function ngx.eof()
    return 1
end
local function exit(status)
    if status == nil or status == true then
        status = 0
    elseif status == false then
        status = 1
    end
    exit_now(status)
end
os.exit = exit
ngx.exit = exit
ngx.config.is_console = true
rawset(_G, "print", ngx.say)
rawset(_G, "arg", arguments)

local function fail(message)
    stdout:flush()
    stderr:write("ERROR: ", tostring(message), "\n")
    exit_now(1)
end
local function handle(err)
    fail(traceback(tostring(err), 2))
end
return function()
    local chunks = {}
    if code then
        local chunk, err = loadstring(code, "=(command line -e)")
        chunks[1] = chunk or fail(err)
    end
    if file then
        local chunk, err
        if file == "-" then
            chunk, err = loadfile()
        else
            chunk, err = loadfile(file)
        end
        chunks[#chunks + 1] = chunk or fail(err)
    end
    for i = 1, #chunks do
        xpcall(chunks[i], handle, unpack(arguments))
    end
end
)lua";

// A reader that has left ends the script, as SIGPIPE ends other programs.
int write_output(lua_State* L) {
    constexpr int kBrokenPipe = 128 + SIGPIPE;
    const std::string_view text = to_view(L, 1);
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()) {
        lua_pushinteger(L, 1);
        return 1;
    }
    const int error = errno;
    if (error == EPIPE) {
        ::_exit(kBrokenPipe);
    }
    lua_pushnil(L);
    lua_pushstring(L, std::strerror(error));
    return 2;
}

// What was written goes out; destructors do not run, since other threads still use what they would
// destroy.
int exit_now(lua_State* L) {
    const auto status = static_cast<int>(luaL_checkinteger(L, 1));
    std::fflush(nullptr);
    ::_exit(status & 0xff);
}

int load_console(lua_State* L) {
    const auto& script = *static_cast<const Script*>(lua_touserdata(L, 1));
    if (luaL_loadbuffer(L, kConsole.data(), kConsole.size(), "=moongate lua") != 0) {
        return lua_error(L);
    }
    lua_pushcfunction(L, exit_now);
    lua_pushcfunction(L, write_output);
    for (const std::string* text : {&script.code, &script.file}) {
        if (text->empty()) {
            lua_pushnil(L);
        } else {
            push(L, *text);
        }
    }
    lua_newtable(L);
    for (const auto& [index, value] : script.arguments) {
        push(L, value);
        lua_rawseti(L, -2, index);
    }
    lua_call(L, 5, 1);
    return 1;
}

async::Task<int> run_entry(Vm& vm, engine::WorkerState& worker) {
    Arena arena;
    Context context(vm, worker, nullptr, arena);
    Run run(context, Phase::Timer);
    run.load_function(vm.state(), 1);
    while (!run.progress()) {
        co_await run.wakeup();
    }
    co_return run.end() == Run::End::Done ? 0 : 1;
}

async::Task<void> run_script(Vm& vm, engine::WorkerState& worker,
                             std::move_only_function<void(int)> ended) {
    int status = 0;
    {
        const VmShare share(vm);
        status = co_await run_entry(vm, worker);
        worker.exiting = true;
        vm.timers().retire();
        for (int turn = 0; turn < kLastTurns && vm.timers().pending() > 0; ++turn) {
            co_await async::yield(worker.reactor());
        }
        co_await run_exit_worker(vm, worker);
    }
    ended(status);
}

}  // namespace

void start_script(engine::WorkerState& worker, const Script& script,
                  std::move_only_function<void(int)> ended) {
    WorkerLua& lua = *worker.get<WorkerLua>(lua_worker_slot);
    Vm& vm = *lua.current();
    lua_State* L = vm.state();
    lua_pushcfunction(L, load_console);
    lua_pushlightuserdata(L, const_cast<Script*>(&script));
    if (lua_pcall(L, 1, 1, 0) != 0) {
        vm.log().print(LogLevel::Error, 0, "{}", to_view(L, -1));
        lua_settop(L, 0);
        ended(1);
        return;
    }
    lua.tasks().spawn("script", run_script(vm, worker, std::move(ended)));
}

}  // namespace moongate::lua
