"""uWSGI's settings as uWSGI itself reads them: ini files with sections and includes, the UWSGI_* variables, a command line. The
result is a list of (name, value, place) in uWSGI's order, with everything that stands for something else filled in:

    %d %n %c ...     facts about the file, while it is read; %% is a percent sign
    for, if-env ...  up to endfor and endif, while it is read
    ini, include     in place; inherit behind everything else
    $(NAME)          the environment, after all has been read
    @(PATH)          what is in a file
    %(name)          another setting or a placeholder; with spaces arithmetic, from left to right

What the names mean for Barkeep is in uwsgi_options.py. Each rule was compared with uWSGI 2.0.31's --show-config.
"""
import glob
import os
import re
import socket
import time

FILE_MAX = 1 << 20      # bytes of a file
SETTINGS_MAX = 10000    # lines of all files together, what `for` makes included
VALUE_MAX = 64 * 1024   # characters of a value
DEPTH_MAX = 20          # files that include files
SOURCES = re.compile(r"(exec|http|https|fd|data|sym|section|emperor|call|callint|wait)://|-$")
COMMENT = re.compile(r"\s+[;#](?:\s|$).*|\s+[;#].*")
INI, YAML, JSON = ("ini",), ("yaml", "yml", "y"), ("json", "js")
READING = {**dict.fromkeys(INI, "ini"), **dict.fromkeys(YAML, "yaml"), **dict.fromkeys(JSON, "json"), "include": "", "inherit": "",
           "config": ""}
OTHER_FORMATS = ("xml", "xmlconfig", "sqlite", "sqlite3", "ldap", "ldap-schema", "ini-paste", "ini-paste-logged", "zeus",
                 "inject-before", "inject-after")
PLACEHOLDERS = ("set", "set-placeholder", "set-ph")
ENDS = ("end", "endfor", "end-for", "endif", "end-if")
# Values of these are text that may hold a # or ; of its own, also behind a space.
FREE_TEXT = re.compile(r"env$|log-?format|log-encoder|log-req-encoder|add-header|cron|unique-cron|attach-|smart-attach|"
                       r"legion-|hook-|exec-|route|error-route|response-route|final-route|alarm|procname|eval|touch-exec|"
                       r"log-route|log-filter|log-drain|pyargv|set$|set-ph$|set-placeholder$")


class Trouble(Exception):
    """Why the settings cannot be read at all; uWSGI would end as well."""

    def __init__(self, text, place="", detail=""):
        super().__init__(text)
        self.text, self.place, self.detail = text, place, detail


class Setting:
    """One line. `value` is text ('' when there is nothing behind the =), None for a flag of a command line; `place` what a user
    reads; `comment` what stood behind the value and was taken for one; `used` when reading has used it up (ini, set, if-env)."""
    __slots__ = ("name", "value", "place", "comment", "used")

    def __init__(self, name, value, place, used=False, comment=""):
        self.name, self.value, self.place, self.used, self.comment = name, value, place, used, comment

    def __repr__(self):
        return f"<{self.name} = {self.value!r}, {self.place}>"


class Reader:
    """Call read_environment, read_file, read_words in the order of uWSGI, then finish."""

    def __init__(self, environ=None):
        self.environ = os.environ if environ is None else environ
        self.settings = []
        self.firsts = {}        # name: the first Setting of that name
        self.files = []         # that were read, for whoever watches them
        self.notes = []         # (place, text): what uWSGI does silently and nobody wants
        self.referred = set()   # names that a %(name) stands for
        self.inherited = []     # files for the end
        self.logic = None       # the open if or for: (what its lines are added for, its name, its value)
        self.running = False    # its lines are being added
        self.last, self.depth, self.began = None, 0, time.time()

    # ---- where settings come from --------------------------------------------------------------------------------------

    def read_environment(self):
        for name, value in self.environ.items():
            if name.startswith("UWSGI_") and name not in ("UWSGI_RELOADS", "UWSGI_ORIGINAL_PROC_NAME", "UWSGI_EMPEROR_FD"):
                self.add(name[len("UWSGI_"):].lower().replace("_", "-"), value, f"environment {name}")

    def read_words(self, words, split):
        """A command line; `split` makes (name, value or None, word) of it."""
        late = []
        for name, value, word in split(words):
            if name is not None:
                self.add(name, value, "command line")
            elif "=" in word and not looks_like_file(word):
                late.append(word)
            else:
                self.read_file(word, "command line")
        for word in late:
            name, _, value = word.partition("=")
            self.add(name, value, "command line")

    def read_file(self, name, place="", kind=""):
        """`name` may end in :section; without a file that is a section of the file read last."""
        if SOURCES.match(name):
            raise Trouble(f"'{name}' is not read: settings come from files only", place)
        path, section = split_section(name)
        path = path or self.last
        if not path:
            raise Trouble(f"'{name}' names a section, but no file", place)
        kind = kind or kind_of(path)
        if not kind:
            raise Trouble(f"'{path}' is not read: of uWSGI's formats ini, and simple YAML and JSON are", place,
                          "try: the same settings as an ini file, with [uwsgi] above them")
        if self.depth >= DEPTH_MAX:
            raise Trouble(f"'{path}': files include each other more than {DEPTH_MAX} deep", place)
        text = self.text_of(path, place)
        if path not in self.files:
            self.files.append(path)
        self.last = path
        self.depth += 1
        magic = Magic(path, section, self)
        reading = {"ini": self.read_ini, "yaml": self.read_yaml, "json": self.read_json}[kind]
        if not reading(path, text, section or "uwsgi", magic):
            self.missing_section(path, text, section or "uwsgi", kind, place)
        self.depth -= 1

    def text_of(self, path, place, longest=FILE_MAX):
        try:
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                data = file.read(longest + 1)
        except OSError as error:
            raise Trouble(f"cannot read '{path}': {error.strerror}", place) from None
        if len(data) > longest:
            raise Trouble(f"'{path}' has more than {longest // 1024} KiB", place)
        if b"\0" in data:
            raise Trouble(f"'{path}' holds NUL bytes: it is no text", place)
        return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")

    # ---- ini -----------------------------------------------------------------------------------------------------------

    def read_ini(self, path, text, wanted, magic):
        section, seen = "", False
        for number, line in enumerate(text.split("\n"), 1):
            place = f"{path} line {number}"
            line = line.strip(" \t\r")
            if not line or line[0] in ";#":
                continue
            if line[0] == "[":
                section = line[1:-1]
                continue
            if section != wanted:
                continue
            seen = True
            name, equals, value = line.partition("=")
            name, value = magic.fill(name.strip(" \t"), place), magic.fill(value.strip(" \t"), place)
            if not equals and COMMENT.search(name):
                name = name[:COMMENT.search(name).start()]
            comment = COMMENT.search(" " + value) if value and not FREE_TEXT.match(name) else None
            if comment:
                at = max(comment.start() - 1, 0)
                value, comment = value[:at].rstrip(), value[at:].strip()
            elif FREE_TEXT.match(name) and COMMENT.search(value) and not re.match(r"log-?format|route|hook-|exec-|attach", name):
                self.note(place, f"'{COMMENT.search(value).group().strip()}' is part of the value of {name}, as in uWSGI: comments have "
                                 "lines of their own")
            self.add(name, value, place, comment or "")
        return seen or f"[{wanted}]" in text.replace("\r", "").split("\n")

    def missing_section(self, path, text, wanted, kind, place):
        there = [line.strip()[1:].rstrip() for line in text.split("\n") if line.strip().startswith("[")] if kind == "ini" else []
        for line in there:
            if line.split("]")[0].strip() == wanted:
                raise Trouble(f"{path}: '[{line}' is not [{wanted}]: nothing may stand behind it, nor spaces inside", place)
        names = ", ".join(f"[{line.split(']')[0]}" + "]" for line in there[:10])
        text = f"{path} has no section [{wanted}]" + (f"; it has {names}" if names else "")
        if self.depth == 1:
            raise Trouble(text, place)
        self.note(place, text)  # uWSGI goes on as well

    # ---- the simple part of two other formats ----------------------------------------------------------------------------

    def read_yaml(self, path, text, wanted, magic):
        section, seen, name = None, False, ""
        for number, line in enumerate(text.split("\n"), 1):
            place, bare = f"{path} line {number}", line.strip(" \t\r")
            if not bare or bare[0] == "#" or bare == "---":
                continue
            if line[0] not in " \t-":
                section = bare.rstrip(":").strip()
                continue
            if section != wanted:
                continue
            seen = True
            if bare.startswith("- "):
                value = bare[2:]
            else:
                name, colon, value = bare.partition(":")
                if not colon or name[0] in "{[&*!|>":
                    raise Trouble(f"{place}: only 'name: value' lines and lists below them are read of YAML")
                name = name.strip().strip("'\"")
                if not value.strip():
                    continue
            value = COMMENT.sub("", value).strip()
            if value[:1] in "{[&*!|>":
                raise Trouble(f"{place}: only plain values are read of YAML")
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            self.add(name, magic.fill(value, place), place)
        return seen

    def read_json(self, path, text, wanted, magic):
        import json
        try:
            things = json.loads(text)[wanted]
            pairs = list(things.items())
        except (ValueError, RecursionError) as error:
            raise Trouble(f"{path}: {error}") from None
        except (KeyError, TypeError, AttributeError):
            return False
        for name, value in pairs:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, (dict, list)):
                    raise Trouble(f"{path}: '{name}' is neither text nor a number nor a list of these")
                one = "" if one is None else str(one).lower() if isinstance(one, bool) else str(one)
                self.add(name, magic.fill(one, path), path)
        return True

    # ---- a line --------------------------------------------------------------------------------------------------------

    def add(self, name, value, place, comment=""):
        if not self.logic or self.running:
            return self.add_line(name, value, place, comment)
        if name in ENDS:
            self.logic = None
            return self.add_line(name, value, place, comment)
        self.running = True
        lines_for, _, argument = self.logic
        for filling in placed(place, lines_for, argument):
            self.add_line(name, value and value.replace("%(_)", filling), place, comment)
        self.running = False
        return None

    def add_line(self, name, value, place, comment):
        if len(self.settings) >= SETTINGS_MAX:
            raise Trouble(f"more than {SETTINGS_MAX} settings", place)
        if value and len(value) > VALUE_MAX:
            raise Trouble(f"the value of {name} has more than {VALUE_MAX} characters", place)
        setting = Setting(name, value, place, comment=comment)
        self.keep(setting)
        test = LOGIC.get(name)
        setting.used = bool(name in READING or name in PLACEHOLDERS or name in ENDS or test)
        if name in OTHER_FORMATS:
            raise Trouble(f"{name} = {value}: of uWSGI's formats ini, and simple YAML and JSON are read", place)
        if name == "inherit":
            self.inherited.append((value or "", place))
        elif name in READING:
            self.read_file(value or "", place, READING[name])
        elif name in PLACEHOLDERS:
            self.set_placeholder(name, value or "", place)
        elif test:
            if self.logic:
                raise Trouble(f"{name} inside {self.logic[1]}: uWSGI does not nest them", place)
            self.logic = (getattr(self, test[0])(*test[1:]), name, value or "")

    def keep(self, setting):
        self.settings.append(setting)
        self.firsts.setdefault(setting.name, setting)

    def set_placeholder(self, name, text, place):
        key, equals, value = text.partition("=")
        if not equals:
            raise Trouble(f"{name} = {text}: wants NAME=VALUE", place)
        key = key.strip()
        setting = Setting(key, value, place)
        self.keep(setting)
        if name != "set":
            from .uwsgi_names import NAMES
            if key in NAMES:
                raise Trouble(f"{name} = {text}: {key} is an option, so it is no placeholder", place)
            setting.used = True

    def note(self, place, text):
        self.notes.append((place, text))

    # ---- if and for: what the lines up to the end are added for, each with what %(_) stands for ------------------------------

    def test_env(self, is_there):
        return self.either(is_there, lambda name: self.environ.get(name))

    def test_opt(self, is_there):
        return self.either(is_there, self.first)

    @staticmethod
    def either(is_there, value_of):
        def lines(argument):
            name, equals, wanted = argument.partition("=")
            value = value_of(name)
            found = value is not None and (not equals or value == wanted)
            return [] if found != is_there else [value if found else name]
        return lines

    @staticmethod
    def test_fact(is_there, fact):
        return lambda argument: [argument] if fact(argument) == is_there else []

    @staticmethod
    def cycle(items):
        return items

    # ---- what stands for something else -----------------------------------------------------------------------------------

    def finish(self):
        """After this `settings` is complete."""
        for name, place in self.inherited:
            self.read_file(name, place)
        if self.logic:
            self.note(self.settings[-1].place, f"{self.logic[1]} has no end")
        self.fill_in("$", self.environ.get)
        self.fill_in("@", self.file_content)
        self.fill_in("%", self.placeholder)

    def fill_in(self, mark, value_of):
        for setting in self.settings:
            if setting.value and not setting.used and mark + "(" in setting.value:
                setting.value = placed(setting.place, self.filled, setting, mark, value_of)
                if len(setting.value) > VALUE_MAX:
                    raise Trouble(f"the value of {setting.name} has more than {VALUE_MAX} characters", setting.place)

    def filled(self, setting, mark, value_of):
        text, out, at = setting.value, [], 0
        while (begin := text.find(mark + "(", at)) >= 0:
            end = closing(text, begin + 2)
            if end < 0:
                break
            value = value_of(text[begin + 2:end]) if end > begin + 2 else None
            if value is None and end > begin + 2 and mark == "$":
                self.note(setting.place, f"{text[begin:end + 1]}: the environment has no such variable; the text stays as it is")
            elif value is None and end > begin + 2 and mark == "%" and not re.match("log-?format", setting.name):
                self.note(setting.place, f"{text[begin:end + 1]}: there is no such setting; the text stays as it is")
            out.append(text[at:begin] + (text[begin:end + 1] if value is None else value))
            at = end + 1
        return "".join(out) + text[at:]

    def file_content(self, name):
        if SOURCES.match(name):
            raise Trouble(f"@({name}): only files are read")
        return self.text_of(name, "", VALUE_MAX).rstrip("\n")

    def first(self, name):
        """What %(name) stands for: the first setting of that name."""
        self.referred.add(name)
        setting = self.firsts.get(name)
        return None if setting is None else "true" if setting.value is None else setting.value

    def placeholder(self, text):
        if " " not in text:
            return self.first(text)
        result, sign = None, ""
        for word in text.split(" "):
            if not word:
                continue
            if word in ("+", "-", "*", "/"):
                sign = word
                continue
            if word in ("++", "--"):
                result = str(number(result) + (1 if word == "++" else -1)) if result else result
                sign = ""
                continue
            value = word if re.fullmatch(r"\d+", word) else self.first(word) or ""
            result = calculate(result or "", sign, value)
            sign = ""
        return result


def placed(place, function, *arguments):
    """The result; whatever Trouble has no place is here."""
    try:
        return function(*arguments)
    except Trouble as trouble:
        trouble.place = trouble.place or place
        raise


def calculate(left, sign, right):
    if not sign:
        return left + right
    a, b = number(left), number(right)
    if sign == "/":
        return str(int(a / b) if b else 0)
    return str(a + b if sign == "+" else a - b if sign == "-" else a * b)


def number(text):
    """What C's atoi makes of a text."""
    found = re.match(r"\s*([+-]?\d{1,18})", text or "")
    return int(found.group(1)) if found else 0


def closing(text, at):
    """Where the parenthesis ends that was opened before `at`; -1 when it does not."""
    depth = 1
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return -1


def split_section(name):
    path, colon, section = name.rpartition(":")
    return (path, section) if colon else (name, "")


def kind_of(path):
    ending = path.rpartition(".")[2].lower() if "." in os.path.basename(path) else "ini"
    return "ini" if ending in ("ini", "conf", "cfg", "uwsgi") else "yaml" if ending in YAML else "json" if ending in JSON else ""


def looks_like_file(word):
    return re.search(r"\.(ini|ya?ml|js|json|xml)(:\w*)?$", word) is not None


# ---- %d and friends ---------------------------------------------------------------------------------------------------------

class Magic:
    """What one letter behind % stands for in a file. Capital letters speak of the file that was read first."""

    def __init__(self, path, section, reader):
        self.reader = reader
        self.table = {**facts(reader.began), **about(path, section)}
        first = reader.files[0]
        self.table.update((key.upper(), value) for key, value in about(first, section).items() if key not in "0123456789")

    def fill(self, text, place):
        if "%" not in text:
            return text

        def one(match):
            letter = match.group(1)
            if letter in ("%", "("):
                return "%" if letter == "%" else "%("
            if not letter:
                self.reader.note(place, "a single % ends the line: uWSGI joins the next line to it; write %% for a percent sign")
                return "%"
            if letter not in self.table:
                self.reader.note(place, f"%{letter} stands for nothing and is left out, as in uWSGI; write %%{letter} for a percent "
                                        "sign and a letter")
            return self.table.get(letter, "")
        return re.sub(r"%(.|$)", one, text)


def facts(began):
    import grp
    import pwd

    def name_of(find, number):
        try:
            return find(number)[0]
        except KeyError:
            return str(number)
    return {"v": os.getcwd(), "V": "2.0.31", "h": socket.gethostname(), "t": str(int(began)), "T": str(int(began * 1000000)),
            "k": str(os.cpu_count() or 1), "u": str(os.getuid()), "U": name_of(pwd.getpwuid, os.getuid()), "g": str(os.getgid()),
            "G": name_of(grp.getgrgid, os.getgid()), "[": "\033"}


def about(path, section):
    whole = os.path.abspath(path)
    base = os.path.basename(path)
    stem, dot, ending = base.rpartition(".")
    parts = os.path.dirname(whole).split("/")[1:]
    return {"o": path, "p": whole, "s": base, "d": os.path.join(os.path.dirname(whole), ""), "e": ending if dot else "",
            "n": stem if dot else base, "c": os.path.basename(os.path.dirname(whole)), "x": section, "i": inode(path),
            "j": djb33x(whole), **{str(i): part for i, part in enumerate(parts[:10])}}


def inode(path):
    try:
        return str(os.stat(path).st_ino)
    except OSError:
        return ""


def djb33x(text):
    value = 5381
    for byte in os.fsencode(text):
        value = (value * 33 ^ byte) & 0xFFFFFFFF
    return value.to_bytes(4, "little").hex().upper()


# ---- the table of tests -----------------------------------------------------------------------------------------------------

def times(text):
    return [str(count) for count in range(1, min(number(text), SETTINGS_MAX) + 1)]


def lines_of(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return [line for line in file.read(FILE_MAX).split("\n") if line][:SETTINGS_MAX]
    except OSError as error:
        raise Trouble(f"for-readline = {path}: {error.strerror}") from None


def pairs(names, method, *more):
    """name, its opposite with `not-`."""
    table = {}
    for name in names:
        table[name] = (method, True, *more)
        if name.startswith("if-"):
            table["if-not-" + name[3:]] = (method, False, *more)
    return table


LOGIC = {
    **pairs(("if-env", "ifenv"), "test_env"),
    **pairs(("if-opt",), "test_opt"),
    **pairs(("if-exists", "ifexists"), "test_fact", os.path.exists),
    **pairs(("if-file",), "test_fact", os.path.isfile),
    **pairs(("if-dir", "ifdir", "if-directory"), "test_fact", os.path.isdir),
    **pairs(("if-hostname",), "test_fact", lambda name: name == socket.gethostname()),
    **pairs(("if-reload",), "test_fact", lambda _: False),
    **pairs(("if-plugin", "ifplugin"), "test_fact", lambda name: name.startswith("python") or name in ("gevent", "http")),
    "for": ("cycle", lambda text: text.split()),
    "for-times": ("cycle", times),
    "for-glob": ("cycle", lambda text: sorted(glob.glob(text))),
    "for-readline": ("cycle", lines_of),
}
