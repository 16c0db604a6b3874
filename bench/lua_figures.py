"""`./dev bench lua`: shared dictionaries and timers of the Lua API, two workers on both cores.

Three figures: get/set/incr on keys that no other worker touches; incr of one key by both workers; a million
ngx.timer.at(0, f) created and fired by one. The second is measured beside nginx with ngx_lua in the same run, the
third and the first are shown beside it. No load generator: a worker works for the time it is given and leaves what
it counted in another dictionary.
"""
import json
import os
import statistics
import time

import peers

CONFIG = """
worker_processes 2;
events { worker_connections 1024; }
http {
    access_log off;
    lua_shared_dict work 64m;
    lua_shared_dict figures 1m;
    lua_max_pending_timers 2000000;
    lua_max_running_timers 2000000;
    init_worker_by_lua_block {
        local work, figures = ngx.shared.work, ngx.shared.figures
        local mine = tostring(ngx.worker.id())

        local function distinct(seconds)
            local keys, count = {}, 0
            for i = 1, 128 do
                keys[i] = mine .. ":key:" .. i
                work:set(keys[i], i)
            end
            ngx.update_time()
            local start = ngx.now()
            repeat
                for round = 1, 100 do
                    for i = 1, 128 do
                        local key = keys[i]
                        work:set(key, i)
                        work:incr(key, 1)
                        if work:get(key) ~= i + 1 then
                            error("lost a value")
                        end
                    end
                end
                count = count + 100 * 128 * 3
                ngx.update_time()
            until ngx.now() - start >= seconds
            return count / (ngx.now() - start)
        end

        local function hot(seconds)
            local count = 0
            work:add("hot", 0)
            ngx.update_time()
            local start = ngx.now()
            repeat
                for i = 1, 10000 do
                    work:incr("hot", 1)
                end
                count = count + 10000
                ngx.update_time()
            until ngx.now() - start >= seconds
            figures:incr("counted", count, 0)
            return count / (ngx.now() - start)
        end

        local runs = { distinct = distinct, hot = hot }
        local seen = 0
        ngx.timer.every(0.02, function()
            local number = figures:get("number") or 0
            if number ~= seen then
                seen = number
                local rate = runs[figures:get("run")](figures:get("seconds"))
                figures:incr("rate", rate, 0)
                figures:incr("done", 1, 0)
            end
        end)
    }
    server {
        listen 127.0.0.1:%PORT%;
        location = / { return 200 "ready"; }
        location = /start {
            content_by_lua_block {
                local figures = ngx.shared.figures
                for _, key in ipairs { "rate", "done", "counted" } do figures:delete(key) end
                figures:set("run", ngx.var.arg_run)
                figures:set("seconds", tonumber(ngx.var.arg_seconds))
                ngx.shared.work:delete("hot")
                figures:incr("number", 1, 0)
                ngx.print("started")
            }
        }
        location = /figure {
            content_by_lua_block {
                local figures = ngx.shared.figures
                ngx.print('{"done":', figures:get("done") or 0, ',"rate":', string.format("%.0f", figures:get("rate") or 0),
                          ',"counted":', figures:get("counted") or 0, ',"hot":', ngx.shared.work:get("hot") or 0, '}')
            }
        }
        location = /timers {
            content_by_lua_block {
                local figures = ngx.shared.figures
                local fired, wanted = 0, tonumber(ngx.var.arg_count)
                figures:delete("took")
                ngx.update_time()
                local start = ngx.now()
                local function fire()
                    fired = fired + 1
                    if fired == wanted then
                        ngx.update_time()
                        figures:set("took", ngx.now() - start)
                    end
                end
                local at = ngx.timer.at
                for i = 1, wanted do
                    local ok, err = at(0, fire)
                    if not ok then
                        error(err)
                    end
                end
                ngx.print("created")
            }
        }
        location = /took { content_by_lua_block { ngx.print(ngx.shared.figures:get("took") or "") } }
    }
}
"""
TIMERS = 1_000_000


def start(peer):
    # Debian's ngx_lua loads resty.core by itself, as Moongate does.
    server = (peers.moongate if peer == "moongate" else peers.nginx)(CONFIG, peers.free_port())
    for pid in server.pids():
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {peers.SERVER_CORE, peers.LOAD_CORE})
    return server


def ask(server, path):
    """The body, however long it takes the workers to come back to their sockets."""
    deadline = time.monotonic() + 60
    while True:
        try:
            head, body = server.fetch(path)
        except (ConnectionError, TimeoutError):
            head = ""
        if head.startswith("HTTP/1.1 200"):
            return body.split(b"\r\n")[1] if b"chunked" in head.lower().encode() else body
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server.name}: {path}: {head.splitlines()[:1]} {server.said()}")
        time.sleep(0.05)


def rate(server, run, seconds):
    ask(server, f"/start?run={run}&seconds={seconds}")
    time.sleep(seconds)
    for _ in range(600):
        figure = json.loads(ask(server, "/figure"))
        if figure["done"] == 2:
            if run == "hot" and figure["hot"] != figure["counted"]:
                raise RuntimeError(f"{server.name}: {figure['counted']} increments made {figure['hot']}")
            return figure["rate"]
        time.sleep(0.05)
    raise RuntimeError(f"{server.name}: {run} did not end: {figure} {server.said()}")


def timers(server, _run, _seconds):
    ask(server, f"/timers?count={TIMERS}")
    for _ in range(1200):
        if took := ask(server, "/took"):
            return float(took)
        time.sleep(0.05)
    raise RuntimeError(f"{server.name}: the timers did not fire: {server.said()}")


# (name, title, how, unit, bar of Moongate by its own figure and nginx's)
FIGURES = (
    ("distinct", "get, set, incr on distinct keys", rate, "million/s", lambda own, nginx: own >= 10e6, "≥ 10 million/s"),
    ("hot", "incr of one key by both workers", rate, "million/s", lambda own, nginx: nginx is None or own >= nginx, "≥ nginx"),
    ("timers", "a million ngx.timer.at(0, f)", timers, "s", lambda own, nginx: own < 2, "< 2 s"),
)


def run(options, report, skipped):
    print(f"\nLua: two workers on two cores, medians of {options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    found = {name: {} for name, *_ in FIGURES}
    for _ in range(options.rounds):
        for peer in ("nginx", "moongate"):
            if peer not in options.peers:
                continue
            try:
                if why := peers.missing("nginx-lua" if peer == "nginx" else peer):
                    raise RuntimeError(why)
                server = start(peer)
                try:
                    for name, _, how, *_ in FIGURES:
                        found[name].setdefault(peer, []).append(how(server, name, options.seconds))
                finally:
                    server.stop()
            except RuntimeError as error:
                skipped.append(f"lua: {peers.NAMES[peer]}: {error}")
    medians = {name: {peer: statistics.median(values) for peer, values in by_peer.items()}
               for name, by_peer in found.items()}
    for name, title, _, unit, bar, words in FIGURES:
        for peer, value in medians[name].items():
            shown = f"{value / 1e6:.2f}" if unit == "million/s" else f"{value:.2f}"
            verdict = ""
            if peer == "moongate":
                verdict = f"  {'meets' if bar(value, medians[name].get('nginx')) else 'MISSES'} {words}"
            print(f"  {title:<34}{peers.NAMES[peer]:<12}{shown:>8} {unit}{verdict}", flush=True)
    report["lua"] = {"load_average": os.getloadavg()[0], "rounds": found, "medians": medians}
