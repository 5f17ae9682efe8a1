"""Reads its body piece by piece and says so on standard output."""
import threading

GO_ON = threading.Event()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        print("waiting", flush=True)
        GO_ON.wait(3)
    pieces = []
    try:
        while piece := environ["wsgi.input"].read(4):
            pieces.append(piece)
            print(f"got {piece!r}", flush=True)
    except Exception as error:
        print(f"read raised {type(error).__name__}", flush=True)
        raise
    body = b"".join(pieces)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
