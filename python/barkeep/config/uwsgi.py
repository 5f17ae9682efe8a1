"""uWSGI's settings for the config process: `barkeep --ini uwsgi.ini`, `barkeep uwsgi.ini:section`, `barkeep --uwsgi --module ...` and
UWSGI_* variables. Reading is in uwsgi_ini.py, meaning in uwsgi_options.py; here it is said to the master.
"""
import sys

from .problem import Problem
from .uwsgi_ini import Reader, Trouble, split_section
from .uwsgi_options import FALSE, Settings

WORDS = "--uwsgi"  # what follows it on the command line is uWSGI's


OTHER_ENDINGS = (".yaml", ".yml", ".json", ".js", ".xml")


def read(name, found):
    """`name` may be '': then the settings are in the environment and behind --uwsgi alone."""
    reader = Reader()
    try:
        gather(reader, name, sys.argv[1:])
    except Trouble as trouble:
        raise Problem(worded(trouble), "config-file", trouble.detail) from None
    settings = Settings(reader.settings, found.table, reader.referred)
    for path in reader.files:
        found.add_file(path)
    for place, text in reader.notes:
        found.warn(f"{place}: {text}", "uwsgi-changed")
    say(settings, found)
    apply(settings, found)


def gather(reader, name, arguments):
    """In uWSGI's order: later ones win."""
    reader.read_environment()
    if WORDS in arguments:
        reader.read_words(arguments[arguments.index(WORDS) + 1:], split_words)
    if name:
        reader.read_file(name, kind="" if split_section(name)[0].lower().endswith(OTHER_ENDINGS) else "ini")
    reader.finish()


def worded(trouble):
    return f"{trouble.place}: {trouble.text}" if trouble.place else trouble.text


# ---- a command line -----------------------------------------------------------------------------------------------------------

def split_words(words):
    """(name, value or None, '') for options, (None, None, word) for the rest."""
    from .uwsgi_names import FLAGS, LETTERS, NAMES, VALUED
    words = iter(words)
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            if name not in NAMES:
                raise unknown(f"--{name}", name)
            if equals:
                yield name, value, ""
            else:
                yield name, needed(f"--{name}", words) if name in VALUED else None, ""
        elif word.startswith("-") and len(word) > 1:
            rest = word[1:]
            while rest:
                letter, rest = rest[0], rest[1:]
                if letter not in LETTERS:
                    raise unknown(f"-{letter}", "")
                name = LETTERS[letter]
                if name in FLAGS:
                    yield name, None, ""
                    continue
                yield name, rest or (needed(f"-{letter}", words) if name in VALUED else None), ""
                rest = ""
        else:
            yield None, None, word


def needed(typed, words):
    for word in words:
        return word
    raise Trouble(f"{typed} needs a value", "behind --uwsgi")


def unknown(typed, name):
    from ..discover import close_names
    from .uwsgi_names import NAMES
    close = close_names(name.replace("_", "-"), sorted(NAMES)) if name else []
    return Trouble(f"uWSGI has no option '{typed}'", "behind --uwsgi", f"near: {', '.join('--' + one for one in close)}" if close else "")


# ---- what is said -------------------------------------------------------------------------------------------------------------

def say(settings, found):
    for line, meaning in settings.meanings:
        remark = of_comment(line)
        if remark:
            found.warn(f"{line.place}: {remark}", "uwsgi-changed")
        text = f"{line.place}: {meaning.text}"
        if meaning.kind == "refused":
            found.error(text, "uwsgi-refused", meaning.detail)
        elif meaning.kind == "changed":
            found.warn(text, "uwsgi-changed", meaning.detail)
        elif meaning.kind == "unknown" and settings.strict:
            found.error(text, "option-unknown", meaning.detail)
        elif meaning.kind == "unknown":
            found.warn(text, "uwsgi-unknown", meaning.detail)


def of_comment(line):
    """uWSGI has no comments behind values; where that changes what a line means."""
    value = line.value or ""
    if not line.comment or line.used or value.isdigit() or value.lower() in ("true", "on", "yes"):
        return ""
    if value.lower() in FALSE:
        return f"{line.name} is off here; with the comment behind it uWSGI reads it as on"
    return f"'{line.comment}' is taken for a comment; for uWSGI it belongs to the value of {line.name}"


def apply(settings, found):
    for key, value in settings.defaults:
        found.set(key, value, "default of uWSGI")
    for key, values in settings.values.items():
        line = values[-1][1] if found.table.by_key[key].type != "LIST" else values[0][1]
        found.set(key, "\n".join(value for value, _ in values), line.place, line.name)
    if settings.app:
        found.set_app(settings.app[0], settings.app[1].place)
    options = seen_by_the_application(settings)
    if options and settings.has("uwsgi_opt"):
        found.set("uwsgi_opt", "\n".join(options), settings.lines[0].place)


def seen_by_the_application(settings):
    """What uwsgi.opt holds: NAME=VALUE, or NAME for a flag; the last of several. Not the environment, which no --print-config shows."""
    seen = {}
    for line in settings.lines:
        if line.name != "env" and not {"\n", "="} & set(line.name) and "\n" not in (line.value or ""):
            seen[line.name] = line.name if line.value is None else f"{line.name}={line.value}"
    return list(seen.values())
