"""Builds environ from the marks of a request: a copy of the listener's constants, or of what the same client's last request
had (the header memo), and one slice of text for each value.
"""
import os

from .door import ffi, latin1, lib
from .engine import VERSION
from .objects import FileWrapper

MEMO_HIT, MEMO_KEEP = lib.BKPP_MEMO_HIT, lib.BKPP_MEMO_KEEP
NAMED = lib.BKPP_KEY_NAME
WORDS = {
    lib.BKPP_KEY_METHOD: "REQUEST_METHOD", lib.BKPP_KEY_PATH: "PATH_INFO", lib.BKPP_KEY_QUERY: "QUERY_STRING",
    lib.BKPP_KEY_RAW_URI: "RAW_URI", lib.BKPP_KEY_REQUEST_URI: "REQUEST_URI", lib.BKPP_KEY_PROTOCOL: "SERVER_PROTOCOL",
    lib.BKPP_KEY_REMOTE_ADDR: "REMOTE_ADDR", lib.BKPP_KEY_REMOTE_PORT: "REMOTE_PORT", lib.BKPP_KEY_SERVER_NAME: "SERVER_NAME",
    lib.BKPP_KEY_SERVER_PORT: "SERVER_PORT", lib.BKPP_KEY_SCRIPT_NAME: "SCRIPT_NAME", lib.BKPP_KEY_REQUEST_ID: "barkeep.request_id",
}


def make_keys():
    """The key of each number, None where there is none."""
    keys = [None] * lib.BKPP_KEY_END
    room = ffi.new("char[64]")
    number = 0
    while lib.bkpp_header_key(number, room, 64):
        keys[number] = ffi.string(room).decode() or None
        number += 1
    for number, word in WORDS.items():
        keys[number] = word
    return keys


KEYS = make_keys()


def mount():
    """SCRIPT_NAME of the process's environment mounts the application there, as under Gunicorn."""
    return os.fsencode(os.environ.get("SCRIPT_NAME", "")).rstrip(b"/")


def templates(worker, errors, threads):
    """The constants of each listener, for http and for https."""
    found = []
    several = worker.setting("workers") not in ("", "1")
    names, lengths = ffi.new("const char *[3]"), ffi.new("size_t[3]")
    for n in range(lib.bkpp_listener_count(worker._live)):
        lib.bkpp_listener(worker._live, n, names, lengths)
        for scheme in ("http", "https"):
            constants = {
                "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "barkeep/" + VERSION, "SCRIPT_NAME": mount().decode("latin-1"),
                "wsgi.version": (1, 0), "wsgi.url_scheme": scheme, "wsgi.errors": errors, "wsgi.multithread": threads > 1,
                "wsgi.multiprocess": several, "wsgi.run_once": False, "wsgi.input_terminated": True,
                "wsgi.file_wrapper": FileWrapper,
            }
            if lengths[1]:
                constants["SERVER_NAME"] = latin1(names[0], lengths[0])
                constants["SERVER_PORT"] = latin1(names[1], lengths[1])
            found.append(constants)
    return found


def make(host, door, ticket):
    """The environ of the request in the door, without the objects of its own."""
    memo = door.memo
    if memo == MEMO_HIT:
        version, kept = host.memo[door.slot]
        if version == door.memo_version:
            environ = kept.copy()
            fill(environ, door)
            return environ
        lib.bkpp_describe(door, ticket)
        memo = door.memo
    environ = host.templates[door.template_index].copy()
    fill(environ, door)
    if memo == MEMO_KEEP:
        host.memo[door.slot] = (door.memo_version, environ.copy())
    return environ


def fill(environ, door):
    text = ffi.unpack(door.text, door.text_len).decode("latin-1")
    marks, key = door.marks, None
    strong = door.count - door.weak_count
    for n in range(strong):
        mark = marks[n]
        number, at = mark.key, mark.at
        if number == NAMED:
            key = text[at:at + mark.len]
        elif key is None:
            environ[KEYS[number]] = text[at:at + mark.len]
        else:
            environ[key] = text[at:at + mark.len]
            key = None
    if door.weak_count:
        for n in range(strong, door.count, 2):
            name, value = marks[n], marks[n + 1]
            environ.setdefault(text[name.at:name.at + name.len], text[value.at:value.at + value.len])


def forget(host, door):
    """Drops what belongs to connections that are idle or gone."""
    while True:
        slot = lib.bkpp_forgotten(door)
        if slot < 0:
            return
        host.memo[slot] = (0, None)
