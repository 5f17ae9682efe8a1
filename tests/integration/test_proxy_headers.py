"""Forwarding headers: believed from configured peers only."""
import pytest
from harness import Conn


def scheme(server, *fields):
    return server.get("/environ", fields=list(fields)).json()["wsgi.url_scheme"]


@pytest.mark.parametrize("field", ["X-Forwarded-Proto: https", "X-Forwarded-Protocol: ssl", "X-Forwarded-SSL: on", "x-forwarded-proto: https"])
def test_trusted_peer_says_https(shared, field):
    assert scheme(shared("everything:application"), field) == "https"


@pytest.mark.parametrize("field", ["X-Forwarded-Proto: http", "X-Forwarded-Protocol: plain", "X-Forwarded-SSL: off", "X-Other: https"])
def test_other_values_mean_http(shared, field):
    assert scheme(shared("everything:application"), field) == "http"


@pytest.mark.parametrize("field", ["X-Forwarded-Proto: https", "X-Forwarded-Protocol: ssl", "X-Forwarded-SSL: on"])
def test_other_peers_are_not_believed(shared, field):
    assert scheme(shared("everything:application", "--forwarded-allow-ips", "192.0.2.1"), field) == "http"


@pytest.mark.parametrize("networks, https", [("127.0.0.0/8", True), ("*", True), ("127.0.0.1/32", True), ("10.0.0.0/8,127.0.0.1", True),
                                             ("::1", False), ("128.0.0.0/8", False), ("", False)])
def test_networks(serve, networks, https):
    assert scheme(serve("everything", "--forwarded-allow-ips", networks), "X-Forwarded-Proto: https") == ("https" if https else "http")


def test_environment_variable(serve):
    server = serve("everything", env={"FORWARDED_ALLOW_IPS": "192.0.2.1"})
    assert scheme(server, "X-Forwarded-Proto: https") == "http"


def test_unix_peers_are_trusted(serve, tmp_path):
    server = serve("everything", bind=f"unix:{tmp_path}/s.sock")
    assert scheme(server, "X-Forwarded-Proto: https") == "https"


def test_conflicting_headers_are_refused(shared):
    """Two headers that disagree about the scheme: somebody is lying."""
    answer = shared("everything:application").get("/environ", fields=["X-Forwarded-Proto: https", "X-Forwarded-SSL: off"])
    assert answer.status == 400


def test_own_scheme_header(serve):
    server = serve("everything", "--secure-scheme-headers", "X-My-Scheme=tls")
    assert scheme(server, "X-My-Scheme: tls") == "https"
    assert scheme(server, "X-Forwarded-Proto: https") == "http"


def test_remote_addr_stays_the_peer(shared):
    """WSGI: REMOTE_ADDR does not change meaning; the header is there for who wants it."""
    seen = shared("everything:application").get("/environ", fields=["X-Forwarded-For: 203.0.113.9"]).json()
    assert seen["REMOTE_ADDR"] == "127.0.0.1" and seen["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"


def test_trust_is_per_request_not_remembered(shared):
    """A trusted header on one request of a connection says nothing about the next."""
    with shared("everything:application").connect() as conn:
        assert conn.get("/environ", fields=["X-Forwarded-Proto: https"]).json()["wsgi.url_scheme"] == "https"
        assert conn.get("/environ").json()["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize("policy, seen", [("drop", None), ("refuse", 400), ("dangerous", "evil")])
def test_underscore_policies(serve, policy, seen):
    server = serve("everything", "--header-map", policy)
    answer = server.get("/environ", fields=["X_Custom: evil"])
    if seen == 400:
        assert answer.status == 400
    else:
        assert answer.json().get("HTTP_X_CUSTOM") == seen


def test_the_first_dropped_name_is_logged(serve):
    server = serve("everything")
    for _ in range(20):
        server.get("/hello", fields=["X_Custom: evil"])
    server.wait_log(r"warning: .*X_Custom")
    server.stop()
    assert server.log.count("X_Custom") <= 2


def test_forwarder_headers(serve):
    """SCRIPT_NAME from a trusted proxy passes; from others it is dropped like any underscore."""
    server = serve("everything")
    assert server.get("/app/environ/x", fields=["SCRIPT_NAME: /app"]).status in (200, 404)
    with Conn(serve("everything", "--forwarded-allow-ips", "192.0.2.1").address) as conn:
        assert conn.get("/environ", fields=["SCRIPT_NAME: /evil"]).json()["SCRIPT_NAME"] == ""
