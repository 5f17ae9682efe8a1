"""TLS as clients meet it: versions, names, tickets, certificates of clients, renewal, and the messages of the start.
Attacks on handshakes and records are in test_tls_attacks.py; tools/check.py runs some HTTP suites over TLS too."""
import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Conn, procs, until
from harness.server import CLASS, PRELOAD, PYTHON
from harness.tls import OPENSSL, Authority, openssl, trusting

pytestmark = pytest.mark.skipif(not OPENSSL, reason="no openssl program here")


@pytest.fixture(scope="session")
def authority():
    return Authority()


@pytest.fixture(scope="session")
def pair(authority):
    return authority.pair("main")


@pytest.fixture
def server(shared, pair):
    return shared("everything", "--certfile", pair[0], "--keyfile", pair[1])


def s_client(server, *options, send=b""):
    """What `openssl s_client` says: (exit code, output)."""
    done = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % server.address, *map(str, options)], input=send,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout.decode("latin-1")


# ---- the connection --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version, name", [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")])
def test_versions(server, authority, version, name):
    with server.connect(tls=authority.client(version=version)) as conn:
        seen = conn.get("/environ").json()
        assert seen["wsgi.url_scheme"] == "https" and seen["HTTPS"] == "on"
        assert seen["SSL_PROTOCOL"] == name and "GCM" in seen["SSL_CIPHER"] or "CHACHA" in seen["SSL_CIPHER"]
        assert seen["SSL_TLS_SNI"] == "localhost" and "SSL_CLIENT_VERIFY" not in seen
        assert conn.get("/environ").json()["HTTPS"] == "on"  # from the memo of the connection


@pytest.mark.parametrize("options", [("-tls1",), ("-tls1_1",)])
def test_old_versions_are_refused(server, options):
    code, said = s_client(server, *options, "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0 and re.search("alert protocol version|unsupported protocol|no protocols available", said), said


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256", "NULL-SHA256"])
def test_weak_ciphers_are_refused(server, cipher):
    code, said = s_client(server, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert code != 0 and "Cipher is (NONE)" in said, said


def test_ciphers_and_least_version_are_settings(serve, pair):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], "--ciphers",
                   "ECDHE-ECDSA-CHACHA20-POLY1305:TLS_CHACHA20_POLY1305_SHA256")
    for version in ("-tls1_2", "-tls1_3"):
        code, said = s_client(server, version)
        assert "CHACHA20" in re.search("Cipher is (.*)", said)[1], said
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], "--tls-min-version", "1.3")
    assert "Cipher is (NONE)" in s_client(server, "-tls1_2")[1]
    assert "Cipher is TLS_AES" in s_client(server, "-tls1_3")[1]


def test_renegotiation_and_compression_are_off(server):
    code, said = s_client(server, "-tls1_2", send=b"R\n")
    assert "Compression: NONE" in said
    assert re.search("no renegotiation|no_renegotiation", said) or "RENEGOTIATING" in said and code != 0, said
    with server.connect(tls=trusting()) as conn:
        assert conn.get("/hello").status == 200


def test_alpn(server, authority):
    with server.connect(tls=authority.client(alpn=["h3", "http/1.1"])) as conn:
        assert conn.sock.selected_alpn_protocol() == "http/1.1"
        assert conn.get("/hello").status == 200
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        server.connect(tls=authority.client(alpn=["imap", "xmpp-client"]))


def test_curl(server, authority):
    done = subprocess.run(["curl", "-sS", "--cacert", authority.certificate, "--resolve", f"localhost:{server.port}:127.0.0.1",
                           "-d", "x" * 100000, f"https://localhost:{server.port}/echo"], capture_output=True, timeout=60)
    assert done.stdout == b"x" * 100000, done.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bodies_of_many_records(server, authority, version):
    blob = os.urandom(3_000_000)
    with server.connect(tls=authority.client(version=version), timeout=60) as conn:
        assert conn.get("/echo", "POST", body=blob).body == blob
        assert conn.get("/echo?length=no", "POST", body=blob[:100_000]).body == blob[:100_000]


def test_pipelined_in_one_record_and_byte_by_byte(server, authority):
    with server.connect(tls=authority.client()) as conn:
        one = b"GET /environ?%d HTTP/1.1\r\nHost: test\r\n\r\n"
        conn.send(b"".join(one % number for number in range(50)))
        assert [conn.response().json()["QUERY_STRING"] for _ in range(50)] == [str(number) for number in range(50)]
        conn.send_bytewise(one % 7)
        assert conn.response().json()["QUERY_STRING"] == "7"


def test_a_slow_reader_of_a_large_answer(server, authority):
    with server.connect(tls=authority.client(), receive_buffer=4096, timeout=60) as conn:
        blob = os.urandom(2_000_000)
        with ThreadPoolExecutor() as pool:
            sending = pool.submit(conn.send, b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(blob) + blob)
            sending.result()
        assert conn.response().body == blob


# ---- ends ------------------------------------------------------------------------------------------------------------

def test_an_orderly_end_says_close_notify(server, authority):
    with server.connect(tls=authority.client()) as conn:
        conn.send(b"GET /hello HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        conn.sock.suppress_ragged_eofs = False
        assert conn.response().closes
        assert conn.sock.recv(10) == b""  # a missing close_notify would raise SSLEOFError


def test_a_cut_answer_has_no_close_notify(server, authority):
    """HTTP/1.0: only the end of the connection ends the body, so a cut must not look like one."""
    context = authority.client()
    with socket.create_connection(server.address, 20) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
            tls.sendall(b"GET /raise?at=later HTTP/1.0\r\n\r\n")
            with pytest.raises(ssl.SSLError, match="EOF"):  # SSLEOFError in newer Pythons
                while tls.recv(65536):
                    pass
    with socket.create_connection(server.address, 20) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
            tls.sendall(b"GET /generator HTTP/1.0\r\n\r\n")
            answer = b""
            while data := tls.recv(65536):
                answer += data
            assert answer.endswith(b"lazy answer")


@pytest.mark.parametrize("option", ["--sendfile", "--no-sendfile"])
def test_files(serve, authority, pair, tmp_path, option):
    blob = os.urandom(1_500_000)
    (tmp_path / "file").write_bytes(blob)
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], option)
    with server.connect(tls=authority.client(), timeout=30) as conn:
        for path in (f"/file?path={tmp_path}/file", f"/file?path={tmp_path}/file&length={len(blob)}"):
            assert conn.get(path).body == blob
        assert conn.get("/hello").status == 200


def test_close_notify_alone_ends_an_idle_connection(server, authority):
    """No FIN behind it: an event tells of the bytes, and none of the end."""
    with server.connect(tls=authority.client()) as conn:
        assert conn.get("/hello").status == 200
        raw = conn.sock.unwrap()  # sends ours, waits for theirs
        raw.settimeout(10)
        assert raw.recv(10) == b""
        conn.sock = raw


def test_request_and_close_notify_at_once(server, authority):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(server.address, 20) as raw:
        handshake(raw, tls, incoming, outgoing)
        tls.write(b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        raw.sendall(outgoing.read())
        received = 0
        while data := raw.recv(65536):
            received += len(data)
        assert received > 150  # the answer, not only tickets and alerts


def handshake(raw, tls, incoming, outgoing):
    while True:
        try:
            tls.do_handshake()
            raw.sendall(outgoing.read())
            return
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            data = raw.recv(65536)
            assert data, "closed in the handshake"
            incoming.write(data)


# ---- names -----------------------------------------------------------------------------------------------------------

def common_name(server, authority, name):
    with server.connect(tls=authority.client(), server_name=name) as conn:
        return dict(part[0] for part in conn.sock.getpeercert()["subject"])["commonName"]


def test_sni_chooses(serve, authority):
    first = authority.pair("first", ["first.test", "localhost"])
    second = authority.pair("second", ["second.test", "*.wild.test"])
    third = authority.pair("third", ["exact.wild.test"])
    options = [word for pair in (first, second, third) for word in ("--certfile", pair[0], "--keyfile", pair[1])]
    server = serve("everything", *options)
    assert common_name(server, authority, "first.test") == "first.test"
    assert common_name(server, authority, "second.test") == "second.test"
    assert common_name(server, authority, "SECOND.test") == "second.test"
    assert common_name(server, authority, "any.wild.test") == "second.test"
    assert common_name(server, authority, "exact.wild.test") == "exact.wild.test"
    with server.connect(tls=trusting(), server_name="nobody.test") as conn:
        assert conn.get("/environ").json()["SSL_TLS_SNI"] == "nobody.test"
        assert b"first.test" in conn.sock.getpeercert(binary_form=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(tls=authority.client(), server_name="a.b.wild.test")


def test_two_kinds_of_key_for_one_name(serve, authority):
    options = []
    for label, rsa in (("both-ec", False), ("both-rsa", True)):
        certificate, key = authority.pair(label, ["localhost"], rsa=rsa)
        options += ["--certfile", certificate, "--keyfile", key]
    server = serve("everything", *options)
    assert "Peer signature type: ECDSA" in s_client(server, "-servername", "localhost")[1]
    assert "Cipher is ECDHE-RSA" in s_client(server, "-tls1_2", "-cipher", "ECDHE+aRSA", "-servername", "localhost")[1]


def test_key_in_the_certificates_file(serve, authority, pair, tmp_path):
    (tmp_path / "both.pem").write_bytes(pair[0].read_bytes() + pair[1].read_bytes())
    server = serve("everything", "--certfile", tmp_path / "both.pem")
    with server.connect(tls=authority.client()) as conn:
        assert conn.get("/hello").status == 200


# ---- resumption ------------------------------------------------------------------------------------------------------

def resumed(server, context, session):
    """(was the session resumed, pid of the worker, the next session)"""
    with socket.create_connection(server.address, 10) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
            tls.sendall(b"GET /pid HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := tls.recv(65536):
                answer += data
            return tls.session_reused, int(answer.rpartition(b"\r\n")[2]), tls.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_are_good_at_every_worker_and_after_a_reload(serve, authority, pair, version):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], workers=4)
    context, pids = authority.client(version=version), set()
    _, pid, session = resumed(server, context, None)
    deadline = time.monotonic() + 60 * procs.SLOW
    while len(pids) < 2 and time.monotonic() < deadline:
        held = [server.connect(tls=trusting()) for _ in range(3)]  # so that the gate spreads them
        again, pid, session = resumed(server, context, session)
        assert again, f"not resumed at worker {pid}"
        pids.add(pid)
        for conn in held:
            conn.close()
    assert len(pids) >= 2
    server.signal(signal.SIGHUP)
    server.wait_log("SIGHUP: reloaded", 60)
    again, pid, session = resumed(server, context, session)
    assert again and pid not in pids
    server.check_fds = False


def test_tickets_off(serve, authority, pair):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], "--no-tls-tickets")
    context = authority.client(version=ssl.TLSVersion.TLSv1_2)
    session = resumed(server, context, None)[2]
    assert not resumed(server, context, session)[0]


# ---- certificates of clients -----------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def client_pair(authority):
    return authority.pair("client", ["client.test"], subject="/C=CH/O=Größe/CN=Client One".encode().decode())


@pytest.mark.parametrize("demand", ["required", "2", "CERT_REQUIRED"])
def test_client_certificates_required(serve, authority, pair, client_pair, demand):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], "--ca-certs", authority.certificate,
                   "--cert-reqs", demand)
    with server.connect(tls=authority.client(client_pair)) as conn:
        for _ in range(2):
            seen = conn.get("/environ").json()
            assert seen["SSL_CLIENT_VERIFY"] == "SUCCESS" and seen["SSL_CLIENT_S_DN"].startswith("CN=Client One,O=")
            assert seen["SSL_CLIENT_I_DN"] == "CN=Test Root" and seen["HTTPS_DN"] == seen["SSL_CLIENT_S_DN"]
            assert seen["SSL_CLIENT_CERT"].strip() == client_pair[0].read_text().strip() == seen["HTTPS_CC"].strip()
            assert re.fullmatch("[0-9A-F]+", seen["SSL_CLIENT_M_SERIAL"]) and seen["SSL_CLIENT_V_END"].endswith("GMT")
    with pytest.raises((ssl.SSLError, OSError)):
        with server.connect(tls=authority.client(version=ssl.TLSVersion.TLSv1_2)):
            pass
    with server.connect(tls=authority.client()) as conn:  # in TLS 1.3 the refusal comes after the client's part
        conn.send(b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
        assert conn.recv_all() == b"" and conn.was_reset


def test_client_certificates_optional(serve, authority, pair, client_pair, tmp_path):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], "--ca-certs", authority.certificate,
                   "--cert-reqs", "1")
    with server.connect(tls=authority.client()) as conn:
        seen = conn.get("/environ").json()
        assert seen["SSL_CLIENT_VERIFY"] == "NONE" and "SSL_CLIENT_S_DN" not in seen
    with server.connect(tls=authority.client(client_pair)) as conn:
        assert conn.get("/environ").json()["SSL_CLIENT_VERIFY"] == "SUCCESS"
    stranger = Authority(tmp_path, "Stranger").pair("stranger", ["client.test"])
    context = authority.client(stranger)
    with server.connect(tls=context) as conn:
        conn.send(b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
        assert conn.recv_all() == b""


def test_headers_cannot_pretend(server, authority):
    with server.connect(tls=authority.client()) as conn:
        seen = conn.get("/environ", fields=["SSL-Client-Verify: SUCCESS", "SSL_CLIENT_S_DN: CN=root"]).json()
    assert "SSL_CLIENT_VERIFY" not in seen and "SSL_CLIENT_S_DN" not in seen and "HTTP_SSL_CLIENT_S_DN" not in seen


@pytest.mark.skipif(bool(CLASS), reason="chooses its class")
def test_asgi_extension(serve, authority, pair, client_pair):
    server = serve("tls_scope:application", "--certfile", pair[0], "--keyfile", pair[1], "--ca-certs", authority.certificate,
                   "--cert-reqs", "optional")
    with server.connect(tls=authority.client(client_pair)) as conn:
        seen = conn.get("/").json()
        assert seen["scheme"] == "https"
        assert seen["tls"]["tls_version"] == 0x0304 and 0x1301 <= seen["tls"]["cipher_suite"] <= 0x1303
        assert seen["tls"]["server_cert"].strip() in pair[0].read_text()
        assert seen["tls"]["client_cert_name"].startswith("CN=Client One,O=") and seen["tls"]["client_cert_error"] is None
        assert [text.strip() for text in seen["tls"]["client_cert_chain"]][:1] == [client_pair[0].read_text().strip()]
    with server.connect(tls=authority.client()) as conn:
        seen = conn.get("/").json()["tls"]
        assert seen["client_cert_name"] is None and seen["client_cert_chain"] == []


# ---- renewal ---------------------------------------------------------------------------------------------------------

def serial_of(server):
    with server.connect(tls=trusting()) as conn:
        der = conn.sock.getpeercert(binary_form=True)
    return openssl("x509", "-inform", "DER", "-noout", "-serial", input=der)


def test_hup_takes_new_files_and_keeps_the_old_ones_when_they_are_broken(serve, authority, tmp_path):
    old, new = authority.pair("old"), authority.pair("new")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(old[0].read_bytes())
    key.write_bytes(old[1].read_bytes())
    server = serve("everything", "--certfile", certificate, "--keyfile", key)
    server.check_fds = False
    before = serial_of(server)
    with server.connect(tls=authority.client()) as held:
        certificate.write_bytes(new[0].read_bytes())  # the key is still the old one
        server.signal(signal.SIGHUP)
        server.wait_log(r"key.pem does not belong to .*cert.pem; the certificates in use stay in use \[tls-certificate-kept\]")
        server.wait_log("SIGHUP: reloaded", 60)
        assert serial_of(server) == before
        key.write_bytes(new[1].read_bytes())
        server.signal(signal.SIGHUP)
        server.wait_log("the files of certificates have changed: new connections get the new ones")
        server.wait_log("SIGHUP: reloaded", 60, count=2)
        assert serial_of(server) != before
        held.send(b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
    server.expected_alarm = "tls-certificate-kept"


@pytest.mark.slow
def test_new_files_are_found_without_a_signal(serve, authority, tmp_path):
    """Within a minute; connections that are open stay."""
    old, new = authority.pair("before"), authority.pair("after")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(old[0].read_bytes())
    key.write_bytes(old[1].read_bytes())
    server = serve("everything", "--certfile", certificate, "--keyfile", key, "--keep-alive", "300", workers=2)
    before, workers = serial_of(server), server.workers()
    with server.connect(tls=authority.client()) as held:
        assert held.get("/hello").status == 200
        for path, content in ((key, new[1]), (certificate, new[0])):  # as certbot does: a new file takes the name
            fresh = tmp_path / "fresh"
            fresh.write_bytes(content.read_bytes())
            fresh.replace(path)
        server.wait_log("the files of certificates have changed: new connections get the new ones", 90)
        until(lambda: all(serial_of(server) != before for _ in range(6)), 20, "the new certificate at every worker")
        assert held.get("/hello").status == 200 and server.workers() == workers


# ---- the start -------------------------------------------------------------------------------------------------------

def fails(serve, *options, bind="https://127.0.0.1:0"):
    server = serve("everything", *options, bind=bind, wait=False)
    server.expected_exit = {2}
    assert server.ended() == 2
    return server.log


def test_messages_of_the_start(serve, authority, pair, tmp_path):
    log = fails(serve)
    assert "error: --bind https://127.0.0.1:0 needs a certificate [tls-certificate-missing]" in log
    assert "  try: --certfile cert.pem --keyfile key.pem, or --tls-selfsigned while developing" in log
    assert "--certfile 'nope.pem': no such file [tls-certificate-file]" in fails(serve, "--certfile", "nope.pem")
    assert "--keyfile 'nope.pem': no such file [tls-certificate-file]" in fails(serve, "--certfile", pair[0], "--keyfile", "nope.pem")
    assert "holds no private key; --keyfile names the file that does" in fails(serve, "--certfile", pair[0])
    assert "holds no certificate in PEM form [tls-certificate-file]" in fails(serve, "--certfile", pair[1], "--keyfile", pair[1])
    other = authority.pair("other")
    assert re.search(r"other-key.pem does not belong to \S+main.pem \[tls-key-mismatch\]",
                     fails(serve, "--certfile", pair[0], "--keyfile", other[1]))
    assert "each certificate needs its key" in fails(serve, "--certfile", pair[0], "--keyfile", pair[1], "--keyfile", other[1])
    assert "needs --ca-certs" in fails(serve, "--certfile", pair[0], "--keyfile", pair[1], "--cert-reqs", "required")
    assert "no cipher that OpenSSL knows" in fails(serve, "--certfile", pair[0], "--keyfile", pair[1], "--ciphers", "WRONG")
    locked = tmp_path / "locked.pem"
    openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:secret", "-out", locked)
    assert "is protected by a password" in fails(serve, "--certfile", pair[0], "--keyfile", locked)
    (tmp_path / "empty.pem").touch()
    assert "is empty [tls-certificate-file]" in fails(serve, "--certfile", tmp_path / "empty.pem")


def test_a_certificate_that_expires_soon(serve, authority):
    soon = authority.pair("soon", days=3)
    # Its whole life is short: a third of it is the warning's time.
    server = serve("everything", "--certfile", soon[0], "--keyfile", soon[1])
    assert "tls-certificate-expires" not in server.log
    late = authority.pair("late")
    openssl("x509", "-req", "-in", authority.directory / "late.csr", "-CA", authority.certificate, "-CAkey",
            authority.directory / "ca-key.pem", "-out", late[0], "-days", "-1", "-extfile", authority.directory / "late.ext")
    server = serve("everything", "--certfile", late[0], "--keyfile", late[1])
    server.wait_log(r"certificate \S+late.pem expired .* ago \[tls-certificate-expires\]")


def test_selfsigned_and_unused(serve, pair):
    server = serve("everything", "--tls-selfsigned", bind=["127.0.0.1:0", "http://127.0.0.1:0"], workers=2)
    with server.connect(tls=trusting()) as conn:
        assert conn.get("/hello").status == 200
        der = conn.sock.getpeercert(binary_form=True)
    shown = openssl("x509", "-inform", "DER", "-noout", "-text", input=der).decode()
    assert "DNS:localhost, IP Address:127.0.0.1" in shown
    with Conn(server.addresses[1]) as conn:
        assert conn.get("/environ").json()["wsgi.url_scheme"] == "http"
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], bind="http://127.0.0.1:0")
    assert "no --bind address is https: the TLS settings do nothing [tls-unused]" in server.log


def test_wrong_protocols(serve, pair):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], bind=["127.0.0.1:0", "http://127.0.0.1:0"])
    for method in ("GET", "DELETE", "OPTIONS"):
        with socket.create_connection(server.address, 10) as raw:
            raw.sendall(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b""
            while data := raw.recv(65536):
                answer += data
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"this port speaks HTTPS: https://127.0.0.1:%d/" % server.port in answer
    server.wait_log(r"HTTP arrived on https://127.0.0.1:\d+ from 127.0.0.1: use https:// \[wrong-protocol\]")
    with pytest.raises((ssl.SSLError, OSError)):
        Conn(server.addresses[1], tls=trusting())
    server.wait_log(r"a TLS handshake arrived on http://127.0.0.1:\d+ from 127.0.0.1: use http://, or give --certfile \[wrong-protocol\]")


def test_unix_socket_and_version(serve, pair, tmp_path):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1], bind=f"https://unix:{tmp_path}/s.sock")
    with Conn(str(tmp_path / "s.sock"), tls=trusting()) as conn:
        assert conn.get("/hello").status == 200
    shown = subprocess.run([server.command[0], "--version"], capture_output=True, text=True, timeout=60).stdout
    assert re.search(r"libraries: OpenSSL 3\.", shown)


# ---- cost ------------------------------------------------------------------------------------------------------------

@pytest.mark.timing
def test_an_idle_connection_is_small(serve, authority, pair):
    server = serve("everything", "--certfile", pair[0], "--keyfile", pair[1])
    context, count = authority.client(), 400

    def one(_):
        conn = server.connect(tls=context)
        assert conn.get("/hello").status == 200
        return conn

    warm = [one(None) for _ in range(50)]
    before = private_memory(server.worker())
    held = [one(None) for _ in range(count)]
    # Of OpenSSL 3.0's own: 7.6 KB for its struct alone, 13.5 in all; without released buffers it would be 48.
    until(lambda: private_memory(server.worker()) - before <= 17 * count, 20, "at most 17 KiB for each idle TLS connection")
    for conn in warm + held:
        conn.close()


def private_memory(pid):
    """KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))


# ---- other ways to serve ---------------------------------------------------------------------------------------------

@pytest.mark.skipif(bool(CLASS), reason="chooses its class")
def test_websocket(serve, authority, pair):
    server = serve("asgi_sockets:application", "--certfile", pair[0], "--keyfile", pair[1])
    with server.connect(tls=authority.client()) as conn:
        conn.send(b"GET /echo HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert conn.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        for size in (5, 100, 60_000):
            head = bytes([0x82]) + (bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big"))
            conn.send(head + bytes(4) + b"m" * size)
            assert conn.recv_exactly(len(head)) == bytes([head[0], head[1] & 0x7f]) + head[2:]
            assert conn.recv_exactly(size) == b"m" * size


def test_barkeep_run(authority, pair, tmp_path):
    code = (f"import barkeep, sys\nsys.path.insert(0, {str(os.path.join(os.path.dirname(__file__), 'apps'))!r})\nimport everything\n"
            f"barkeep.run(everything.application, bind='127.0.0.1:0', certfile={str(pair[0])!r}, keyfile={str(pair[1])!r})\n")
    sanitizer = {"LD_PRELOAD": PRELOAD, "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"} if PRELOAD else {}
    running = subprocess.Popen([PYTHON, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=tmp_path,
                               env=dict(os.environ, **sanitizer))
    try:
        said = ""
        while "https://" not in said:
            line = running.stderr.readline()
            assert line, said
            said += line
        port = int(re.search(r"https://127.0.0.1:(\d+)", said)[1])
        with Conn(("127.0.0.1", port), tls=authority.client()) as conn:
            assert conn.get("/hello").body == b"Hello, World!"
    finally:
        running.send_signal(signal.SIGINT)
        running.stderr.read()
        running.stderr.close()
        running.wait(30)
