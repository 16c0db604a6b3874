"""ngx.ssl and ngx.ocsp without a connection: certificates, keys, OCSP. The expectations come from the openssl command;
what ngx_lua does too holds on the reference."""
import subprocess

import pytest


def openssl(*arguments, folder):
    return subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A CA, a leaf that names an OCSP responder, its key in several forms, and an OCSP answer."""
    folder = tmp_path_factory.mktemp("pki")
    (folder / "ext").write_text("authorityInfoAccess=OCSP;URI:http://127.0.0.1:8888/ocsp?foo=1\n")
    run = lambda *arguments: openssl(*arguments, folder=folder)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=ca")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf")
    run("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "77", "-days", "30",
        "-extfile", "ext", "-out", "leaf.pem")
    run("rsa", "-in", "leaf.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ec.key")
    for name in ("ca", "leaf"):
        run("x509", "-in", name + ".pem", "-outform", "DER", "-out", name + ".der")
    run("rsa", "-in", "leaf.key", "-traditional", "-outform", "DER", "-out", "leaf.key.der")
    (folder / "index").write_text("V\t351231235959Z\t\t4D\tunknown\t/CN=leaf\n")
    run("ocsp", "-issuer", "ca.pem", "-cert", "leaf.pem", "-no_nonce", "-reqout", "request.der")
    for name in ("good", "revoked"):
        if name == "revoked":
            (folder / "index").write_text("R\t351231235959Z\t200101000000Z\t4D\tunknown\t/CN=leaf\n")
        run("ocsp", "-index", "index", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-reqin", "request.der",
            "-ndays", "1", "-respout", name + ".der")
    (folder / "chain.pem").write_bytes((folder / "leaf.pem").read_bytes() + (folder / "ca.pem").read_bytes())
    (folder / "chain.der").write_bytes((folder / "leaf.der").read_bytes() + (folder / "ca.der").read_bytes())
    return folder


def run(moongate, files, code):
    gateway = moongate(server="""location / { content_by_lua_block {
        local ssl, ocsp = require "ngx.ssl", require "ngx.ocsp"
        local function read(name) local f = assert(io.open("FILES/" .. name, "rb")) local text = f:read("*a") f:close() return text end
        local function say(...)
            local values = {...}
            for i = 1, select("#", ...) do values[i] = tostring(values[i]) end
            ngx.say(table.concat(values, "|"))
        end
        """.replace("FILES", str(files)) + code + " } }")
    return gateway.get("/").text.splitlines()


def test_cert_pem_to_der(moongate, files):
    assert run(moongate, files, """
        say(ssl.cert_pem_to_der(read("leaf.pem")) == read("leaf.der"))
        say(ssl.cert_pem_to_der(read("chain.pem")) == read("chain.der"))
        say(ssl.cert_pem_to_der("nonsense")) say(ssl.cert_pem_to_der(""))
        say(ssl.cert_pem_to_der(read("leaf.pem") .. "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n"))""") == [
            "true", "true", "nil|PEM_read_bio_X509_AUX() failed", "nil|PEM_read_bio_X509_AUX() failed",
            "nil|PEM_read_bio_X509() failed"]


def test_priv_key_pem_to_der(moongate, files):
    assert run(moongate, files, """
        say(ssl.priv_key_pem_to_der(read("leaf.key")) == read("leaf.key.der"))
        say(ssl.priv_key_pem_to_der(read("locked.key"), "secret") == read("leaf.key.der"))
        say(ssl.priv_key_pem_to_der(read("locked.key"), "wrong"))
        say(#ssl.priv_key_pem_to_der(read("ec.key")) > 100)
        say(ssl.priv_key_pem_to_der("nonsense"))""") == [
            "true", "true", "nil|PEM_read_bio_PrivateKey() failed", "true", "nil|PEM_read_bio_PrivateKey() failed"]


@pytest.mark.moongate_only  # the reference asks on its terminal
def test_priv_key_without_its_passphrase(moongate, files):
    assert run(moongate, files, """say(ssl.priv_key_pem_to_der(read("locked.key"))) say(ssl.parse_pem_priv_key(read("locked.key")))""") \
        == ["nil|PEM_read_bio_PrivateKey() failed"] * 2


def test_parse_pem_cert_and_parse_pem_priv_key(moongate, files):
    assert run(moongate, files, """
        say(type(ssl.parse_pem_cert(read("chain.pem")))) say(ssl.parse_pem_cert("nonsense"))
        say(type(ssl.parse_pem_priv_key(read("leaf.key")))) say(ssl.parse_pem_priv_key("nonsense"))
        for i = 1, 100 do ssl.parse_pem_cert(read("chain.pem")) ssl.parse_pem_priv_key(read("leaf.key")) end
        collectgarbage() say("collected")""") == [
            "cdata", "nil|PEM_read_bio_X509_AUX() failed", "cdata", "nil|PEM_read_bio_PrivateKey() failed", "collected"]


@pytest.mark.moongate_only
def test_parse_der_cert_and_parse_der_priv_key(moongate, files):
    assert run(moongate, files, """
        local ffi = require "ffi"
        ffi.cdef[[ void *ngx_http_lua_ffi_parse_der_cert(const char *data, size_t len, char **err);
                   void *ngx_http_lua_ffi_parse_der_priv_key(const char *data, size_t len, char **err); ]]
        local err = ffi.new("char *[1]")
        for _, case in ipairs{{"cert", read("chain.der")}, {"priv_key", read("leaf.key.der")}, {"cert", ""}, {"cert", "x"}, {"priv_key", "x"}} do
            local made = ffi.C["ngx_http_lua_ffi_parse_der_" .. case[1]](case[2], #case[2], err)
            if made ~= nil then ffi.C["ngx_http_lua_ffi_free_" .. case[1]](made) say("made") else say(ffi.string(err[0])) end
        end""") == ["made", "made", "d2i_X509_bio() failed", "d2i_X509_bio() failed", "d2i_PrivateKey_bio() failed"]


def test_get_ocsp_responder_from_der_chain(moongate, files):
    assert run(moongate, files, """
        say(ocsp.get_ocsp_responder_from_der_chain(read("chain.der")))
        say(ocsp.get_ocsp_responder_from_der_chain(read("chain.der"), 10))
        say(ocsp.get_ocsp_responder_from_der_chain(read("leaf.der")))
        say(ocsp.get_ocsp_responder_from_der_chain(read("leaf.der") .. read("leaf.der")))
        say(ocsp.get_ocsp_responder_from_der_chain(read("ca.der") .. read("ca.der")))
        say(ocsp.get_ocsp_responder_from_der_chain("x"))""") == [
            "http://127.0.0.1:8888/ocsp?foo=1", "http://127|truncated", "nil|no issuer certificate in chain",
            "nil|issuer certificate not next to leaf", "nil", "nil|d2i_X509_bio() failed"]


def test_create_ocsp_request(moongate, files):
    assert run(moongate, files, """
        say(ocsp.create_ocsp_request(read("chain.der")) == read("request.der"))
        say(ocsp.create_ocsp_request(read("chain.der"), 5))
        say(ocsp.create_ocsp_request(read("leaf.der")))""") == [
            "true", "nil|output buffer too small: %d > 5" % len((files / "request.der").read_bytes()),
            "nil|no issuer certificate in chain"]


def test_validate_ocsp_response(moongate, files):
    assert run(moongate, files, """
        say(ocsp.validate_ocsp_response(read("good.der"), read("chain.der")))
        say(ocsp.validate_ocsp_response(read("revoked.der"), read("chain.der")))
        say(ocsp.validate_ocsp_response("x", read("chain.der")))
        say(ocsp.validate_ocsp_response(read("good.der"), read("leaf.der")))
        say(ocsp.validate_ocsp_response(read("good.der"), read("ca.der") .. read("ca.der")))
        say(ocsp.validate_ocsp_response("\\48\\3\\10\\1\\6", read("chain.der")))""") == [
            "true", 'nil|certificate status "revoked" in the OCSP response', "nil|d2i_OCSP_RESPONSE() failed",
            "nil|no issuer certificate in chain", "nil|certificate status not found in the OCSP response",
            "nil|OCSP response not successful (6: unauthorized)"]


@pytest.mark.parametrize("call", [
    "ssl.clear_certs()", "ssl.set_der_cert('x')", "ssl.set_der_priv_key('x')", "ssl.raw_server_addr()", "ssl.server_port()",
    "ssl.server_name()", "ssl.raw_client_addr()", "ssl.get_tls1_version()", "ssl.get_tls1_version_str()",
    "ssl.set_cert(ssl.parse_pem_cert(read('leaf.pem')))", "ssl.set_priv_key(ssl.parse_pem_priv_key(read('leaf.key')))",
    "ocsp.set_ocsp_status_resp('x')"])
def test_a_plain_connection_is_a_bad_request(moongate, files, call):
    assert run(moongate, files, "say(%s)" % call)[0].endswith("|bad request")


def test_constants(moongate, files):
    assert run(moongate, files, "say(ssl.SSL3_VERSION, ssl.TLS1_VERSION, ssl.TLS1_1_VERSION, ssl.TLS1_2_VERSION, ssl.TLS1_3_VERSION)") \
        == ["768|769|770|771|772"]
