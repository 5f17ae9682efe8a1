"""What the readers of files collect, in the order in which it is to be applied: later settings win over earlier ones, and all of
them over the environment; the command line wins over them. Values are checked by the master, which has the table of options and
says what is wrong with one in the same words for every source.
"""
from . import records

SIZE_MAX = 1 << 20  # bytes of an answer; the master takes no more


class Found:
    """`table` is the table.Table; `app` the application that a file names, None or (text, origin)."""

    def __init__(self, table):
        self.table = table
        self.app = None
        self.records = []
        self.size = 0
        self.failed = False

    def set(self, key, value, origin, typed=None):
        """A setting by Barkeep's key. `value` is text as one would write it in the environment, list items one a line; `origin` is
        what a user reads: "barkeep.toml line 7", "gunicorn.conf.py". `typed` is what the setting is called there."""
        assert key in self.table.by_key, key
        self.add("setting", key, typed or key, value, origin)

    def set_app(self, text, origin):
        self.app = (text, origin)
        self.add("app", text, origin)

    def add_hooks(self, path, names):
        """The file at `path` defines these hooks of Gunicorn."""
        self.add("hooks", path, " ".join(names))

    def add_file(self, path):
        """A file was read: it belongs to the settings."""
        self.add("read", path)

    def warn(self, text, word, detail=""):
        """`word` is a key of messages.def; `detail` further lines."""
        self.add("warning", word, text, detail)

    def error(self, text, word, detail=""):
        self.failed = True
        self.add("error", word, text, detail)

    def unknown(self, name, origin, is_error=True):
        """There is no such setting. The master adds names that are near."""
        self.failed = self.failed or is_error
        self.add("unknown", name, origin, "error" if is_error else "warning")

    def add(self, kind, *fields):
        record = records.encode(kind, *fields)
        self.size += len(record)
        if self.size > SIZE_MAX:
            raise TooMuch()
        self.records.append(record)

    def answer(self):
        return b"".join((*self.records, records.encode("end")))


class TooMuch(Exception):
    """More than a settings file can mean."""
