"""encrypted-session: sessions that only the key's holder can make or read; checked beside openssl(1)."""
import hashlib
import subprocess
import time

import pytest

pytestmark = pytest.mark.moongate_only  # Debian has no package of the module

KEY = b"abcdefghijklmnopqrstuvwxyz123456"
IV = b"1234567812345678"
CONFIG = """
    encrypted_session_key "%s";
    encrypted_session_iv "%s";
    location /encrypt {
        encrypted_session_expires 30s;
        set_encrypt_session $session $arg_text;
        set_encode_hex $session;
        return 200 "$session";
    }
    location /decrypt {
        set_decode_hex $session $arg_session;
        set_decrypt_session $session;
        return 200 "[$session]";
    }
    location /forever {
        encrypted_session_expires 0;
        set_encrypt_session $session $arg_text;
        set_encode_hex $session;
        return 200 "$session";
    }
    location /lua { content_by_lua_block {
        local session = ndk.set_var.set_encrypt_session(ngx.var.arg_text)
        ngx.print(#session, " ", ndk.set_var.set_decrypt_session(session))
    } }
""" % (KEY.decode(), IV.decode())


def cipher(data, *mode, iv=IV, key=KEY):
    done = subprocess.run(["openssl", "enc", "-aes-256-cbc", *mode, "-K", key.hex(), "-iv", iv.hex()], input=data,
                          capture_output=True, check=True)
    return done.stdout


def session(text, expires, **keys):
    data = text + expires.to_bytes(8, "big")
    return (hashlib.md5(data).digest() + cipher(data, "-e", **keys)).hex()


def test_set_encrypt_session(moongate):
    gateway = moongate(server=CONFIG)
    made = bytes.fromhex(gateway.get("/encrypt?text=hello").text)
    data = cipher(made[16:], "-d")
    assert hashlib.md5(data).digest() == made[:16]
    assert data[:-8] == b"hello"
    assert abs(int.from_bytes(data[-8:], "big") - time.time() - 30) < 10
    empty = bytes.fromhex(gateway.get("/encrypt").text)
    assert cipher(empty[16:], "-d")[:-8] == b""


def test_set_decrypt_session(moongate):
    gateway = moongate(server=CONFIG)

    def decrypt(hexadecimal):
        answer = gateway.get("/decrypt?session=" + hexadecimal)
        assert answer.status == 200
        return answer.text

    good = session(b"some text of more than one block", int(time.time()) + 60)
    assert decrypt(good) == "[some text of more than one block]"
    assert decrypt(gateway.get("/encrypt?text=abc").text) == "[abc]"
    assert decrypt("") == "[]"
    assert decrypt("00" * 15) == "[]"
    assert decrypt("00" * 16) == "[]"
    assert decrypt("00" * 48) == "[]"
    for at in range(0, len(good), 14):
        changed = good[:at] + ("0" if good[at] != "0" else "1") + good[at + 1:]
        assert decrypt(changed) == "[]", at
        assert decrypt(good[:at]) == "[]", at
    assert decrypt(session(b"x", int(time.time()) + 60, key=KEY[::-1])) == "[]"


def test_encrypted_session_expires(moongate):
    gateway = moongate(server=CONFIG)
    assert gateway.get("/decrypt?session=" + session(b"x", int(time.time()) - 1)).text == "[]"
    assert gateway.get("/decrypt?session=" + session(b"x", 0)).text == "[x]"
    made = bytes.fromhex(gateway.get("/forever?text=y").text)
    assert cipher(made[16:], "-d") == b"y" + bytes(8)


def test_encrypted_session_expires_in_if(moongate):
    gateway = moongate(server="""
        encrypted_session_key "%s";
        encrypted_session_iv "%s";
        location / {
            encrypted_session_expires 1h;
            if ($arg_long) { encrypted_session_expires 8d; }
            set_encrypt_session $a x; set_encode_hex $a; return 200 "$a";
        }
    """ % (KEY.decode(), IV.decode()))
    for path, seconds in (("/", 3600), ("/?long=1", 8 * 86400)):
        data = cipher(bytes.fromhex(gateway.get(path).text)[16:], "-d")
        assert abs(int.from_bytes(data[-8:], "big") - time.time() - seconds) < 10


def test_encrypted_session_iv(moongate):
    gateway = moongate(server="""
        encrypted_session_key "%s";
        location / { set_encrypt_session $a x; set_encode_hex $a; return 200 "$a"; }
        location /short { encrypted_session_iv "12"; set_encrypt_session $a x; set_encode_hex $a; return 200 "$a"; }
    """ % KEY.decode())
    for path, iv in (("/", b"deadbeefdeadbeef"), ("/short", b"12" + bytes(14))):
        made = bytes.fromhex(gateway.get(path).text)
        assert cipher(made[16:], "-d", iv=iv)[:-8] == b"x"


def test_encrypted_session_key(moongate):
    gateway = moongate(server="""
        location /encrypt { set_encrypt_session $a x; return 200 "$a"; }
        location /decrypt { set_decrypt_session $a x; return 200 "$a"; }
    """)
    assert gateway.get("/encrypt").status == 500
    assert gateway.get("/decrypt").status == 500
    assert "a key is required to be defined by the encrypted_session_key directive" in gateway.error_log()


@pytest.mark.parametrize("statement, complaint", [
    ("encrypted_session_key short;", "encrypted_session_key: the key must be of 32 bytes long"),
    ("encrypted_session_iv 12345678901234567;",
     "encrypted_session_iv: the init vector must NOT be longer than 16 bytes"),
    ("encrypted_session_expires soon;", '"encrypted_session_expires" directive invalid value'),
], ids=["encrypted_session_key", "encrypted_session_iv", "encrypted_session_expires"])
def test_wrong_values_are_refused(moongate, statement, complaint):
    tried = moongate(server=statement, start=False).run("-t")
    assert tried.returncode == 1 and complaint in tried.stdout + tried.stderr


def test_ndk_set_var(moongate):
    gateway = moongate(server=CONFIG)
    assert gateway.get("/lua?text=lua").text == "32 lua"
