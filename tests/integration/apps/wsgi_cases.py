"""Small WSGI applications, one attribute each, for what PEP 3333 allows, demands and forbids. `mount` picks one by path."""
import io
import json
import sys
from wsgiref.validate import validator

OK = "200 OK"
PLAIN = [("Content-Type", "text/plain")]
CLOSED = []


class Body:
    """An iterable whose close() is noted by name."""

    def __init__(self, name, pieces, fail_at=None):
        self.name, self.pieces, self.fail_at = name, iter(pieces), fail_at
        self.given = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.given == self.fail_at:
            raise RuntimeError("the body failed")
        self.given += 1
        return next(self.pieces)

    def close(self):
        CLOSED.append(self.name)


def mount(environ, start_response):
    name, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    environ["case.rest"] = rest
    return globals()[name](environ, start_response)


def closed(environ, start_response):
    start_response(OK, PLAIN)
    return [json.dumps(CLOSED).encode()]


def list_of_one(environ, start_response):
    start_response(OK, PLAIN)
    return [b"one item"]


def list_of_two(environ, start_response):
    start_response(OK, PLAIN)
    return [b"two ", b"items"]


def tuple_of_one(environ, start_response):
    start_response(OK, PLAIN)
    return (b"a tuple",)


def empty_list(environ, start_response):
    start_response(OK, PLAIN)
    return []


def empty_strings(environ, start_response):
    start_response(OK, PLAIN)
    return [b"", b"a", b"", b"", b"b", b""]


def generator(environ, start_response):
    start_response(OK, PLAIN)
    yield b"gen"
    yield b"erated"


def bytes_body(environ, start_response):
    """Legal though silly: bytes are iterable, into integers, which are not bytes."""
    start_response(OK, PLAIN)
    return b"raw"


def str_body(environ, start_response):
    start_response(OK, PLAIN)
    return ["text"]


def bytearray_body(environ, start_response):
    start_response(OK, PLAIN)
    return [bytearray(b"array")]


def none_body(environ, start_response):
    start_response(OK, PLAIN)
    return None


def no_start(environ, start_response):
    return [b"never started"]


def no_start_empty(environ, start_response):
    return []


def start_twice(environ, start_response):
    start_response(OK, PLAIN)
    start_response("404 Not Found", PLAIN)
    return [b"x"]


def exc_info_before_body(environ, start_response):
    """The error page replaces what was announced."""
    start_response(OK, PLAIN + [("X-First", "yes")])
    try:
        raise ValueError("early")
    except ValueError:
        start_response("503 Service Unavailable", PLAIN + [("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


def exc_info_after_body(environ, start_response):
    """The head is on its way: start_response must raise the exception again."""
    start_response(OK, PLAIN)
    yield b"x" * 10_000
    yield b"y" * 10_000
    try:
        raise ValueError("late")
    except ValueError:
        start_response("500 Oops", PLAIN, sys.exc_info())
    yield b"never sent"


def exc_info_after_empty(environ, start_response):
    """Nothing but an empty string was yielded: the head need not be sent yet, so it may be replaced."""
    start_response(OK, PLAIN)
    yield b""
    try:
        raise ValueError("early enough")
    except ValueError:
        start_response("503 Service Unavailable", PLAIN, sys.exc_info())
    yield b"replaced"


def write_then_list(environ, start_response):
    write = start_response(OK, PLAIN)
    write(b"written ")
    write(b"")
    return [b"returned"]


def write_only(environ, start_response):
    start_response(OK, PLAIN)(b"written")
    return []


def write_str(environ, start_response):
    start_response(OK, PLAIN)("text")
    return []


def write_large(environ, start_response):
    write = start_response(OK, PLAIN)
    for _ in range(100):
        write(b"w" * 100_000)
    return []


def raise_in_call(environ, start_response):
    raise RuntimeError("in the call <&> \x1b[2J")


def raise_after_start(environ, start_response):
    start_response(OK, PLAIN)
    raise RuntimeError("after start_response")


def raise_first(environ, start_response):
    start_response(OK, PLAIN)
    return Body("raise_first", [b"a"], fail_at=0)


def raise_midway(environ, start_response):
    start_response(OK, PLAIN)
    return Body("raise_midway", [b"a" * 5000] * 3, fail_at=2)


def raise_midway_with_length(environ, start_response):
    start_response(OK, PLAIN + [("Content-Length", "15000")])
    return Body("raise_midway_with_length", [b"a" * 5000] * 3, fail_at=2)


def raise_system_exit(environ, start_response):
    raise SystemExit(7)


def raise_keyboard_interrupt(environ, start_response):
    raise KeyboardInterrupt


def raise_in_close(environ, start_response):
    class Failing(Body):
        def close(self):
            super().close()
            raise RuntimeError("in close")
    start_response(OK, PLAIN)
    return Failing("raise_in_close", [b"whole"])


def close_noted(environ, start_response):
    start_response(OK, PLAIN)
    return Body(environ["case.rest"], [b"a", b"b"])


def close_noted_length(environ, start_response):
    start_response(OK, PLAIN + [("Content-Length", "2")])
    return Body(environ["case.rest"], [b"a", b"b"])


def close_noted_too_long(environ, start_response):
    start_response(OK, PLAIN + [("Content-Length", "3")])
    return Body(environ["case.rest"], [b"ab", b"cd", b"ef"])


def close_noted_endless(environ, start_response):
    def forever():
        while True:
            yield b"e" * 65536
    start_response(OK, PLAIN)
    return Body(environ["case.rest"], forever())


def too_long(environ, start_response):
    start_response(OK, PLAIN + [("Content-Length", "5")])
    return [b"hello world"]


def too_short(environ, start_response):
    start_response(OK, PLAIN + [("Content-Length", "50")])
    return [b"hello"]


def status_from_query(environ, start_response):
    start_response(environ["QUERY_STRING"].replace("+", " "), PLAIN)
    return [b"a body that may not be sent"]


def no_body_with_length(environ, start_response):
    start_response("304 Not Modified", [("Content-Length", "1234"), ("ETag", '"x"')])
    return []


FIELDS = {
    "cr-in-value": [("X-A", "b\rc")], "lf-in-value": [("X-A", "b\nSet-Cookie: x=y")], "crlf-in-value": [("X-A", "b\r\nX-B: c")],
    "nul-in-value": [("X-A", "b\0c")], "crlf-in-name": [("X-A\r\nX-B", "c")], "space-in-name": [("X A", "c")],
    "colon-in-name": [("X:A", "c")], "empty-name": [("", "c")], "two-lengths": [("Content-Length", "5"), ("Content-Length", "6")],
    "bad-length": [("Content-Length", "five")], "negative-length": [("Content-Length", "-5")], "not-latin1": [("X-A", "\u20ac")],
    "value-bytes": [("X-A", b"bytes")], "value-int": [("X-A", 5)], "name-bytes": [(b"X-A", "b")], "three": [("X-A", "b", "c")],
    "not-a-pair": ["X-A: b"], "not-a-list": (("X-A", "b"),), "none": None, "del-in-value": [("X-A", "b\x7f")],
}
STATUSES = {
    "no-reason": "200", "only-space": "200 ", "not-a-number": "OK", "two-digits": "20 OK", "four-digits": "2000 OK", "crlf": "200 OK\r\nX: y",
    "lf": "200 OK\nX: y", "nul": "200 O\0K", "bytes": b"200 OK", "int": 200, "interim": "100 Continue", "leading-space": " 200 OK",
    "not-latin1": "200 \u20ac", "none": None, "six-hundred": "600 Odd", "ninety-nine": "099 Odd",
}


def bad_fields(environ, start_response):
    start_response(OK, FIELDS[environ["case.rest"]])
    return [b"x"]


def bad_status(environ, start_response):
    start_response(STATUSES[environ["case.rest"]], PLAIN)
    return [b"x"]


def hop_by_hop(environ, start_response):
    start_response(OK, PLAIN + [(environ["case.rest"], environ["QUERY_STRING"])])
    return [b"x"]


def many_fields(environ, start_response):
    start_response(OK, PLAIN + [("Set-Cookie", f"c{n}=v") for n in range(50)] + [("X-Latin", "caf\xe9")])
    return [b"x"]


def large_field(environ, start_response):
    start_response(OK, PLAIN + [("X-Large", "v" * 100_000)])
    return [b"x"]


def keeps_environ(environ, start_response):
    """Changes its environ freely; the next request must not see it."""
    seen = "left.behind" in environ or environ.get("HTTP_HOST") == "spoiled"
    environ["left.behind"] = True
    environ["HTTP_HOST"] = "spoiled"
    environ["wsgi.url_scheme"] = "spoiled"
    environ.pop("SERVER_NAME")
    start_response(OK, PLAIN)
    return [str(seen).encode()]


def exact_types(environ, start_response):
    types = {key: type(value).__name__ for key, value in environ.items()}
    types["environ"] = type(environ).__name__
    start_response(OK, PLAIN)
    return [json.dumps(types).encode()]


def file_like_without_fileno(environ, start_response):
    start_response(OK, PLAIN)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"f" * 100_000))


@validator
def validated(environ, start_response):
    """Under wsgiref's validator, which raises on anything either side does wrong."""
    stream = environ["wsgi.input"]
    body = stream.readline() + stream.read(5) + b"".join(stream.readlines()) + b"".join(stream)
    environ["wsgi.errors"].write("validated\n")
    environ["wsgi.errors"].writelines(["more\n"])
    environ["wsgi.errors"].flush()
    start_response(OK, PLAIN)
    return [body or b"nothing"]


@validator
def validated_write(environ, start_response):
    start_response(OK, PLAIN)(b"written")
    return [b"returned"]


@validator
def validated_generator(environ, start_response):
    start_response(OK, PLAIN)
    return (piece for piece in (b"a", b"b"))
