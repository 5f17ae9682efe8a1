"""The application that is measured: 13 bytes, a length, nothing else."""

BODY = b"Hello, World!"
FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "13")]


def application(environ, start_response):
    start_response("200 OK", FIELDS)
    return [BODY]


if __name__ == "__main__":  # bjoern has no command line
    import sys

    import bjoern
    bjoern.run(application, "127.0.0.1", int(sys.argv[1]))
