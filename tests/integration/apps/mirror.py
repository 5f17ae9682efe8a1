"""Shows every request as the application saw it, whatever its path: the conformance tables are judged through this."""
import json

CALLS = 0


def application(environ, start_response):
    global CALLS
    CALLS += 1
    seen = {key: value for key, value in environ.items() if isinstance(value, (str, bool))}
    seen["CALLS"] = CALLS
    if environ["PATH_INFO"] != "/unread":
        try:
            seen["BODY"] = environ["wsgi.input"].read().decode("latin-1")
        except OSError as error:
            seen["BODY_ERROR"] = type(error).__name__
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("X-App", "mirror")])
    return [body]
