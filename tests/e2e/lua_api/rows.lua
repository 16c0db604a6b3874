-- The rows of the Lua API, each with a function that uses it and says whether it did what its documentation promises.
-- driver.lua runs every row in every phase; test_lua_api_rows.py compares with where OpenResty allows it and writes
-- docs/lua-api.md. A function returns true, or nil and what is wrong; raising counts as not allowed there.
local peers = require "peers"  -- ports and files of the test's servers

local rows = { names = {}, functions = {}, needs_client = {} }

local function row(name, run)
    rows.names[#rows.names + 1] = name
    rows.functions[name] = run
end

-- A row that ends the request or is seen only by the client, who judges it.
local function client_row(name, run)
    row(name, run)
    rows.needs_client[name] = true
end

local function same(got, wanted)
    if got == wanted then
        return true
    end
    return nil, tostring(got) .. " instead of " .. tostring(wanted)
end

-- --- the request

row("ngx.arg", function(phase)
    if phase == "set" then
        return same(ngx.arg[1], "/set")
    end
    return type(ngx.arg[1]) == "string" and type(ngx.arg[2]) == "boolean"
end)
row("ngx.var.VARIABLE", function()
    ngx.var.row = "written"
    return same(ngx.var.row .. ngx.var.request_method, "writtenPOST")
end)
row("print", function() print("a row") return true end)
row("ngx.ctx", function() ngx.ctx.row = 7 return same(ngx.ctx.row, 7) end)
row("ngx.location.capture", function()
    local answer = ngx.location.capture("/sub?x=1")
    return same(answer.status .. answer.body, "200sub 1")
end)
row("ngx.location.capture_multi", function()
    local one, two = ngx.location.capture_multi { { "/sub?x=1" }, { "/sub?x=2" } }
    return same(one.body .. two.body, "sub 1sub 2")
end)
row("ngx.status", function(phase)
    if phase ~= "log" then ngx.status = 202 end
    return type(ngx.status) == "number"
end)
row("ngx.header.HEADER", function(phase)
    if phase == "body_filter" or phase == "log" then
        return same(ngx.header["X-Always"], "yes")
    end
    ngx.header["X-Set"] = { "a", "b" }
    return same(table.concat(ngx.header["X-Set"], ","), "a,b")
end)
row("ngx.resp.get_headers", function() return type(ngx.resp.get_headers()) == "table" end)
row("ngx.req.is_internal", function() return same(ngx.req.is_internal(), false) end)
row("ngx.req.start_time", function() return math.abs(ngx.req.start_time() - ngx.now()) < 60 end)
row("ngx.req.http_version", function() return same(ngx.req.http_version(), 1.1) end)
row("ngx.req.raw_header", function() return ngx.req.raw_header():find("X-Row: ", 1, true) ~= nil end)
row("ngx.req.get_method", function() return same(ngx.req.get_method(), "POST") end)
row("ngx.req.set_method", function()
    ngx.req.set_method(ngx.HTTP_PUT)
    return same(ngx.req.get_method(), "PUT")
end)
row("ngx.req.set_uri", function() ngx.req.set_uri("/other", false) return same(ngx.var.uri, "/other") end)
row("ngx.req.set_uri_args", function() ngx.req.set_uri_args { b = 3 } return same(ngx.var.args, "b=3") end)
row("ngx.req.get_uri_args", function() return same(ngx.req.get_uri_args().q, "1") end)
local function read()
    -- Where waiting is refused the body may have been read already.
    pcall(ngx.req.read_body)
end
row("ngx.req.get_post_args", function() read() return same(ngx.req.get_post_args().a, "1") end)
row("ngx.req.get_headers", function() return same(ngx.req.get_headers()["x-plain"], "p") end)
row("ngx.req.set_header", function()
    ngx.req.set_header("X-New", "n")
    return same(ngx.var.http_x_new, "n")
end)
row("ngx.req.clear_header", function()
    ngx.req.clear_header("X-Plain")
    return same(ngx.var.http_x_plain, nil)
end)
row("ngx.req.read_body", function() ngx.req.read_body() return same(ngx.req.get_body_data(), "a=1&b=2") end)
row("ngx.req.discard_body", function() ngx.req.discard_body() return same(ngx.req.get_body_data(), nil) end)
row("ngx.req.get_body_data", function() read() return same(ngx.req.get_body_data(), "a=1&b=2") end)
row("ngx.req.get_body_file", function() read() return same(ngx.req.get_body_file(), nil) end)
row("ngx.req.set_body_data", function()
    read()
    ngx.req.set_body_data("new")
    return same(ngx.req.get_body_data(), "new")
end)
row("ngx.req.set_body_file", function()
    read()
    ngx.req.set_body_file(peers.body_file, false)
    return same(ngx.req.get_body_file(), peers.body_file)
end)
row("ngx.req.init_body", function()
    read()
    ngx.req.init_body(100)
    ngx.req.append_body("x")
    ngx.req.finish_body()
    return same(ngx.req.get_body_data(), "x")
end)
rows.names[#rows.names + 1] = "ngx.req.append_body"
rows.functions["ngx.req.append_body"] = rows.functions["ngx.req.init_body"]
rows.names[#rows.names + 1] = "ngx.req.finish_body"
rows.functions["ngx.req.finish_body"] = rows.functions["ngx.req.init_body"]
row("ngx.req.socket", function() return type(assert(ngx.req.socket())) == "table" end)
client_row("ngx.exec", function() return ngx.exec("/executed", "x=9") end)
client_row("ngx.redirect", function() return ngx.redirect("/elsewhere", 301) end)
client_row("ngx.send_headers", function()
    ngx.header["X-Sent"] = "yes"
    assert(ngx.send_headers())
    return same(ngx.headers_sent, true)
end)
row("ngx.headers_sent", function() return type(ngx.headers_sent) == "boolean" end)
client_row("ngx.print", function() return ngx.print("printed") end)
client_row("ngx.say", function() return ngx.say("said") end)
row("ngx.log", function() ngx.log(ngx.NOTICE, "a row") return true end)
client_row("ngx.flush", function() assert(ngx.say("first")) return ngx.flush(true) end)
client_row("ngx.exit", function() return ngx.exit(410) end)
client_row("ngx.eof", function() assert(ngx.say("last")) return ngx.eof() end)
row("ngx.sleep", function() ngx.sleep(0.001) return true end)
row("ngx.is_subrequest", function() return same(ngx.is_subrequest, false) end)
row("ngx.on_abort", function() return ngx.on_abort(function() end) end)

-- --- text, time, patterns

row("ngx.escape_uri", function() return same(ngx.escape_uri("a b/é"), "a%20b%2F%C3%A9") end)
row("ngx.unescape_uri", function() return same(ngx.unescape_uri("a%20b+c"), "a b c") end)
row("ngx.encode_args", function() return same(ngx.encode_args { a = "1 2" }, "a=1%202") end)
row("ngx.decode_args", function() return same(ngx.decode_args("a=1%202").a, "1 2") end)
row("ngx.encode_base64", function() return same(ngx.encode_base64("hello"), "aGVsbG8=") end)
row("ngx.decode_base64", function() return same(ngx.decode_base64("aGVsbG8="), "hello") end)
row("ngx.decode_base64mime", function() return same(ngx.decode_base64mime("aGVs\nbG8="), "hello") end)
row("ngx.crc32_short", function() return same(ngx.crc32_short("hello"), 907060870) end)
row("ngx.crc32_long", function() return same(ngx.crc32_long("hello"), 907060870) end)
row("ngx.hmac_sha1", function()
    return same(ngx.encode_base64(ngx.hmac_sha1("k", "m")), "dytxyKKZfnaL4B2XEeSk80ok7zM=")
end)
row("ngx.md5", function() return same(ngx.md5("hello"), "5d41402abc4b2a76b9719d911017c592") end)
row("ngx.md5_bin", function() return same(#ngx.md5_bin("hello"), 16) end)
row("ngx.sha1_bin", function() return same(ngx.encode_base64(ngx.sha1_bin("hello")), "qvTGHdzF6KLavt4PO0gs2a6pQ00=") end)
row("ngx.quote_sql_str", function() return same(ngx.quote_sql_str("it's"), "'it\\'s'") end)
row("ngx.today", function() return ngx.today():match("^%d%d%d%d%-%d%d%-%d%d$") ~= nil end)
row("ngx.time", function() return math.abs(ngx.time() - os.time()) <= 1 end)
row("ngx.now", function() return math.abs(ngx.now() - os.time()) <= 2 end)
row("ngx.update_time", function() ngx.update_time() return math.abs(ngx.now() - os.time()) <= 1 end)
row("ngx.localtime", function() return ngx.localtime():match("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$") ~= nil end)
row("ngx.utctime", function() return ngx.utctime():match("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$") ~= nil end)
row("ngx.cookie_time", function() return same(ngx.cookie_time(0), "Thu, 01-Jan-70 00:00:00 GMT") end)
row("ngx.http_time", function() return same(ngx.http_time(0), "Thu, 01 Jan 1970 00:00:00 GMT") end)
row("ngx.parse_http_time", function() return same(ngx.parse_http_time("Thu, 01 Jan 1970 00:01:00 GMT"), 60) end)
row("ngx.re.match", function() return same(ngx.re.match("ab12", "([a-z]+)([0-9]+)", "jo")[2], "12") end)
row("ngx.re.find", function() return same(ngx.re.find("ab12", "[0-9]+", "jo"), 3) end)
row("ngx.re.gmatch", function()
    local seen = {}
    for match in ngx.re.gmatch("a1b2", "[0-9]", "jo") do
        seen[#seen + 1] = match[0]
    end
    return same(table.concat(seen), "12")
end)
row("ngx.re.sub", function() return same(ngx.re.sub("a1b2", "[0-9]", "<$0>", "jo"), "a<1>b2") end)
row("ngx.re.gsub", function() return same(ngx.re.gsub("a1b2", "[0-9]", "<$0>", "jo"), "a<1>b<2>") end)
row("ngx.re.opt", function(phase)
    -- Only before the first pattern is compiled, which the rows before this one did.
    local fine, why = pcall(require("ngx.re").opt, "jit_stack_size", 32768)
    return fine or why:find("not allowed when some regexs have already been compiled", 1, true) ~= nil, why
end)
row("ngx.re.split", function() return same(table.concat(require("ngx.re").split("a,b,c", ","), "|"), "a|b|c") end)
row("ngx.base64.encode_base64url", function() return same(require("ngx.base64").encode_base64url("\255\254"), "__4") end)
row("ngx.base64.decode_base64url", function() return same(require("ngx.base64").decode_base64url("__4"), "\255\254") end)
row("ndk.set_var.DIRECTIVE", function() return same(ndk.set_var.set_escape_uri("a b"), "a%20b") end)
row("ngx.null", function() return same(tostring(ngx.null), "userdata: NULL") end)

-- --- shared dictionaries

local function dict(name, run)
    row("ngx.shared.DICT" .. name, function(phase)
        return run(ngx.shared.rows, "key:" .. phase .. name)
    end)
end
dict("", function(d) return type(d) == "table" end)
dict(".get", function(d, k) d:set(k, 5) return same(d:get(k), 5) end)
dict(".get_stale", function(d, k)
    d:set(k, 5)
    local value, _, stale = d:get_stale(k)
    return same(tostring(value) .. tostring(stale), "5false")
end)
dict(".set", function(d, k) return same(d:set(k, "v", 0, 3), true) end)
dict(".safe_set", function(d, k) return same(d:safe_set(k, "v"), true) end)
dict(".add", function(d, k) d:delete(k) return d:add(k, 1) and same(select(2, d:add(k, 2)), "exists") end)
dict(".safe_add", function(d, k) d:delete(k) return same(d:safe_add(k, 1), true) end)
dict(".replace", function(d, k) d:delete(k) return same(select(2, d:replace(k, 1)), "not found") end)
dict(".delete", function(d, k) d:set(k, 1) d:delete(k) return same(d:get(k), nil) end)
dict(".incr", function(d, k) d:delete(k) return same(d:incr(k, 2, 40), 42) end)
dict(".lpush", function(d, k) d:delete(k) d:lpush(k, "a") return same(d:lpush(k, "b"), 2) end)
dict(".rpush", function(d, k) d:delete(k) d:rpush(k, "a") return same(d:rpush(k, "b"), 2) end)
dict(".lpop", function(d, k) d:delete(k) d:rpush(k, "a") d:rpush(k, "b") return same(d:lpop(k), "a") end)
dict(".rpop", function(d, k) d:delete(k) d:rpush(k, "a") d:rpush(k, "b") return same(d:rpop(k), "b") end)
dict(".llen", function(d, k) d:delete(k) d:rpush(k, "a") return same(d:llen(k), 1) end)
dict(".ttl", function(d, k) d:set(k, 1, 100) return d:ttl(k) > 90 end)
dict(".expire", function(d, k) d:set(k, 1) return d:expire(k, 50) and d:ttl(k) > 40 end)
dict(".flush_all", function()
    local other = ngx.shared.flushed
    other:set("a", 1)
    other:flush_all()
    return same(other:get("a"), nil)
end)
dict(".flush_expired", function() return type(ngx.shared.flushed:flush_expired()) == "number" end)
dict(".get_keys", function(d, k) d:set(k, 1) return #d:get_keys(0) > 0 end)
dict(".capacity", function(d) return same(d:capacity(), 1048576) end)
dict(".free_space", function(d) return d:free_space() > 0 end)

-- --- sockets

local function connected()
    local socket = ngx.socket.tcp()
    socket:settimeouts(1000, 1000, 1000)
    assert(socket:connect("127.0.0.1", peers.tcp))
    return socket
end
local function asked(text)
    local socket = connected()
    assert(socket:send(text))
    return socket
end
row("ngx.socket.tcp", function() return type(ngx.socket.tcp()) == "table" end)
row("ngx.socket.stream", function() return type(ngx.socket.stream()) == "table" end)
row("ngx.socket.connect", function() return ngx.socket.connect("127.0.0.1", peers.tcp):close() end)
row("tcpsock:bind", function()
    local socket = ngx.socket.tcp()
    assert(socket:bind("127.0.0.1"))
    return socket:connect("127.0.0.1", peers.tcp)
end)
row("tcpsock:connect", function()
    local socket = ngx.socket.tcp()
    return socket:connect("unix:" .. peers.unix)
end)
row("tcpsock:getfd", function() return connected():getfd() > 2 end)
row("tcpsock:setclientcert", function() return connected():setclientcert(nil, nil) end)
row("tcpsock:send", function() return same(connected():send { "a", { "b", 3 }, "\n" }, 4) end)
row("tcpsock:receive", function() return same(asked("hello\r\n"):receive("*l"), "hello") end)
row("tcpsock:receiveany", function() return same(asked("hello\n"):receiveany(3), "hel") end)
row("tcpsock:receiveuntil", function() return same(asked("one--two\n"):receiveuntil("--")(), "one") end)
row("tcpsock:close", function() return same(connected():close(), 1) end)
row("tcpsock:settimeout", function()
    local socket = connected()
    socket:settimeout(5)
    return same(select(2, socket:receive(1)), "timeout")
end)
row("tcpsock:settimeouts", function()
    local socket = connected()
    socket:settimeouts(1000, 1000, 5)
    return same(select(2, socket:receive(1)), "timeout")
end)
row("tcpsock:setoption", function() return connected():setoption("keepalive", true) end)
row("tcpsock:getoption", function() return type(connected():getoption("sndbuf")) == "number" end)
row("tcpsock:setkeepalive", function() return same(connected():setkeepalive(1000, 4), 1) end)
row("tcpsock:getreusedtimes", function()
    assert(connected():setkeepalive(1000, 4))
    return connected():getreusedtimes() > 0
end)
row("ngx.socket.udp", function() return type(ngx.socket.udp()) == "table" end)
local function datagram()
    local socket = ngx.socket.udp()
    socket:settimeout(1000)
    assert(socket:setpeername("127.0.0.1", peers.udp))
    return socket
end
row("udpsock:bind", function()
    local socket = ngx.socket.udp()
    assert(socket:bind("127.0.0.1"))
    return socket:setpeername("127.0.0.1", peers.udp)
end)
row("udpsock:setpeername", function() return datagram() ~= nil end)
row("udpsock:send", function() return same(datagram():send { "a", "b" }, 1) end)
row("udpsock:receive", function()
    local socket = datagram()
    socket:send("ping")
    return same(socket:receive(), "ping")
end)
row("udpsock:close", function() return same(datagram():close(), 1) end)
row("udpsock:settimeout", function()
    local socket = datagram()
    socket:settimeout(5)
    return same(select(2, socket:receive()), "timeout")
end)
row("reqsock:receive", function() return same(ngx.req.socket():receive(3), "a=1") end)
row("reqsock:receiveany", function() return same(ngx.req.socket():receiveany(100), "a=1&b=2") end)
row("reqsock:receiveuntil", function() return same(ngx.req.socket():receiveuntil("&")(), "a=1") end)
row("reqsock:settimeout", function() ngx.req.socket():settimeout(1000) return true end)
row("reqsock:settimeouts", function() ngx.req.socket():settimeouts(1000, 1000, 1000) return true end)
client_row("reqsock:send(raw only)", function()
    local socket = assert(ngx.req.socket(true))
    assert(socket:send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nraw"))
    return ngx.exit(444)
end)
-- TLS on a cosocket: the peer speaks none, so each must say so instead of raising.
row("tcpsock:sslhandshake", function()
    local fine, why = connected():sslhandshake(nil, "localhost", false)
    return not fine and type(why) == "string"
end)
-- --- threads, coroutines, timers, workers

row("ngx.get_phase", function(phase) return same(ngx.get_phase(), phase) end)
row("ngx.get_raw_phase", function()
    return type(ngx.get_raw_phase(require("resty.core.base").get_request())) == "number"
end)
row("ngx._phase_ctx", function() return type(ngx._phase_ctx) == "function" end)
row("ngx.thread.spawn", function() return coroutine.status(ngx.thread.spawn(function() ngx.sleep(0.001) end)) ~= nil end)
row("ngx.thread.wait", function()
    local thread = ngx.thread.spawn(function() ngx.sleep(0.001) return "done" end)
    return same(select(2, ngx.thread.wait(thread)), "done")
end)
row("ngx.thread.kill", function()
    return ngx.thread.kill(ngx.thread.spawn(function() ngx.sleep(10) end))
end)
row("ngx.timer.at", function() return ngx.timer.at(0, function() end) end)
row("ngx.timer.every", function() return ngx.timer.every(100, function() end) end)
row("ngx.timer.running_count", function() return ngx.timer.running_count() >= 0 end)
row("ngx.timer.pending_count", function() return ngx.timer.pending_count() >= 0 end)
row("ngx.run_worker_thread", function()
    local fine, value = ngx.run_worker_thread("rows", "in_thread", "double", 21)
    return fine and same(value, 42) or nil, value
end)
for _, prefix in ipairs { "", "_", "__" } do
    row("coroutine." .. prefix .. "create", function() return type(coroutine[prefix .. "create"](function() end)) == "thread" end)
    row("coroutine." .. prefix .. "resume", function()
        local thread = coroutine[prefix .. "create"](function(a) return a + 1 end)
        return same(select(2, coroutine[prefix .. "resume"](thread, 1)), 2)
    end)
    row("coroutine." .. prefix .. "yield", function()
        local thread = coroutine[prefix .. "create"](function() coroutine[prefix .. "yield"](7) end)
        return same(select(2, coroutine[prefix .. "resume"](thread)), 7)
    end)
    row("coroutine." .. prefix .. "wrap", function()
        local step = coroutine[prefix .. "wrap"](function() return 8 end)
        return same(step(), 8)
    end)
    row("coroutine." .. prefix .. "status", function()
        return same(coroutine[prefix .. "status"](coroutine[prefix .. "create"](function() end)), "suspended")
    end)
end
row("coroutine.running", function(phase)
    -- init_by_lua runs on the main thread, which is no coroutine.
    return same(type(coroutine.running()), phase == "init" and "nil" or "thread")
end)
row("ngx.semaphore.new", function() return require("ngx.semaphore").new(1) ~= nil end)
row("ngx.semaphore.post", function()
    local semaphore = require("ngx.semaphore").new(0)
    semaphore:post(2)
    return same(semaphore:count(), 2)
end)
row("ngx.semaphore.count", function() return same(require("ngx.semaphore").new(3):count(), 3) end)
row("ngx.semaphore.wait", function()
    return require("ngx.semaphore").new(1):wait(0.1) and same(select(2, require("ngx.semaphore").new(0):wait(0.001)), "timeout")
end)
row("ngx.config.subsystem", function() return same(ngx.config.subsystem, "http") end)
row("ngx.config.debug", function() return type(ngx.config.debug) == "boolean" end)
row("ngx.config.prefix", function() return ngx.config.prefix():sub(1, 1) == "/" end)
row("ngx.config.nginx_version", function() return ngx.config.nginx_version >= 1022001 end)
row("ngx.config.nginx_configure", function() return type(ngx.config.nginx_configure()) == "string" end)
row("ngx.config.ngx_lua_version", function() return same(ngx.config.ngx_lua_version, 10023) end)
row("ngx.worker.exiting", function() return type(ngx.worker.exiting()) == "boolean" end)
row("ngx.worker.pid", function() return ngx.worker.pid() > 1 end)
row("ngx.worker.pids", function() return #ngx.worker.pids() >= 1 end)
row("ngx.worker.count", function() return same(ngx.worker.count(), 1) end)
row("ngx.worker.id", function() return same(ngx.worker.id(), 0) end)
row("ngx.process.type", function() return type(require("ngx.process").type()) == "string" end)
row("ngx.process.get_master_pid", function() return require("ngx.process").get_master_pid() > 1 end)
row("ngx.process.enable_privileged_agent", function() return require("ngx.process").enable_privileged_agent() end)
-- Calling it would end the worker under the other rows: test_lua_process.py does.
row("ngx.process.signal_graceful_exit", function() return type(require("ngx.process").signal_graceful_exit) == "function" end)
row("ngx.errlog.set_filter_level", function() return require("ngx.errlog").set_filter_level(ngx.WARN) end)
row("ngx.errlog.get_logs", function() return type(require("ngx.errlog").get_logs(1)) == "table" end)
row("ngx.errlog.get_sys_filter_level", function() return type(require("ngx.errlog").get_sys_filter_level()) == "number" end)
row("ngx.errlog.raw_log", function() require("ngx.errlog").raw_log(ngx.NOTICE, "a row") return true end)

-- --- heads beyond ngx.header

row("ngx.req.add_header", function()
    require("ngx.req").add_header("X-Plain", "second")
    return same(table.concat(ngx.req.get_headers()["x-plain"], ","), "p,second")
end)
row("ngx.resp.add_header", function()
    require("ngx.resp").add_header("X-Added", "a")
    return same(ngx.resp.get_headers()["x-added"], "a")
end)
row("ngx.resp.bypass_if_checks", function() return (require("ngx.resp").bypass_if_checks()) ~= false end)
row("ngx.resp.set_status", function() require("ngx.resp").set_status(299, "Fine") return same(ngx.status, 299) end)

-- --- processes

local function spawn(...)
    local process = assert(require("ngx.pipe").spawn(...))
    process:set_timeouts(2000, 2000, 2000, 2000)
    return process
end
row("ngx.pipe.spawn", function() return spawn { "true" } ~= nil end)
row("ngx.pipe.pid", function() return spawn({ "true" }):pid() > 1 end)
row("ngx.pipe.set_timeouts", function()
    local process = spawn { "sleep", "1" }
    process:set_timeouts(nil, nil, nil, 5)
    return same(select(2, process:wait()), "timeout")
end)
row("ngx.pipe.wait", function() return same(select(3, spawn({ "sh", "-c", "exit 3" }):wait()), 3) end)
row("ngx.pipe.kill", function() return spawn({ "sleep", "10" }):kill(9) end)
row("ngx.pipe.write", function()
    local process = spawn { "cat" }
    return same(process:write("hello"), 5)
end)
row("ngx.pipe.shutdown", function()
    local process = spawn { "cat" }
    assert(process:write("x"))
    assert(process:shutdown("stdin"))
    return same(process:stdout_read_all(), "x")
end)
for _, stream in ipairs { "stdout", "stderr" } do
    local function said()
        local to = stream == "stderr" and " >&2" or ""
        return spawn { "sh", "-c", "printf 'one\\ntwo\\n'" .. to }
    end
    row("ngx.pipe." .. stream .. "_read_all", function() return same(said()[stream .. "_read_all"](said()), "one\ntwo\n") end)
    row("ngx.pipe." .. stream .. "_read_line", function() local p = said() return same(p[stream .. "_read_line"](p), "one") end)
    row("ngx.pipe." .. stream .. "_read_bytes", function() local p = said() return same(p[stream .. "_read_bytes"](p, 2), "on") end)
    row("ngx.pipe." .. stream .. "_read_any", function() local p = said() return same(p[stream .. "_read_any"](p, 3), "one") end)
end

-- --- the balancer

local function balancer(name, run)
    row("ngx.balancer." .. name, function()
        local api = require "ngx.balancer"
        assert(api.set_current_peer("127.0.0.1", peers.http))
        return run(api)
    end)
end
balancer("set_current_peer", function() return true end)
balancer("set_more_tries", function(api) return api.set_more_tries(1) end)
balancer("get_last_failure", function(api) return same(api.get_last_failure(), nil) end)
balancer("set_timeouts", function(api) return api.set_timeouts(1, 2, 3) end)
balancer("recreate_request", function(api) return api.recreate_request() end)
balancer("enable_keepalive", function(api) return api.enable_keepalive(10, 100) end)
balancer("bind_to_local_addr", function(api) return api.bind_to_local_addr("127.0.0.1") end)
balancer("set_upstream_tls", function(api) return api.set_upstream_tls(false) end)

-- --- certificates

local function ssl() return require "ngx.ssl" end
row("ngx.ssl.cert_pem_to_der", function() return #ssl().cert_pem_to_der(peers.cert) > 100 end)
row("ngx.ssl.priv_key_pem_to_der", function() return #ssl().priv_key_pem_to_der(peers.key) > 30 end)
row("ngx.ssl.parse_pem_cert", function() return ssl().parse_pem_cert(peers.cert) ~= nil end)
row("ngx.ssl.parse_pem_priv_key", function() return ssl().parse_pem_priv_key(peers.key) ~= nil end)
-- lua-resty-core 0.1.25 has no wrapper for these yet; newer ones call the C functions as here.
local ffi = require "ffi"
ffi.cdef [[
    void *ngx_http_lua_ffi_parse_der_cert(const char *data, size_t size, const char **error);
    void *ngx_http_lua_ffi_parse_der_priv_key(const char *data, size_t size, const char **error);
    void ngx_http_lua_ffi_free_cert(void *cert);
    void ngx_http_lua_ffi_free_priv_key(void *key);
]]
local function parses(what, der)
    local why = ffi.new "const char *[1]"
    local parsed = ffi.C["ngx_http_lua_ffi_parse_der_" .. what](der, #der, why)
    if parsed == nil then
        return nil, ffi.string(why[0])
    end
    ffi.C["ngx_http_lua_ffi_free_" .. what](parsed)
    return true
end
row("ngx.ssl.parse_der_cert", function() return parses("cert", ssl().cert_pem_to_der(peers.cert)) end)
row("ngx.ssl.parse_der_priv_key", function() return parses("priv_key", ssl().priv_key_pem_to_der(peers.key)) end)
for name, value in pairs { SSL3_VERSION = 0x300, TLS1_VERSION = 0x301, TLS1_1_VERSION = 0x302, TLS1_2_VERSION = 0x303,
    TLS1_3_VERSION = 0x304 } do
    row("ngx.ssl." .. name, function() return same(ssl()[name], value) end)
end
local function chain() return ssl().cert_pem_to_der(peers.chain) end
row("ngx.ocsp.get_ocsp_responder_from_der_chain", function()
    return same(require("ngx.ocsp").get_ocsp_responder_from_der_chain(chain()), "http://127.0.0.1/ocsp")
end)
row("ngx.ocsp.create_ocsp_request", function() return #require("ngx.ocsp").create_ocsp_request(chain()) > 20 end)
row("ngx.ocsp.validate_ocsp_response", function()
    local fine, why = require("ngx.ocsp").validate_ocsp_response("garbage", chain())
    return fine == nil and type(why) == "string" and #why > 0
end)

return rows
