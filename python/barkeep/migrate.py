"""`barkeep migrate FILE...` and `barkeep migrate 'COMMAND LINE'`: what each line of a uwsgi.ini, a gunicorn.conf.py or a command line
becomes, what changes its meaning, what is refused, and the barkeep.toml that results. All of it is one valid TOML document: the
account stands in comments, so `barkeep migrate uwsgi.ini > barkeep.toml` is the migration.

A gunicorn.conf.py is a program and is run, as by Gunicorn; nothing else of the application is.
"""
import os
import re
import sys

from .migrate_words import command_line
from .toml_text import toml_lines
from .words import clean

USAGE = """usage: barkeep migrate FILE [FILE...]
       barkeep migrate 'gunicorn -w 4 shop.wsgi'

FILE: uwsgi.ini (or uwsgi.ini:section, .yaml, .json), gunicorn.conf.py. A command line, in quotes, of gunicorn,
uwsgi or uvicorn. Prints a barkeep.toml with an account of every line in comments; exit code 2 when a line
is refused."""
COLUMN = 44  # where the account of a line begins


class Line:
    """An account of one line: where and how it is written, what it becomes. `kind` as in config.uwsgi_options.Meaning."""
    __slots__ = ("place", "shown", "kind", "text", "detail")

    def __init__(self, place, shown, kind, text="", detail=""):
        self.place, self.shown, self.kind, self.text, self.detail = place, shown, kind, text, detail


class Account:
    """All lines of one source. `values` is {key: [value, ...]} in the order of the file; `remarks` {key: comment}."""

    def __init__(self, table):
        self.table = table
        self.lines, self.values, self.app, self.remarks, self.trouble = [], {}, None, {}, None

    def set(self, key, value):
        option = self.table.by_key[key]
        items = [item for item in value.split("\n") if item] if option.type == "LIST" else [value]
        if option.type == "LIST":
            self.values.setdefault(key, []).extend(items)
        else:
            self.values[key] = items

    def add(self, *fields):
        self.lines.append(Line(*fields))


def main(words):
    if not words or {"-h", "--help"} & set(words):
        print(USAGE)
        return 0 if words else 2
    account = Account(native_table())
    for word in words:
        try:
            read(word, account)
        except Refusal as refusal:
            from .command import complain
            return complain(refusal.key, refusal.text, *refusal.lines)
    print("\n".join(document(words, account)))
    return 2 if any(line.kind == "refused" for line in account.lines) or account.trouble else 0


class Refusal(Exception):
    def __init__(self, key, text, *lines):
        super().__init__(text)
        self.key, self.text, self.lines = key, text, lines


def native_table():
    """options.def, as the master tells the config process."""
    import subprocess

    from .__main__ import NATIVE
    from .config.records import parse
    from .config.table import Table
    said = subprocess.run([NATIVE, "--invoker-wants", "table"], stdout=subprocess.PIPE, check=True)
    return Table(list(parse(said.stdout)))


def read(word, account):
    if " " in word.strip() and not os.path.exists(word):
        command_line(word, account, Refusal)
        return
    path = word if os.path.exists(word) else word.rpartition(":")[0]
    if not os.path.isfile(path):
        raise Refusal("config-file", f"no file '{word}'", "try: barkeep migrate uwsgi.ini", "or a command line in quotes: barkeep migrate 'gunicorn shop.wsgi'")
    name = os.path.basename(path)
    if name.endswith(".py"):
        read_gunicorn(path, account)
    elif name.endswith(".toml"):
        raise Refusal("config-file", f"'{path}' is TOML: Barkeep's own")
    else:
        read_uwsgi(word, account)


# ---- uWSGI --------------------------------------------------------------------------------------------------------------------

def read_uwsgi(name, account, words=None):
    """A file, or the words behind `uwsgi`."""
    from .config.uwsgi import split_words, worded
    from .config.uwsgi_ini import Reader, Trouble
    reader = Reader()
    try:
        if words is None:
            reader.read_file(name)
        else:
            reader.read_words(words, split_words)
        reader.finish()
    except Trouble as trouble:
        raise Refusal("config-file", worded(trouble), *filter(None, [trouble.detail])) from None
    take_uwsgi(reader, account)


def take_uwsgi(reader, account):
    from .config.uwsgi import of_comment, seen_by_the_application
    from .config.uwsgi_options import Settings
    settings = Settings(reader.settings, account.table, reader.referred, environ={})
    notes = dict(reader.notes)
    for line, meaning in settings.meanings:
        account.add(line.place, shown(line), meaning.kind, meaning.text, "\n".join(filter(None, [meaning.detail, of_comment(line),
                                                                                                 notes.pop(line.place, "")])))
    for key, values in settings.values.items():
        for value, _ in values:
            account.set(key, value)
    for key, value in settings.defaults:
        account.set(key, value)
        account.remarks[key] = f"what uWSGI does when nothing is said; Barkeep: {account.table.by_key[key].default or 'by the terminal'}"
    if settings.app:
        account.app = settings.app[0]
    if imports_uwsgi():
        for text in seen_by_the_application(settings):
            account.set("uwsgi_opt", text)
        account.remarks["uwsgi_opt"] = "the application imports uwsgi, and finds these in uwsgi.opt"


def shown(line):
    """As it was written, without what may be a secret."""
    value = line.value
    if value is None:
        return line.name
    if re.match(r"env$|set", line.name):
        name, equals, _ = value.partition("=")
        value = f"{name}=..." if equals else name
    return f"{line.name} = {value}" if value else line.name


def imports_uwsgi():
    """Whether a Python file around imports the module; read, not imported."""
    from .discover import FILE_BYTES, files
    for path in files(os.getcwd()):
        try:
            with open(path, "rb") as file:
                if re.search(rb"^[ \t]*(import|from)[ \t]+uwsgi(decorators)?\b", file.read(FILE_BYTES), re.M):
                    return True
        except OSError:
            pass
    return False


# ---- Gunicorn -----------------------------------------------------------------------------------------------------------------

def read_gunicorn(path, account):
    """The reader of the config process says what it would say to the master."""
    from .config import gunicorn
    from .config.found import Found
    from .config.problem import Problem
    said = []

    class Listening(Found):
        def add(self, kind, *fields):
            said.append((kind, fields))
    found = Listening(account.table)
    arguments, sys.argv = sys.argv, ["barkeep"]
    try:
        gunicorn.read(path, found)
    except Problem as problem:
        raise Refusal(problem.word, problem.text, *filter(None, problem.detail.split("\n"))) from None
    finally:
        sys.argv = arguments
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().split("\n")
    for kind, fields in said:
        take_record(kind, fields, account, path, text)


def take_record(kind, fields, account, path, text):
    if kind == "setting":
        key, typed, value, origin = fields
        place, line = line_of(typed, text, path)
        account.set(key, value)
        account.add(place or origin, line or f"{typed} = {value}" if key != "env" else f"{typed} = ...", "same", account.table.by_key[key].name)
    elif kind == "app":
        account.app = fields[0]
        account.add(*(part or fields[1] for part in line_of("wsgi_app", text, path)), "same", "app")
    elif kind == "hooks":
        for name in fields[1].split():
            place, line = line_of(name, text, path)
            account.add(place or path, line or name, "hook", "a hook, which Barkeep runs out of this file: keep it and start with -c " + path)
        account.trouble = account.trouble or ""
    elif kind in ("warning", "error"):
        account.add(path, "", "refused" if kind == "error" else "changed", fields[1], fields[2])
    elif kind == "unknown":
        account.add(path, fields[0], "refused" if fields[2] == "error" else "unknown", f"no setting of Gunicorn: {fields[1]}")


def line_of(name, text, path):
    for number, line in enumerate(text, 1):
        if re.match(rf"(def\s+)?{re.escape(name)}\s*[=(:]", line):
            return f"{path} line {number}", line.strip()
    return "", ""


# ---- the document -------------------------------------------------------------------------------------------------------------

KINDS = {
    "already": "already so", "note": "", "same": "", "hook": "", "changed": "CHANGED", "refused": "REFUSED", "unknown": "UNKNOWN",
    "placeholder": "a placeholder", "reading": "",
}


def document(words, account):
    yield f"# barkeep.toml, made by: barkeep migrate {' '.join(clean(quoted(word)) for word in words)}"
    yield "#"
    for line in account.lines:
        yield from account_of(line)
    yield "#"
    yield from summary(account)
    yield ""
    yield from toml_lines(account.table, account.app, account.values, account.remarks)


def account_of(line):
    where = line.place.rpartition(" line ")[2]
    left = f"# {where if where.isdigit() else '':>4}  {clean(line.shown, 200)}"
    title = KINDS[line.kind]
    text = f"{title}: {line.text}" if title and line.text else title or line.text
    if not text:
        yield left
        return
    if len(left) >= COLUMN:
        yield left
        left = "#"
    yield f"{left:<{COLUMN}}{clean(text)}"
    for more in line.detail.split("\n") if line.detail else ():
        yield f"{'#':<{COLUMN}}{clean(more)}"


def summary(account):
    def count(kind, one, many):
        lines = [line for line in account.lines if line.kind == kind]
        return f"{len(lines)} {one if len(lines) == 1 else many}" if lines else ""
    parts = list(filter(None, (count("refused", "line is refused", "lines are refused"),
                               count("changed", "line changes its meaning", "lines change their meaning"),
                               count("unknown", "line is unknown to the other server too", "lines are unknown to the other server too"))))
    yield "# " + ("; ".join(parts) if parts else "every line is taken, or true already")
    if any(line.kind == "refused" for line in account.lines):
        yield "# what is refused is left out below: somebody else has to do it first"


def quoted(word):
    import shlex
    return shlex.quote(word)
