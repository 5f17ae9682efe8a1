"""What `make run` serves: a page that shows your request as the application sees it, and who answered.

    barkeep examples/hello.py
"""
import html
import os
import platform
import sys
import time

STARTED = time.time()
served = 0

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Barkeep serves WSGI</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; padding: 0 1rem; color: #222; background: #fdfcf9 }}
  h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
  table {{ border-collapse: collapse; width: 100% }} td {{ padding: .2rem .6rem .2rem 0; vertical-align: top; border-top: 1px solid #e6e2d8 }}
  td:first-child {{ white-space: nowrap; color: #665 }} td:last-child {{ font-family: ui-monospace, monospace; word-break: break-all }}
</style>
<h1>Barkeep serves this page</h1>
<p>Worker <b>{pid}</b> answered its request number <b>{served}</b>; it has been up for {uptime:.0f} s.
<h2>Versions</h2>
<table>{versions}</table>
<h2>Your request</h2>
<table>{request}</table>
"""


def application(environ, start_response):
    global served
    served += 1
    if environ["PATH_INFO"] == "/plain":
        return answer(start_response, "text/plain", "Hello, World!")
    if environ["PATH_INFO"] != "/":
        return answer(start_response, "text/plain; charset=utf-8", "There is only / and /plain here.\n", "404 Not Found")
    page = PAGE.format(pid=os.getpid(), served=served, uptime=time.time() - STARTED, versions=table(versions(environ)),
                       request=table(request(environ)))
    return answer(start_response, "text/html; charset=utf-8", page)


def versions(environ):
    return [("barkeep", environ["SERVER_SOFTWARE"].partition("/")[2]), ("python", sys.version.split()[0]),
            ("interpreter", sys.executable), ("system", platform.platform())]


def request(environ):
    line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"
    fields = sorted((key, value) for key, value in environ.items() if key.startswith("HTTP_"))
    return [("request line", line), ("client", f"{environ['REMOTE_ADDR']} port {environ['REMOTE_PORT']}"), *fields]


def table(rows):
    return "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in rows)


def answer(start_response, content_type, text, status="200 OK"):
    body = text.encode("utf-8", "surrogateescape")
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]
