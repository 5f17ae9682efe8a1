"""What passes between the master and the config process: records, whose fields end with a NUL byte each. The first field is the
kind, which says how many more there are. src/master/settings.c is the other side.

The master's question arrives in a file of its own, the answer leaves on a pipe of its own: a settings file may print, and may
read standard input, without harm. An answer without "end" is no answer.
"""
import os

# kind: how many fields follow it
QUESTION = {
    "option": 8,    # key, name, letter, type, default, range, Gunicorn's name, uWSGI's names (spaces between); in the table's order
    "other": 5,     # a name that is no option: kind, name, letter, server, text; see table.Other
    "argument": 1,  # sys.argv, the program first
    "path": 1,      # an entry for sys.path that a bootstrap (PEX, zipapp) had made
    "limit": 1,     # after so many seconds there is nobody to answer any more
    "file": 2,      # what to read: kind (toml, gunicorn, uwsgi), name; in order, later ones win
    "end": 0,
}
ANSWER = {
    "setting": 4,   # key, what it is called there, value, origin
    "app": 2,       # the application, origin
    "hooks": 2,     # a file that defines hooks, their names with spaces between
    "unknown": 3,   # a name that is no setting, origin, "error" or "warning"
    "warning": 3,   # key of messages.def, text, further lines
    "error": 3,     # the same
    "read": 1,      # a file that was read, as it can be opened
    "end": 0,
}


class Broken(Exception):
    """The question cannot be read: the master is of another version."""


def read(fd, kinds=QUESTION):
    """The records of a file, as tuples (kind, field, ...), without the end."""
    with open(fd, "rb") as file:
        return list(parse(file.read(), kinds))


def parse(data, kinds=QUESTION):
    """The same of what has been read."""
    fields = iter(data.split(b"\0"))
    for field in fields:
        kind = field.decode()
        if kind == "end":
            return
        if kind not in kinds:
            break
        yield (kind, *(os.fsdecode(next(fields, b"")) for _ in range(kinds[kind])))
    raise Broken("the question of the master is cut short, or of another version")


def encode(kind, *fields, kinds=ANSWER):
    """One record. A NUL cannot be part of a field and is shown as what it is."""
    assert len(fields) == kinds[kind], kind
    return b"".join(as_bytes(field).replace(b"\0", rb"\x00") + b"\0" for field in (kind, *fields))


def as_bytes(text):
    """File names come back as the bytes they are; a lone surrogate that stands for no byte can only be shown."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
