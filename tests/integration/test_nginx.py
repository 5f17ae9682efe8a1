"""A real nginx in front, as in most deployments: keep-alive upstreams, https at the proxy, a unix socket."""
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from harness import Conn, procs, request, until
from harness.server import PYTHON

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = pytest.mark.skipif(not NGINX, reason="no nginx here")

CONFIG = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 100m;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream app {{ server {upstream}; keepalive 8; }}
  server {{
    listen unix:{dir}/front.sock;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https; {extra}
    }}
  }}
}}
"""


def listens(path):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@pytest.fixture
def behind(serve, tmp_path):
    """behind(app, *options, extra=...) -> (server, path of nginx's socket)"""
    running = []

    def start(app="everything", *options, extra="", **more):
        server = serve(app, *options, **more)
        upstream = f"unix:{server.address}" if isinstance(server.address, str) else "%s:%d" % server.address
        (tmp_path / "nginx.conf").write_text(CONFIG.format(dir=tmp_path, upstream=upstream, extra=extra))
        nginx = subprocess.Popen([NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log"), "-p", str(tmp_path)])
        running.append(nginx)
        until(lambda: listens(str(tmp_path / "front.sock")), 10, "nginx to listen")
        return server, str(tmp_path / "front.sock")

    yield start
    for nginx in running:
        nginx.send_signal(signal.SIGQUIT)
        try:
            nginx.wait(10)
        finally:
            nginx.kill()
            nginx.wait()


def test_pages_and_scheme(behind):
    server, front = behind()
    with Conn(front) as conn:
        seen = conn.get("/environ?a=b", fields=["X-A: b"]).json()
        assert seen["wsgi.url_scheme"] == "https" and seen["HTTP_HOST"] == "test" and seen["QUERY_STRING"] == "a=b"
        for _ in range(50):
            assert conn.get("/hello").body == b"Hello, World!"


def test_upstream_connections_are_kept(behind):
    server, front = behind()
    with Conn(front) as conn:
        ports = {conn.get("/environ").json()["REMOTE_PORT"] for _ in range(20)}
    assert len(ports) == 1


def test_over_a_unix_socket(behind, tmp_path):
    (tmp_path / "up").mkdir()
    server, front = behind(bind=f"unix:{tmp_path}/up/app.sock")
    with Conn(front) as conn:
        assert conn.get("/environ").json()["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_uploads(behind, buffering):
    server, front = behind(extra=f"proxy_request_buffering {buffering}; proxy_buffering {buffering};")
    body = b"0123456789abcdef" * 300_000
    with Conn(front, timeout=60) as conn:
        conn.send(request("/digest", "POST", body=body))
        assert conn.response().json() == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        conn.send(request("/digest", "POST", ["Transfer-Encoding: chunked"]) + b"5\r\nhello\r\n0\r\n\r\n")
        assert conn.response().json()["length"] == 5


def test_large_answers_to_a_slow_client(behind):
    server, front = behind()
    with Conn(front, timeout=60) as conn:
        conn.send(request("/size?n=5000000&pieces=50&length=no"))
        assert len(conn.response().body) == 5_000_000


def test_no_502_when_workers_are_killed_or_the_server_restarts_workers(behind):
    """Idle upstream connections of a worker that is replaced: nginx retries, the client sees 200."""
    server, front = behind(workers=2)
    with Conn(front) as conn:
        for turn in range(6):
            for _ in range(10):
                assert conn.get("/hello").status == 200
            if turn % 2:
                victim = server.workers()[0]
                os.kill(victim, signal.SIGKILL)
                until(lambda: len(server.workers()) == 2 and victim not in server.workers(), 15, "the new worker")


def test_concurrent_clients(behind):
    server, front = behind(workers=2)
    failures = []

    def client(number):
        with Conn(front, timeout=30) as conn:
            for turn in range(50):
                answer = conn.get(f"/environ?{number}-{turn}")
                if answer.status != 200 or answer.json()["QUERY_STRING"] != f"{number}-{turn}":
                    failures.append(answer)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_client_that_leaves_frees_the_worker(behind):
    server, front = behind(extra="proxy_buffering off;")
    with Conn(front, receive_buffer=4096) as conn:
        conn.send(request("/endless?n=10000"))
        conn.recv_exactly(50_000)
        conn.reset()
    with Conn(front, timeout=20) as conn:
        until(lambda: conn.get("/counts").json()["closed"] == 1, 20, "close() of the body")
    assert procs.alive(server.worker())


SITE = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  include {dir}/site.conf;
}}
"""


@pytest.mark.parametrize("asgi", [False, True])
def test_the_site_that_init_prints(serve, tmp_path, asgi):
    """`barkeep init nginx`, with other addresses than the printed ones and nothing else changed."""
    shop = tmp_path / "shop"
    shop.mkdir()
    text = "from fastapi import FastAPI\napp = FastAPI()\n" if asgi else "def application(environ, start_response):\n    pass\n"
    (shop / "app.py").write_text(text)
    site = subprocess.run([PYTHON, "-m", "barkeep", "init", "nginx"], cwd=shop, capture_output=True, text=True, timeout=60, check=True).stdout
    server = serve("everything", bind=f"unix:{tmp_path}/web.sock")
    assert "unix:/run/shop/web.sock" in site and "listen 80;" in site
    (tmp_path / "site.conf").write_text(site.replace("/run/shop/web.sock", f"{tmp_path}/web.sock").replace("listen 80;", f"listen unix:{tmp_path}/front.sock;"))
    (tmp_path / "nginx.conf").write_text(SITE.format(dir=tmp_path))
    nginx = subprocess.Popen([NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log"), "-p", str(tmp_path)])
    try:
        until(lambda: listens(f"{tmp_path}/front.sock"), 10, "nginx to listen")
        with Conn(f"{tmp_path}/front.sock") as conn:
            seen = conn.get("/environ").json()
            assert seen["HTTP_HOST"] == "test" and seen["wsgi.url_scheme"] == "http" and seen["HTTP_X_REQUEST_ID"]
            for _ in range(20):
                assert conn.get("/hello").body == b"Hello, World!"
    finally:
        nginx.send_signal(signal.SIGQUIT)
        try:
            nginx.wait(10)
        finally:
            nginx.kill()
            nginx.wait()
    assert server.stop() == 0
