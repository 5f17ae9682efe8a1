"""barkeep.toml: settings by their keys at the top, and a table [env]. Typed; whatever is unknown is an error."""
import re

from .problem import Problem
from .table import flat

LINE_OF_KEY = r"\s*(?:{0}|\"{0}\"|'{0}')\s*="


def read(name, found):
    text = read_text(name)
    parser = toml_parser(name)
    try:
        settings = parser.loads(text)
    except parser.TOMLDecodeError as error:
        raise broken(name, str(error)) from None
    except RecursionError:
        raise Problem(f"{name}: nested too deeply", "config-file") from None
    found.add_file(name)
    for key, value in settings.items():
        read_setting(key, value, Place(name, text, key), found)


def read_text(name):
    try:
        with open(name, "rb") as file:
            return file.read().decode()
    except OSError as error:
        raise Problem(f"cannot read {name}: {error.strerror}", "config-file") from None
    except UnicodeDecodeError as error:
        line = error.object[:error.start].count(b"\n") + 1
        raise Problem(f"{name} line {line}: not UTF-8", "config-file") from None


def toml_parser(name):
    try:
        import tomllib
        return tomllib
    except ModuleNotFoundError:
        pass
    try:
        import tomli
        return tomli
    except ModuleNotFoundError:
        import sys
        raise Problem(f"{name} needs a TOML reader, which python {sys.version_info[0]}.{sys.version_info[1]} does not have",
                      "config-file", f"try: {sys.executable} -m pip install tomli") from None


def broken(name, complaint):
    """`Invalid value (at line 3, column 5)` as we write places."""
    match = re.fullmatch(r"(.*) \((?:at line (\d+), column \d+|at end of document)\)", complaint)
    if not match:
        return Problem(f"{name}: {complaint}", "config-file")
    return Problem(f"{name}{f' line {match[2]}' if match[2] else ''}: {match[1][0].lower()}{match[1][1:]}", "config-file")


class Place:
    """Where a key stands: "barkeep.toml line 7". The parser does not tell, so the line is looked for."""

    def __init__(self, name, text, key, table=""):
        self.name, self.text, self.key = name, text, key
        self.line = self.find(text.splitlines(), table)

    def __str__(self):
        return f"{self.name} line {self.line}" if self.line else self.name

    def within(self, key):
        """Of a key in this table."""
        return Place(self.name, self.text, key, self.key)

    def find(self, lines, wanted):
        inside, pattern = "", re.compile(LINE_OF_KEY.format(re.escape(self.key)))
        for number, line in enumerate(lines, 1):
            header = re.match(r"\s*\[+\s*([\w.\"'-]+)\s*\]+", line)
            if header:
                inside = header[1].strip("\"'")
                if not wanted and inside.split(".")[0] == self.key:
                    return number
            elif inside == wanted and pattern.match(line):
                return number
        return 0


def read_setting(key, value, place, found):
    option = found.table.named(key) or found.table.by_key.get(key)
    if key == "app" and isinstance(value, str):
        found.set_app(value, str(place))
    elif key == "env" and isinstance(value, dict):
        read_env(value, place, found)
    elif option is None:
        unknown(key, value, place, found)
    else:
        try:
            found.set(option.key, as_text(option, value), str(place), key)
        except ValueError as error:
            found.error(f"{place}: {key} {shown(value)}: {error}", "option-value")


def read_env(table, place, found):
    lines = []
    for name, value in table.items():
        if isinstance(value, str) and name and "=" not in name and "\n" not in value + name:
            lines.append(f"{name}={value}")
        else:
            found.error(f"{place.within(name)}: [env] takes NAME = \"value\", in one line", "option-value")
    if lines:
        found.set("env", "\n".join(lines), str(place))


def as_text(option, value):
    """The value as text, or ValueError that says what would be right."""
    kind = option.type
    if isinstance(value, bool):
        if kind == "BOOL" or kind == "WORD" and "off" in option.range.split("|"):
            return "on" if value else "off"
    elif isinstance(value, int):
        if kind in ("INT", "AUTO", "SIZE", "TIME"):
            return str(value)
    elif isinstance(value, float):
        if kind == "TIME":
            return f"{value:f}".rstrip("0").rstrip(".")
    elif isinstance(value, str):
        if kind in ("SIZE", "TIME", "TEXT", "WORD", "LIST") or kind == "AUTO" and value == "auto":
            return one_line(value)
    elif isinstance(value, list) and kind == "LIST" and all(isinstance(item, str) for item in value):
        return "\n".join(map(one_line, value))
    raise ValueError(wanted(option))


def one_line(text):
    if "\n" in text:
        raise ValueError("one line, please")
    return text


def wanted(option):
    return {
        "BOOL": "true or false",
        "INT": "a number, without quotes",
        "AUTO": "a number, without quotes, or \"auto\"",
        "SIZE": "a number of bytes, or \"64K\", \"10M\", \"1G\"",
        "TIME": "a number of seconds, or \"250ms\", \"30s\", \"5m\", \"1h\"",
        "LIST": "a text in quotes, or a list of such: [\"...\", \"...\"]",
    }.get(option.type, "a text in quotes")


def shown(value):
    text = str(value).lower() if isinstance(value, bool) else f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:80] + "..."


def unknown(key, value, place, found):
    table = found.table
    other = table.other_names.get(flat(key))
    kind = other.kind if other else ""
    if kind == "later":
        found.error(f"{place}: {key} is not in this version yet", "option-later")
    elif kind == "foreign":
        found.error(f"{place}: '{key}' is {other.server}'s name; Barkeep calls it {other.text.replace('-', '_')}", "option-foreign")
    elif kind in ("needless", "refused"):
        found.error(f"{place}: '{key}' is {other.server}'s setting; Barkeep {other.text}", "option-foreign")
    elif kind == "daemon":
        found.error(f"{place}: {key}: Barkeep stays in the foreground", "option-daemon")
    elif isinstance(value, dict):
        found.error(f"{place}: no table [{key}]; settings stand at the top, only [env] has a table", "option-unknown")
    elif flat(key) in table.by_uwsgi:
        found.error(f"{place}: '{key}' is uWSGI's name; Barkeep calls it {table.by_uwsgi[flat(key)].key}", "option-foreign")
    else:
        found.unknown(key, str(place))
