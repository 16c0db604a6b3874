#!/usr/bin/env python3
"""Measures Moongate beside its peers in one run: `./dev bench`.

    compare.py [table] [--rows return,lua,…] [--peers floor,nginx,…] [--seconds 4] [--rounds 3] [--quick]
    compare.py servers [--count 10000]     start and memory with that many server blocks
    compare.py idle [--count 10000]        memory of an idle keep-alive connection
    compare.py waits [--seconds 4]         1,000 requests a second, each with a wait for Redis in one phase
    compare.py lua                         shared dictionaries and timers of the Lua API, two workers
    compare.py all                         all of them

Each server has one worker on core 0; wrk (64 connections) and the upstream share core 1. The peers take turns,
round after round, so that a slow minute of the machine falls on all of them alike; the figure of a peer is
its median round. CPU is utime + stime of the serving processes over the requests that wrk counted. Absolute
figures drift from machine to machine; the ratios are what counts. Writes build/bench/results.json and table.svg.
"""
import argparse
import contextlib
import datetime
import functools
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time

import lua_figures
import peers
import plot
import rows

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class LoadFailed(RuntimeError):
    pass


def wrk(server, seconds, connections=64):
    """One run of wrk: requests, seconds and the 99th percentile of latency."""
    text = subprocess.run(["taskset", "-c", str(peers.LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
                           "--latency", f"http://127.0.0.1:{server.port}/"],
                          capture_output=True, text=True, check=True).stdout
    problems = re.findall(r"Non-2xx.*|Socket errors:.*", text)
    if problems:
        raise LoadFailed(f"{server.name}: {'; '.join(problems)}")
    requests, lasted, unit = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text).groups()
    value, value_unit = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", text).groups()
    if int(requests) == 0:
        raise LoadFailed(f"{server.name}: no request was answered")
    return int(requests), float(lasted) * UNITS[unit], float(value) * UNITS[value_unit]


def measure(server, seconds):
    before = server.cpu()
    requests, lasted, p99 = wrk(server, seconds)
    used = server.cpu() - before
    return {"requests_per_s": requests / lasted, "p99_ms": p99 * 1e3, "cpu_user_us": used.user / requests * 1e6,
            "cpu_system_us": used.system / requests * 1e6, "cpu_us": (used.user + used.system) / requests * 1e6}


def run_row(row, wanted, seconds, rounds, skipped):
    """{peer: medians} of one row. A peer that cannot do the row is left out and named in `skipped`."""
    with contextlib.ExitStack() as stack:
        upstream_port = None
        if row.redis:
            redis = peers.Redis()
            stack.callback(redis.stop)
            upstream_port = redis.port
        elif row.proxied:
            upstream_port = peers.free_port()
            upstream = peers.nginx(rows.UPSTREAM, upstream_port, name="upstream", core=peers.LOAD_CORE)
            stack.callback(upstream.stop)
        servers = {}
        for peer in row.peers():
            if peer not in wanted:
                continue
            try:
                if why := peers.missing(peer):
                    raise RuntimeError(why)
                server = row.start(peer, upstream_port)
                stack.callback(server.stop)
                row.check(server)
                wrk(server, 1)
                servers[peer] = server
            except RuntimeError as error:
                skipped.append(f"{row.title}: {peers.NAMES[peer]} left out: {error}")
        samples = {peer: [] for peer in servers}
        for number in range(rounds):
            for peer, server in servers.items():
                print(f"\r{row.title}: round {number + 1} of {rounds}, {peers.NAMES[peer]} …\033[K", end="",
                      file=sys.stderr, flush=True)
                try:
                    samples[peer].append(measure(server, seconds))
                except LoadFailed as error:
                    skipped.append(f"{row.title}: {error}")
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    # A whole round, not a median of each figure: its user and system time then add up.
    results = {peer: sorted(found, key=lambda s: s["cpu_us"])[(len(found) - 1) // 2] | {"rounds": found}
               for peer, found in samples.items() if found}
    for result in results.values():
        for other in ("floor", "nginx"):
            result[f"ratio_{other}"] = result["cpu_us"] / results[other]["cpu_us"] if other in results else None
    return results


def verdict(row, result):
    """How Moongate stands to the row's bars."""
    found = []
    for other, bar in (("floor", row.bar_floor), ("nginx", row.bar_nginx)):
        ratio = result[f"ratio_{other}"]
        if bar and ratio is not None:
            found.append(f"{'meets' if ratio <= bar else 'MISSES'} ≤ {bar:.2f} × {other}")
    return ", ".join(found)


def print_row(row, results):
    for peer, result in results.items():
        def ratio(other):
            return f"{result['ratio_' + other]:.2f}" if result["ratio_" + other] else "-"
        print(f"{row.title if peer == next(iter(results)) else '':<34}{peers.NAMES[peer]:<20}"
              f"{result['requests_per_s']:>10,.0f}{result['p99_ms']:>9.2f}{result['cpu_user_us']:>8.2f}"
              f"{result['cpu_system_us']:>8.2f}{result['cpu_us']:>8.2f}{ratio('floor'):>9}{ratio('nginx'):>9}"
              f"  {verdict(row, result) if peer == 'moongate' else ''}".rstrip(), flush=True)


def table(options, report, skipped):
    print(f"{'':<34}{'':<20}{'requests':>10}{'p99':>9}{'CPU µs a request':>24}{'ratio to':>18}")
    print(f"{'work':<34}{'server':<20}{'a second':>10}{'ms':>9}{'user':>8}{'sys':>8}{'total':>8}"
          f"{'floor':>9}{'nginx':>9}")
    measured = []
    for row in rows.ROWS:
        if options.rows and row.name not in options.rows:
            continue
        results = run_row(row, options.peers, options.seconds, options.rounds, skipped)
        print_row(row, results)
        measured.append((row.title, results))
        report["table"].append({"row": row.name, "title": row.title, "bar_floor": row.bar_floor or None,
                                "bar_nginx": row.bar_nginx or None, "results": results})
    (peers.WORK / "table.svg").write_text(plot.svg(measured))


def available(candidates, options, skipped):
    for peer in candidates:
        if peer.split("-")[0] in options.peers:
            if why := peers.missing(peer):
                skipped.append(f"{peers.NAMES[peer]} left out: {why}")
            else:
                yield peer


def servers_row(options, report, skipped):
    config = rows.many_servers(options.count)
    print(f"\n{options.count:,} server blocks")
    # ngx_lua has its own price for each server and location, so nginx is shown without it and with it.
    starts = {"nginx": functools.partial(peers.nginx, lua=False),
              "nginx-lua": functools.partial(peers.nginx, name="nginx-lua"), "moongate": peers.moongate}
    for peer in available(starts, options, skipped):
        start, found = starts[peer], []
        try:
            for _ in range(options.rounds):
                host = f"tenant{options.count - 1}.example.com"
                server = start(config, peers.free_port(), host=host)
                try:
                    _, body = server.fetch("/")
                    if body.strip() != host.split(".")[0].encode():
                        raise RuntimeError(f"{peer} answers {body[:80]!r} for {host}")
                    found.append({"start_s": server.first_response, "memory_mb": server.memory() / 1e6})
                finally:
                    server.stop()
        except RuntimeError as error:
            skipped.append(f"{options.count} servers: {error}")
            continue
        result = {key: statistics.median(f[key] for f in found) for key in found[0]}
        report.setdefault("servers", {"count": options.count})[peer] = result
        print(f"  {peers.NAMES[peer]:<20} first response after {result['start_s']:.2f} s, "
              f"{result['memory_mb']:.0f} MB resident", flush=True)


def idle_row(options, report, skipped):
    print(f"\n{options.count:,} idle keep-alive connections, each after one request")
    row = rows.ROWS[0]
    for peer in available(("nginx", "moongate"), options, skipped):
        clients = []
        server = None
        try:
            server = row.start(peer, None)
            row.check(server)
            wrk(server, 1)   # buffers, caches and code are in memory before the first reading
            before = server.memory()
            for _ in range(options.count):
                client = socket.create_connection(("127.0.0.1", server.port), 5)
                clients.append(client)
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                data = b""
                while not data.endswith(b"\r\n\r\n" + row.body.encode()):
                    if not (chunk := client.recv(4096)):
                        raise RuntimeError(f"{peer} closed connection {len(clients)}")
                    data += chunk
            time.sleep(0.5)
            growth = server.memory() - before
            # Still there: the last and the first connection answer again.
            for client in (clients[0], clients[-1]):
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"{peer} dropped an idle connection")
        except (RuntimeError, OSError) as error:
            skipped.append(f"idle connections: {peer}: {error}")
            continue
        finally:
            for client in clients:
                client.close()
            if server:
                server.stop()
        result = {"bytes_a_connection": growth / options.count, "growth_mb": growth / 1e6}
        report.setdefault("idle", {"count": options.count})[peer] = result
        print(f"  {peers.NAMES[peer]:<20} {result['bytes_a_connection']:.0f} bytes a connection in user space",
              flush=True)


def waits_row(options, report, skipped):
    """The same question to Redis in several phases, at a fixed rate: latency and errors."""
    print("\n1,000 requests a second, each asking Redis in one phase")
    redis = peers.Redis()
    server = peers.moongate(rows.waiting(redis.port), peers.free_port())
    log = peers.WORK / "waits.log"
    try:
        for number in range(options.rounds):
            for phase in ("access", "content", "header_filter", "log"):
                log.unlink(missing_ok=True)
                text = subprocess.run(
                    ["taskset", "-c", str(peers.LOAD_CORE), "h2load", "--h1", "-c50", "--rps=20", f"-D{options.seconds}",
                     f"--log-file={log}", "-H", f"X-Phase: {phase}", f"http://127.0.0.1:{server.port}/"],
                    capture_output=True, text=True, check=True).stdout
                failed = [int(n) for n in re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text).groups()]
                lines = [line.split("\t") for line in log.read_text().splitlines()]
                latencies = sorted(int(line[2]) for line in lines)
                bad = sum(line[1] != "200" for line in lines) + sum(failed)
                said = len(re.findall(r"\[(?:error|alert|crit)\].*", server.log.read_text(errors="replace")))
                result = {"requests_per_s": len(lines) / options.seconds, "errors": bad, "error_log_lines": said,
                          "p50_ms": latencies[len(latencies) // 2] / 1e3,
                          "p99_ms": latencies[len(latencies) * 99 // 100] / 1e3}
                report.setdefault("waits", {}).setdefault(phase, []).append(result)
                print(f"  round {number + 1}: {phase:<14} {result['requests_per_s']:>7,.0f} requests/s, p50 "
                      f"{result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms, {bad} errors, {said} log lines",
                      flush=True)
    finally:
        server.stop()
        redis.stop()
    found = {phase: statistics.median(r["p99_ms"] for r in results) for phase, results in report["waits"].items()}
    for phase in ("header_filter", "log"):
        ratio = found[phase] / found["access"]
        print(f"  p99 of {phase}: {ratio:.2f} × that of access ({'meets' if ratio <= 2 else 'MISSES'} ≤ 2)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="table", choices=["table", "servers", "idle", "waits", "lua", "all"])
    parser.add_argument("--rows", type=lambda text: text.split(","), help=", ".join(r.name for r in rows.ROWS))
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(peers.NAMES))
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: a look, not a result")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 2, 1
    if unknown := set(options.rows or []) - {row.name for row in rows.ROWS}:
        parser.error(f"no row {', '.join(sorted(unknown))}")
    if unknown := set(options.peers) - set(peers.NAMES):
        parser.error(f"no peer {', '.join(sorted(unknown))}")
    if os.cpu_count() < 2:
        parser.error("this takes two cores: one for the server, one for the load")

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The servers inherit it: 10,000 connections need as many descriptors on both ends.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))
    peers.WORK.mkdir(parents=True, exist_ok=True)
    report = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "machine": machine(), "load_average": os.getloadavg()[0],
              "seconds": options.seconds, "rounds": options.rounds, "table": []}
    skipped = []
    if os.getloadavg()[0] > 0.7:
        print(f"! other programs use this machine (load {os.getloadavg()[0]:.1f}): the figures will be noisy")
    for what, run in (("table", table), ("servers", servers_row), ("idle", idle_row), ("waits", waits_row),
                      ("lua", lua_figures.run)):
        if options.what in (what, "all"):
            run(options, report, skipped)
    report["skipped"] = skipped
    (peers.WORK / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    for line in skipped:
        print("!", line)
    print(f"\nwritten: {peers.WORK.relative_to(peers.ROOT)}/results.json"
          + (f", {peers.WORK.relative_to(peers.ROOT)}/table.svg" if report["table"] else ""))


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return {"cpu": model[1] if model else "unknown", "cores": os.cpu_count(), "kernel": os.uname().release}


if __name__ == "__main__":
    main()
