"""Forks during a request; the child leaves by the normal way of the interpreter."""
import os
import sys


def application(environ, start_response):
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"parent"]
