"""Real frameworks, used as their users use them: Flask, Django with its admin, Bottle."""
import hashlib
import re
import subprocess
import urllib.parse
from pathlib import Path

import pytest
from harness import Conn, procs
from harness.server import PRELOAD, PYPY, PYTHON

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
BOUNDARY = "----barkeep-test-boundary"


def installed(module):
    return subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


def urlencoded(**values):
    return urllib.parse.urlencode(values).encode()


def multipart(name, filename, content):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"


def cookies(answer):
    return dict(value.split(";")[0].split("=", 1) for value in answer.all("Set-Cookie"))


# ---- Flask -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def flask(shared):
    if not installed("flask"):
        pytest.skip("no Flask for this interpreter")
    return shared("app:app", cwd=EXAMPLES / "flask_app")


def test_flask_pages(flask):
    assert flask.get("/").body == b"<p>Hello from Flask</p>"
    assert flask.get("/user/7?q=%C3%A9").json() == {"id": 7, "q": "é"}
    assert flask.get("/nothing").status == 404 and flask.get("/secret").status == 403
    assert flask.get("/old").get("Location") == "/"
    assert flask.get("/", "HEAD").get("Content-Length") == "23"
    assert flask.get("/", "POST", body=b"").status == 405


def test_flask_form_and_upload(flask):
    assert flask.get("/form", "POST", [FORM], urlencoded(a="1 &", b="é")).json() == {"a": "1 &", "b": "é"}
    assert flask.get("/upload", "POST", [MULTIPART], multipart("file", "big.bin", b"u" * 3_000_000), timeout=30).json() == {
        "name": "big.bin", "size": 3_000_000}


def test_flask_stream(flask):
    answer = flask.get("/stream")
    assert answer.framing == "chunked" and answer.body.count(b"\n") == 1000


def test_flask_session(flask):
    jar = {}
    for number in range(1, 4):
        answer = flask.get("/visits", fields=["Cookie: " + "; ".join(f"{key}={value}" for key, value in jar.items())] if jar else [])
        jar.update(cookies(answer))
        assert answer.body == b"%d" % number


def test_flask_bug_is_flasks_500(flask):
    assert flask.get("/broken").status == 500
    flask.wait_log(r"ValueError: a bug in the view")


def test_flask_keeps_serving_on_one_connection(flask):
    with flask.connect() as conn:
        for number in range(50):
            assert conn.get(f"/user/{number}").json()["id"] == number


# ---- Django ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def database(tmp_path_factory):
    if not installed("django"):
        pytest.skip("no Django for this interpreter")
    path = tmp_path_factory.mktemp("django") / "db.sqlite3"
    import os
    environment = dict(os.environ, DJANGO_DATABASE=str(path), DJANGO_SUPERUSER_PASSWORD="barkeep")
    for command in (["migrate", "-v0"], ["createsuperuser", "--noinput", "--username", "admin", "--email", "a@example.com", "-v0"]):
        subprocess.run([PYTHON, "manage.py", *command], cwd=EXAMPLES / "django_site", env=environment, check=True, capture_output=True)
    return path


@pytest.fixture
def django(shared, database):
    server = shared("site_wsgi", cwd=EXAMPLES / "django_site", env={"DJANGO_DATABASE": str(database)})
    server.check_fds = False  # Django keeps its database open from the first query on
    return server


def csrf(answer):
    return re.search(r'name="?csrfmiddlewaretoken"? value="([^"]+)"', answer.text)[1]


def cookie_field(jar):
    return "Cookie: " + "; ".join(f"{key}={value}" for key, value in jar.items())


def test_django_pages(django):
    assert django.get("/").body == b"<p>Hello from Django"
    assert django.get("/nothing").status == 404
    assert django.get("/stream").body.count(b"\n") == 1000


def test_django_form_with_csrf(django):
    page = django.get("/form")
    jar, token = cookies(page), csrf(page)
    sent = django.get("/form", "POST", [FORM, cookie_field(jar)], urlencoded(csrfmiddlewaretoken=token, text="hällo"))
    assert sent.json() == {"text": "hällo"}
    assert django.get("/form", "POST", [FORM], urlencoded(text="no token")).status == 403


def test_django_upload_of_50_mb(django):
    """Through the spill file; neither worker nor master grows by the size of it."""
    content = hashlib.sha256(b"seed").digest() * (50_000_000 // 32)
    before = procs.rss_kb(django.worker())
    answer = django.get("/upload", "POST", [MULTIPART], multipart("file", "large.bin", content), timeout=120)
    assert answer.json() == {"file": {"name": "large.bin", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    if not PRELOAD:
        assert procs.rss_kb(django.worker()) - before < (150 if PYPY else 40) * 1024  # PyPy's collector lets a heap grow first


def test_django_admin(django):
    """Log in, read a page of the admin and its style sheet."""
    login = django.get("/admin/login/")
    assert login.status == 200 and "Django administration" in login.text
    fields = [FORM, cookie_field(cookies(login)), "Referer: http://test/admin/login/"]
    body = urlencoded(csrfmiddlewaretoken=csrf(login), username="admin", password="barkeep", next="/admin/")
    entered = django.get("/admin/login/", "POST", fields, body, timeout=30)
    assert entered.status == 302 and entered.get("Location") == "/admin/"
    page = django.get("/admin/", fields=[cookie_field({**cookies(login), **cookies(entered)})])
    assert page.status == 200 and "Site administration" in page.text
    sheet = re.search(r'href="(/static/admin/css/base[^"]*\.css)"', page.text)[1]
    answer = django.get(sheet)
    assert answer.status == 200 and answer.get("Content-Type").startswith("text/css")
    assert b"django" in answer.body.lower() and len(answer.body) > 5000
    stamp = answer.get("Last-Modified")
    assert django.get(sheet, fields=[f"If-Modified-Since: {stamp}"]).status == 304


def test_django_believes_the_proxy_about_https(django):
    """The endless redirect of a proxy that is not believed."""
    assert django.get("/secure").status == 302
    assert django.get("/secure", fields=["X-Forwarded-Proto: https"]).body == b"secure"


# ---- Bottle ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def bottle(shared):
    if not installed("bottle"):
        pytest.skip("no Bottle for this interpreter")
    return shared("bottle_app:app")


def test_bottle_pages(bottle):
    assert bottle.get("/hello/world").body == b"<b>Hello world</b>!"
    assert bottle.get("/nothing").status == 404
    assert bottle.get("/json").json() == {"a": 1}


def test_bottle_form(bottle):
    assert bottle.get("/form", "POST", [FORM], urlencoded(text="x y")).body == b"x y"


def test_bottle_static_file(bottle):
    """Its static_file() uses wsgi.file_wrapper when there is one."""
    answer = bottle.get("/source")
    assert answer.body == Path(__file__).with_name("apps").joinpath("bottle_app.py").read_bytes()
    part = bottle.get("/source", fields=["Range: bytes=10-19"])
    assert part.status == 206 and part.body == answer.body[10:20]


# ---- the example of `make run` -----------------------------------------------------------------------------------------

def test_hello_page(shared):
    server = shared(str(EXAMPLES / "hello.py"))
    page = server.get("/?a=<b>", fields=["User-Agent: <script>"])
    assert page.status == 200 and str(server.worker()) in page.text
    assert "<script>" not in page.text and "&lt;script&gt;" in page.text
    assert server.get("/plain").body == b"Hello, World!"
    with Conn(server.address) as conn:
        assert conn.get("/favicon.ico").status == 404
