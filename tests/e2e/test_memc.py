"""memc_pass and memcached_pass with a real memcached, and with servers that misbehave."""
import gzip
import os
import shutil
import socket
import subprocess
import threading

import pytest

import harness

MEMCACHED = shutil.which("memcached")
AS_ROOT = ["-u", "root"] if os.geteuid() == 0 else []  # it refuses to run as root without a word
pytestmark = [pytest.mark.moongate_only, pytest.mark.skipif(MEMCACHED is None, reason="memcached is not installed")]


class Memcached:
    def __init__(self, port, *arguments):
        self.port = port
        self.process = subprocess.Popen([MEMCACHED, *AS_ROOT, *arguments])
        harness.eventually(self._listens, what="memcached listens")

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, text):
        """One command's answer."""
        with socket.create_connection(("127.0.0.1", self.port), harness.TIMEOUT) as client:
            client.sendall(text + b"\r\nquit\r\n")
            answer = b""
            while data := client.recv(65536):
                answer += data
        return answer

    def connections(self):
        lines = self.ask(b"stats").decode().splitlines()
        return int(next(line.split()[2] for line in lines if " total_connections " in line))


@pytest.fixture
def memcached(request):
    port = harness.free_port()
    server = Memcached(port, "-l", "127.0.0.1", "-p", str(port), "-U", "0")
    yield server
    server.process.kill()  # at TERM it takes its time
    server.process.wait(harness.TIMEOUT)


ALL = """
    location /memc {
        set $memc_cmd $arg_cmd;
        set $memc_key $arg_key;
        set $memc_flags $arg_flags;
        set $memc_exptime $arg_exptime;
        memc_pass 127.0.0.1:%MEMC%;
        add_header X-Flags $memc_flags;
        add_header X-Cmd $memc_cmd;
        add_header X-Exptime $memc_exptime;
    }
    location /value {
        set $memc_cmd $arg_cmd;
        set $memc_key $arg_key;
        set $memc_value $arg_value;
        memc_pass 127.0.0.1:%MEMC%;
    }
"""


@pytest.fixture
def gateway(moongate, memcached):
    return moongate(server=ALL, memc=memcached.port)


def answer_of(gateway, path, method="GET", body=None):
    answer = gateway.request(method, path, body=body)
    return answer.status, answer.text


# --- the commands

def test_get(gateway, memcached):
    memcached.ask(b"set a 17 0 5\r\nhello")
    answer = gateway.get("/memc?cmd=get&key=a")
    assert (answer.status, answer.body, answer.header("X-Flags"), answer.header("Content-Length")) == \
        (200, b"hello", "17", "5")
    assert gateway.get("/memc?cmd=get&key=b").status == 404
    head = gateway.request("HEAD", "/memc?key=a")
    assert (head.status, head.body, head.header("Content-Length")) == (200, b"", "5")


def test_get_of_large_and_binary_and_empty_values(gateway, memcached):
    for value in (bytes(range(256)) * 2000, b"\r\nEND\r\n", b"", b"x" * 4096, b"y" * 4095):
        assert memcached.ask(b"set v 0 0 %d\r\n%s" % (len(value), value)) == b"STORED\r\n"
        answer = gateway.get("/memc?key=v")
        assert (answer.status, answer.body) == (200, value)


@pytest.mark.parametrize("command", ["set", "add", "replace", "append", "prepend"])
def test_storage_commands(gateway, memcached, command):
    stored, refused = (201, "STORED\r\n"), (200, "NOT_STORED\r\n")
    path = f"/memc?cmd={command}&key=k&flags=7&exptime=0"
    there = command in ("replace", "append", "prepend")
    assert answer_of(gateway, path, "POST", b"one") == (refused if there else stored)
    if there:
        memcached.ask(b"set k 3 0 1\r\n-")
    second = answer_of(gateway, path, "POST", b"two\r\n")
    assert second == (refused if command == "add" else stored)
    expected = {"set": b"two\r\n", "add": b"one", "replace": b"two\r\n", "append": b"-two\r\n", "prepend": b"two\r\n-"}
    assert gateway.get("/memc?key=k").body == expected[command]
    flags = gateway.get("/memc?key=k").header("X-Flags")
    assert flags == ("3" if command in ("append", "prepend") else "7")


def test_memc_value(gateway, memcached):
    assert answer_of(gateway, "/value?cmd=set&key=k&value=abc", "POST", b"not this") == (201, "STORED\r\n")
    assert gateway.get("/memc?key=k").body == b"abc"
    assert answer_of(gateway, "/value?cmd=set&key=k&value=") == (201, "STORED\r\n")
    assert gateway.get("/memc?key=k").body == b""


def test_what_is_not_set_gets_its_default(gateway):
    answer = gateway.request("PUT", "/memc?key=k", body=b"x")
    assert (answer.status, answer.header("X-Flags"), answer.header("X-Exptime")) == (201, "0", "0")
    assert gateway.get("/memc?key=k").header("X-Exptime") is None


def test_memc_exptime(gateway):
    assert answer_of(gateway, "/memc?cmd=set&key=k&exptime=1", "POST", b"x")[0] == 201
    assert gateway.get("/memc?key=k").status == 200
    harness.eventually(lambda: gateway.get("/memc?key=k").status == 404)


def test_delete(gateway, memcached):
    memcached.ask(b"set a 0 0 1\r\nx")
    assert answer_of(gateway, "/memc?cmd=delete&key=a") == (200, "DELETED\r\n")
    assert answer_of(gateway, "/memc?cmd=delete&key=a")[0] == 404
    # Newer servers refuse a time other than 0 here.
    assert answer_of(gateway, "/memc?cmd=delete&key=a&exptime=2")[0] == 502


def test_incr_and_decr(gateway, memcached):
    memcached.ask(b"set n 0 0 2\r\n10")
    assert answer_of(gateway, "/value?cmd=incr&key=n&value=5") == (201, "15\r\n")
    assert answer_of(gateway, "/value?cmd=decr&key=n&value=7") == (201, "8\r\n")
    assert answer_of(gateway, "/value?cmd=incr&key=none&value=1")[0] == 404
    assert answer_of(gateway, "/value?cmd=incr&key=n")[0] == 400
    assert 'the "$memc_value" variable is required for command "incr"' in gateway.error_log()
    assert answer_of(gateway, "/value?cmd=decr&key=n&value=-1")[0] == 400
    memcached.ask(b"set t 0 0 1\r\nx")
    status, text = answer_of(gateway, "/value?cmd=incr&key=t&value=1")
    assert status == 502 and text.startswith("CLIENT_ERROR ")


def test_flush_all(gateway, memcached):
    memcached.ask(b"set a 0 0 1\r\nx")
    assert answer_of(gateway, "/memc?cmd=flush_all&exptime=100") == (200, "OK\r\n")
    assert gateway.get("/memc?key=a").status == 200
    assert answer_of(gateway, "/memc?cmd=flush_all") == (200, "OK\r\n")
    assert gateway.get("/memc?key=a").status == 404


def test_stats(gateway):
    status, text = answer_of(gateway, "/memc?cmd=stats")
    assert status == 200
    assert text.startswith("STAT pid ") and text.endswith("\r\nEND\r\n")


def test_version(gateway):
    status, text = answer_of(gateway, "/memc?cmd=version")
    assert status == 200 and text.startswith("VERSION ") and text.endswith("\r\n")


def test_the_method_is_the_command_where_none_is_given(gateway):
    assert gateway.request("POST", "/memc?key=k", body=b"posted").header("X-Cmd") == "add"
    assert gateway.request("PUT", "/memc?key=k", body=b"put").header("X-Cmd") == "set"
    answer = gateway.get("/memc?key=k")
    assert (answer.body, answer.header("X-Cmd")) == (b"put", "get")
    assert gateway.request("DELETE", "/memc?key=k").header("X-Cmd") == "delete"
    assert gateway.request("OPTIONS", "/memc?key=k").status == 400
    assert "$memc_cmd variable not found for HTTP OPTIONS requests" in gateway.error_log()


def test_large_bodies_come_from_their_file(moongate, memcached):
    gateway = moongate(http="client_body_buffer_size 1k; client_max_body_size 1m;", server=ALL, memc=memcached.port)
    value = os.urandom(300_000)
    assert answer_of(gateway, "/memc?cmd=set&key=big", "POST", value) == (201, "STORED\r\n")
    assert gateway.get("/memc?key=big").body == value
    assert answer_of(gateway, "/memc?cmd=set&key=two", "POST", b"v") == (201, "STORED\r\n")


@pytest.mark.parametrize("path, method, body, status, complaint", [
    ("/memc?cmd=cas&key=a", "GET", None, 400, 'ngx_memc: unknown $memc_cmd "cas"'),
    ("/memc?cmd=get", "GET", None, 500, 'the "$memc_key" variable is not set'),
    ("/memc?cmd=set&key=a", "POST", None, 500,
     'neither the "$memc_value" variable nor the request body is available'),
    ("/memc?cmd=set&key=a&flags=x", "POST", b"v", 400, 'variable "$memc_flags" takes invalid value: x'),
    ("/memc?cmd=set&key=a&flags=12345678901", "POST", b"v", 400, 'variable "$memc_flags" takes invalid value'),
    ("/memc?cmd=set&key=a&exptime=-1", "POST", b"v", 400, 'variable "$memc_exptime" takes invalid value: -1'),
])
def test_what_makes_no_command(gateway, path, method, body, status, complaint):
    assert answer_of(gateway, path, method, body)[0] == status
    assert complaint in gateway.error_log()


def test_a_key_cannot_carry_commands(moongate, memcached):
    gateway = moongate(server="""
        location / {
            set_unescape_uri $memc_key $arg_key;
            memc_pass 127.0.0.1:%MEMC%;
        }
    """, memc=memcached.port)
    memcached.ask(b"set a%20b%0D%0A%25 0 0 1\r\nx")
    assert gateway.get("/?key=a%20b%0d%0a%25").body == b"x"
    memcached.ask(b"set victim 0 0 1\r\nx")
    gateway.get("/?key=a%0d%0adelete%20victim")
    assert b"VALUE victim" in memcached.ask(b"get victim")


# --- directives

def test_memc_cmds_allowed(moongate, memcached):
    gateway = moongate(server="""
        memc_cmds_allowed get;
        set $memc_key k;
        location / { set $memc_cmd $arg_cmd; memc_pass 127.0.0.1:%MEMC%; }
        location /more { memc_cmds_allowed version flush_all; set $memc_cmd $arg_cmd; memc_pass 127.0.0.1:%MEMC%; }
    """, memc=memcached.port)
    assert [answer_of(gateway, path)[0] for path in ("/?cmd=get", "/?cmd=flush_all", "/more?cmd=flush_all",
                                                     "/more?cmd=get")] == [404, 403, 200, 403]
    assert 'ngx_memc: memcached command "flush_all" not allowed' in gateway.error_log()


def test_memc_flags_to_last_modified(moongate, memcached):
    memcached.ask(b"set k 784111777 0 5\r\nhello")
    gateway = moongate(server="""
        set $memc_key k;
        location / { memc_pass 127.0.0.1:%MEMC%; memc_flags_to_last_modified on;
            add_header X-Time $memc_flags_as_http_time; }
    """, memc=memcached.port)
    stamp = "Sun, 06 Nov 1994 08:49:37 GMT"
    answer = gateway.get("/")
    assert (answer.header("Last-Modified"), answer.header("X-Time"), answer.body) == (stamp, stamp, b"hello")
    answer = gateway.get("/", headers={"If-Modified-Since": stamp})
    assert (answer.status, answer.body) == (304, b"")


def test_memc_buffer_size(moongate, memcached):
    gateway = moongate(server="""
        memc_buffer_size 128;
        location /stats { set $memc_cmd stats; memc_pass 127.0.0.1:%MEMC%; }
        location /get { set $memc_key k; memc_pass 127.0.0.1:%MEMC%; }
    """, memc=memcached.port)
    memcached.ask(b"set k 0 0 1000\r\n" + b"v" * 1000)
    assert gateway.get("/stats").status == 502
    assert "upstream sent too big header" in gateway.error_log()
    assert gateway.get("/get").body == b"v" * 1000


def test_memc_pass_to_an_upstream_keeps_connections(moongate, memcached):
    gateway = moongate(http="upstream cache { server 127.0.0.1:%MEMC%; keepalive 2; }", server="""
        location / { set $memc_key $arg_key; set $memc_cmd $arg_cmd; memc_pass cache; }
        location /error { error_page 404 /gone; set $memc_key none; memc_pass cache; }
        location /gone { return 200 gone; }
    """, memc=memcached.port)
    before = memcached.connections()
    for _ in range(3):
        assert answer_of(gateway, "/?cmd=set&key=k", "POST", b"v")[0] == 201
        assert answer_of(gateway, "/?key=k") == (200, "v")
        assert answer_of(gateway, "/?key=none")[0] == 404
        assert answer_of(gateway, "/?cmd=delete&key=none")[0] == 404
        assert answer_of(gateway, "/?cmd=version")[0] == 200
        assert answer_of(gateway, "/error")[1] == "gone"
    assert memcached.connections() - before == 2  # one for the requests, one for this question


def test_memc_pass_with_variables(moongate, memcached):
    gateway = moongate(http="upstream cache { server 127.0.0.1:%MEMC%; }", server="""
        location / { set $memc_cmd version; memc_pass $arg_to; }
    """, memc=memcached.port)
    assert gateway.get("/?to=cache").text.startswith("VERSION")
    assert gateway.get(f"/?to=127.0.0.1:{memcached.port}").text.startswith("VERSION")
    assert gateway.get("/?to=nowhere").status == 500
    assert 'memc: upstream "nowhere" not found' in gateway.error_log()
    assert gateway.get("/").status == 500
    assert 'empty "memc_pass" target' in gateway.error_log()


def test_memc_pass_to_a_unix_socket(moongate, tmp_path):
    path = tmp_path / "memcached.sock"
    process = subprocess.Popen([MEMCACHED, *AS_ROOT, "-s", str(path), "-a", "777"])
    try:
        harness.eventually(path.exists)
        gateway = moongate(server="location / { set $memc_cmd version; memc_pass unix:%SOCK%; }", sock=path)
        harness.eventually(lambda: gateway.get("/").text.startswith("VERSION"))
    finally:
        process.kill()
        process.wait(harness.TIMEOUT)


def test_memc_pass_in_if(moongate, memcached):
    gateway = moongate(server="""
        location / {
            set $memc_cmd version;
            if ($arg_x) { memc_pass 127.0.0.1:%MEMC%; }
            return 200 other;
        }
        location /if {
            set $memc_cmd version;
            if ($arg_x) { memc_pass 127.0.0.1:%MEMC%; break; }
            return 200 other;
        }
    """, memc=memcached.port)
    assert gateway.get("/if?x=1").text.startswith("VERSION")
    assert gateway.get("/if").text == "other"


@pytest.mark.parametrize("statement, complaint", [
    ("memc_upstream_max_fails 3;", '"memc_upstream_max_fails" is not supported, use the "max_fails" parameter of the '
                                   '"server" directive inside the "upstream" block'),
    ("memc_upstream_fail_timeout 3;", '"memc_upstream_fail_timeout" is not supported, use the "fail_timeout" parameter'),
    ("memc_cmds_allowed get cas;", 'Unknown memcached command "cas" used in "memc_cmds_allowed"'),
    ("memc_pass 127.0.0.1;", 'no port in upstream "127.0.0.1"'),
    ("memc_pass 127.0.0.1:1; memc_pass 127.0.0.1:2;", '"memc_pass" directive is duplicate'),
    ("memcached_pass 127.0.0.1;", 'no port in upstream "127.0.0.1"'),
    ("memc_next_upstream http_500;", 'invalid value "http_500"'),
])
def test_what_is_refused(moongate, statement, complaint):
    tried = moongate(server=f"location / {{ {statement} }}", start=False).run("-t")
    assert tried.returncode == 1 and complaint in tried.stdout + tried.stderr


# --- servers that misbehave

class Script:
    """A server that reads a command's line and answers with the next text of a list."""

    def __init__(self, *answers, bytewise=False):
        self.answers, self.asked = list(answers), []
        self.bytewise = bytewise
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        for answer in self.answers:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(harness.TIMEOUT)
                self._answer(client, answer)

    def _answer(self, client, answer):
        asked = b""
        while b"\n" not in asked and (data := client.recv(4096)):
            asked += data
        self.asked.append(asked)
        try:
            if answer is None:
                client.recv(1)  # until the other side leaves
            elif self.bytewise:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(answer)):
                    client.sendall(answer[at:at + 1])
            else:
                client.sendall(answer)
        except OSError:
            pass  # it left before the end

    def close(self):
        self.listener.close()


@pytest.fixture
def script():
    made = []

    def make(*answers, **arguments):
        made.append(Script(*answers, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


def one(moongate, server, command="get", more=""):
    return moongate(server=f"""
        location / {{ set $memc_cmd {command}; set $memc_key k; set $memc_value 1; {more}
            memc_pass 127.0.0.1:{server.port}; }}
    """)


@pytest.mark.parametrize("command, answer, status, complaint", [
    ("get", b"VALUE other 0 1\r\nx\r\nEND\r\n", 502, 'memcached sent invalid key in response "VALUE other 0 1" for key "k"'),
    ("get", b"VALUE k 0 x\r\n", 502, "memcached sent invalid length in response"),
    ("get", b"VALUE k 0 -1\r\n", 502, "memcached sent invalid length in response"),
    ("get", b"VALUE k\r\n", 502, 'memcached sent invalid response: "VALUE k"'),
    ("get", b"ERROR\r\n", 502, 'memcached sent invalid response: "ERROR"'),
    ("get", b"\n", 502, "memcached sent invalid response"),
    ("get", b"", 502, "upstream prematurely closed connection"),
    ("set", b"STORAGE\r\n", 502, 'memcached sent invalid response for command "set" at pos 4: STORA'),
    ("set", b"HTTP/1.1 400", 502, 'memcached sent invalid response for command "set" at pos 0: H'),
    ("set", b"STORED\n", 502, 'at pos 6'),
    ("set", b"ERROR\r\n", 502, None),
    ("set", b"SERVER_ERROR out of memory\r\n", 502, None),
    ("set", b"EXISTS\r\n", 200, None),
    ("set", b"NOT_FOUND\r\n", 404, None),
    ("delete", b"STORED\r\n", 502, 'command "delete" at pos 1'),
    ("incr", b"12x\r\n", 502, 'command "incr" at pos 2'),
    ("incr", b"12  \r\n", 201, None),
    ("version", b"VERSION\r\n", 502, 'command "version" at pos 7'),
    ("stats", b"STAT a 1\r\nEND\r\n", 200, None),
    ("stats", b"END\r\n", 200, None),
    ("stats", b"STAT a 1\r\nSTORED\r\n", 502, 'command "stats" at pos 12'),
    ("flush_all", b"OKAY\r\n", 502, 'command "flush_all" at pos 2'),
])
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_answers(moongate, script, command, answer, status, complaint, bytewise):
    server = script(answer, bytewise=bytewise)
    gateway = one(moongate, server, command)
    got = gateway.get("/")
    assert got.status == status
    if complaint is None and status != 404:
        assert got.body == answer
    assert complaint is None or complaint in gateway.error_log()


def test_an_invalid_end_of_a_value(moongate, script):
    server = script(b"VALUE k 0 3\r\nabcXXEND\r\n")
    gateway = one(moongate, server)
    assert gateway.get("/").body == b"abc"
    assert "memcached sent invalid trailer" in gateway.error_log()


def test_a_value_that_breaks_off(moongate, script):
    gateway = one(moongate, script(b"VALUE k 0 300000\r\n" + b"x" * 100))
    received = gateway.raw(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert b"Content-Length: 300000" in received and received.endswith(b"x" * 100)
    assert "upstream prematurely closed connection" in gateway.error_log()


@pytest.mark.parametrize("reason, first", [
    ("error", b""), ("invalid_response", b"nonsense\r\n"), ("not_found", b"END\r\n"), ("timeout", None),
])
@pytest.mark.parametrize("module", ["memc", "memcached"])
def test_next_upstream(moongate, script, module, reason, first):
    bad, good = script(first, first), script(b"VALUE k 0 2\r\nok\r\nEND\r\n")
    gateway = moongate(http=f"upstream both {{ server 127.0.0.1:{bad.port}; server 127.0.0.1:{good.port} backup; }}",
                       server=f"""
        set ${module}_key k;
        {module}_read_timeout 200ms;
        location / {{ {module}_next_upstream {reason}; {module}_pass both; }}
        location /off {{ {module}_next_upstream off; {module}_pass both; }}
    """)
    statuses = {"error": 502, "invalid_response": 502, "not_found": 404, "timeout": 504}
    assert gateway.get("/off").status == statuses[reason]
    # The failure is not counted for the next request: max_fails takes it out for a while.
    answer = gateway.get("/")
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize("module", ["memc", "memcached"])
def test_read_timeout(moongate, script, module):
    gateway = moongate(server=f"""
        location / {{ set ${module}_key k; {module}_read_timeout 100ms; {module}_pass 127.0.0.1:{script(None).port}; }}
    """)
    assert gateway.get("/").status == 504
    assert "upstream timed out" in gateway.error_log()


@pytest.mark.parametrize("module", ["memc", "memcached"])
def test_connect_timeout_and_send_timeout(moongate, memcached, module):
    memcached.ask(b"set k 0 0 1\r\nx")
    gateway = moongate(server=f"""
        {module}_connect_timeout 3s;
        {module}_send_timeout 3s;
        location / {{ set ${module}_key k; {module}_pass 127.0.0.1:{memcached.port}; }}
        location /down {{ set ${module}_key k; {module}_pass 127.0.0.1:{harness.free_port()}; }}
    """)
    assert gateway.get("/").body == b"x"
    assert gateway.get("/down").status == 502
    assert "connect() failed (111: Connection refused)" in gateway.error_log()


@pytest.mark.parametrize("ignore", ["on", "off"])
def test_memc_ignore_client_abort(moongate, script, ignore):
    server = script(None)
    gateway = moongate(http="log_format s $status; ", server=f"""
        location / {{ set $memc_key k; memc_ignore_client_abort {ignore}; memc_read_timeout 500ms;
            memc_pass 127.0.0.1:{server.port}; access_log logs/s.log s; }}
    """)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: server.asked)
    log = gateway.prefix / "logs/s.log"
    status = harness.eventually(lambda: log.exists() and log.read_text())
    assert status.strip() == ("504" if ignore == "on" else "499")


# --- memcached_pass

def test_memcached_pass(moongate, memcached):
    memcached.ask(b"set /a%20b?x=1 0 0 5\r\nhello")
    gateway = moongate(server="""
        location / {
            set $memcached_key "$uri?$args";
            memcached_pass 127.0.0.1:%MEMC%;
            default_type text/x-own;
            error_page 404 502 504 = @fallback;
        }
        location @fallback { return 200 fallback; }
        location /plain { set $memcached_key "none"; memcached_pass 127.0.0.1:%MEMC%; }
        location /unset { memcached_pass 127.0.0.1:%MEMC%; }
        location /named { set $memcached_key "none"; memcached_pass 127.0.0.1:%MEMC%; memcached_bind 127.0.0.1;
            memcached_socket_keepalive on; memcached_buffer_size 512; }
    """, memc=memcached.port)
    answer = gateway.get("/a%20b?x=1")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"hello", "text/x-own")
    assert gateway.get("/missing").text == "fallback"
    assert gateway.get("/plain").status == 404
    assert gateway.request("POST", "/plain", body=b"x").status == 405
    assert gateway.get("/unset").status == 500
    assert 'the "$memcached_key" variable is not set' in gateway.error_log()
    assert gateway.get("/named").status == 404


def test_memcached_gzip_flag(moongate, memcached):
    packed = gzip.compress(b"hello")
    memcached.ask(b"set packed 6 0 %d\r\n%s" % (len(packed), packed))
    memcached.ask(b"set plain 4 0 5\r\nhello")
    gateway = moongate(server="""
        memcached_gzip_flag 2;
        location / { set $memcached_key $arg_key; memcached_pass 127.0.0.1:%MEMC%; }
    """, memc=memcached.port)
    answer = gateway.get("/?key=packed")
    assert (answer.header("Content-Encoding"), gzip.decompress(answer.body)) == ("gzip", b"hello")
    assert gateway.get("/?key=plain").header("Content-Encoding") is None


def test_memcached_next_upstream_tries_and_timeout(moongate, script):
    bad, worse, good = script(b""), script(b""), script(b"VALUE k 0 2\r\nok\r\nEND\r\n")
    servers = "".join(f"server 127.0.0.1:{each.port};" for each in (bad, worse, good))
    gateway = moongate(http=f"upstream all {{ {servers} }}", server="""
        set $memcached_key k;
        location /two { memcached_next_upstream_tries 2; memcached_next_upstream_timeout 5s; memcached_pass all; }
        location / { memcached_pass all; }
    """)
    assert gateway.get("/two").status == 502
    assert len(bad.asked) == len(worse.asked) == 1 and not good.asked
    assert gateway.get("/").body == b"ok"
