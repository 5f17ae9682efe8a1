#!/usr/bin/env python3
"""Writes the reference pages from the tables in src/config, so that no page can disagree with the program.

  tools/reference.py          writes docs/options.md, docs/messages.md, docs/counters.md and docs/barkeep.1
  tools/reference.py --check  writes nothing, fails when a page is not what the tables give, or a key is used that no table has

Ends with 'N passed, N failed'. Called by CI; run it after a change of options.def, messages.def or other_names.def.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "src/config"
TOKEN = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"|\'(?P<char>.)\'|(?P<word>\w+)')
NOT_EDITED = "made by tools/reference.py from src/config, do not edit"


def main():
    pages = {"docs/options.md": options_page(), "docs/messages.md": messages_page(), "docs/counters.md": counters_page(), "docs/barkeep.1": man_page()}
    if sys.argv[1:] == ["--check"]:
        return check(pages)
    if sys.argv[1:]:
        sys.exit(__doc__)
    for name, text in pages.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(text)
    print(f"{len(pages)} passed, 0 failed")
    return 0


def check(pages):
    offences = [f"{name} is not what the tables give: run tools/reference.py" for name, text in pages.items()
                if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    offences += unknown_keys()
    print("\n".join(offences + [f"{len(pages)} passed, {len(offences)} failed"]))
    return 1 if offences else 0


def unknown_keys():
    """A key in a call of the log that is in no table: users could not look it up."""
    known = {row["key"] for row in message_rows() if "key" in row}
    for path in sorted([*(ROOT / "src").rglob("*.c"), *(ROOT / "hosts").rglob("*.c")]):
        for match in re.finditer(r'bk_log(?:_detail)?\(\s*BK_LOG_\w+,\s*"([^"]*)"', path.read_text()):
            if match[1] not in known:
                yield f"{path.relative_to(ROOT)}: the key [{match[1]}] is not in src/config/messages.def"
    areas = "|".join(sorted({key.split("-")[0] for key in known}))
    for path in sorted((ROOT / "python").rglob("*.py")):
        if path.name in ("gunicorn_names.py", "migrate_words.py", "uwsgi_names.py", "uwsgi_options.py", "uwsgi_special.py"):
            continue  # full of other servers' names
        for match in re.finditer(rf'["\'\[]((?:{areas})-[a-z-]+)["\'\]]', path.read_text()):
            if match[1] not in known:
                yield f"{path.relative_to(ROOT)}: the key [{match[1]}] is not in src/config/messages.def"


def counters_page():
    lines = ["<!-- made by tools/reference.py from src/stats, do not edit -->", "# Counters", "",
             "What [statistics](stats.md) count. In JSON by these names, in Prometheus as `barkeep_NAME_total`.", "",
             "| counter | what |", "|---|---|"]
    lines += [f"| `{name}` | {help} |" for name, help in stats_rows("counters.def", r'X\((\w+), "(.*)"\)$')]
    lines += ["", "## Why a worker process ended", "", "Counted while the server goes on, by worker number.", "",
              "| reason | what |", "|---|---|"]
    lines += [f"| `{word}` | {help} |" for word, help in stats_rows("restarts.def", r'X\(\w+, "([\w-]+)", "(.*)"\)$')]
    return "\n".join(lines) + "\n"


def stats_rows(name, pattern):
    return [match.groups() for match in re.finditer(pattern, (ROOT / "src/stats" / name).read_text(), re.M)]


# ---- the tables ------------------------------------------------------------------------------------------------------

def rows(name):
    """(macro, [values]) for each row of a .def file. A row is one line: MACRO(value, ...)."""
    for number, line in enumerate((CONFIG / name).read_text().splitlines(), 1):
        if not line or line.startswith("//"):
            continue
        match = re.fullmatch(r"(\w+)\((.*)\)", line)
        if not match:
            sys.exit(f"{name}:{number}: not a row: {line}")
        yield match[1], [value(token) for token in TOKEN.finditer(match[2])]


def value(token):
    if token["text"] is not None:
        return re.sub(r"\\(.)", r"\1", token["text"])
    return token["char"] or token["word"]


def option_rows():
    names = ("type", "key", "name", "letter", "default", "range", "scope", "gunicorn", "uwsgi", "meta", "help")
    yield from named_rows("options.def", names)


def message_rows():
    yield from named_rows("messages.def", ("name", "key", "exit", "level", "text"))


def named_rows(file, names):
    for macro, values in rows(file):
        if macro == "GROUP":
            yield {"group": values[0]}
        elif len(values) != len(names):
            sys.exit(f"{file}: {len(values)} values in the row {values[:3]}, not {len(names)}")
        else:
            yield dict(zip(names, values))


def forms(option):
    """How the option is written: ["--workers N", "-w N"]."""
    switch = option["type"] == "BOOL" and option["scope"] != "ACTION"
    meta = f" {option['meta']}" if option["meta"] else ""
    found = [f"--{option['name']}{meta}"] + ([f"--no-{option['name']}"] if switch else [])
    return found + ([f"-{option['letter']}{meta}"] if option["letter"] != "0" else [])


def values_of(option):
    """What the option takes, in words."""
    low, _, high = option["range"].partition("..")
    return {"BOOL": "on or off", "INT": f"a number from {low} to {high}", "AUTO": f"a number from {low} to {high}, or `auto`",
            "SIZE": f"bytes, {low} to {high}", "TIME": f"a duration, {low} to {high} seconds", "TEXT": "a text",
            "WORD": ", ".join(f"`{word}`" for word in option["range"].split("|")),
            "LIST": "a list: repeatable, or with commas between" if option["range"] == "," else "a list: repeatable"}[option["type"]]


def sentence(text):
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


# ---- docs/options.md -------------------------------------------------------------------------------------------------

def options_page():
    out = [f"<!-- {NOT_EDITED} -->", "# Options", "",
           "`barkeep [options] MODULE[:CALLABLE]`, options and application in any order. Names are never completed from a",
           "prefix; `-` and `_` in a name are the same; `--name=value` and `--name value` both work. Each option can be set by",
           "an environment variable too, the command line is stronger. `barkeep --print-config` shows every setting with its",
           "origin. Durations are `30`, `0.5`, `250ms`, `30s`, `5m`, `1h` or `off`; sizes are bytes or `64K`, `10M`, `1G`.", ""]
    for row in option_rows():
        out += [f"## {row['group']}", ""] if "group" in row else option_entry(row)
    return "\n".join(out + foreign_tables()) + "\n"


def option_entry(option):
    facts = []
    if option["scope"] != "ACTION":
        facts = [f"takes {values_of(option)}", f"default `{option['default']}`" if option["default"] else "default: not set",
                 f"environment `BARKEEP_{option['key'].upper()}`"]
    facts += [f"Gunicorn: `{option['gunicorn']}`"] if option["gunicorn"] else []
    facts += [f"uWSGI: `{option['uwsgi']}`"] if option["uwsgi"] else []
    also = {"workers": " `WEB_CONCURRENCY` sets it too.", "bind": " `PORT` alone means `0.0.0.0:$PORT`.",
            "forwarded_allow_ips": " `FORWARDED_ALLOW_IPS` sets it too."}.get(option["key"], "")
    head = ", ".join(f"`{form}`" for form in forms(option))
    facts[:1] = [fact[0].upper() + fact[1:] for fact in facts[:1]]
    lines = [f'### <a id="{option["name"]}"></a>{head}', "", sentence(option["help"]) + also, ""]
    return lines + ([f"*{'; '.join(facts)}*", ""] if facts else [])


def foreign_tables():
    kinds = {}
    for macro, values in rows("other_names.def"):
        kinds.setdefault(macro, []).append(values)
    out = ["## Names that other servers use", "",
           "These are refused with the name they have here [option-foreign], never guessed. What Gunicorn has and Barkeep does not",
           "need is taken with a warning [setting-ignored], so that its command lines work.", "", "| name | here |", "|---|---|"]
    planned = {name for name, *_ in kinds["LATER"]}
    theirs = [(f"--{name}", f"{server}'s", f"`--{here}`" + (", not in this version yet" if here.split()[0] in planned else ""))
              for name, _, _, server, here in kinds["FOREIGN"]]
    theirs += [(f"--{name}", f"{server}'s", f"Barkeep {what}")
               for name, _, _, server, what in kinds["NEEDLESS"] + kinds["REFUSED"]]
    theirs += [(f"--{row['uwsgi']}", "uWSGI's", f"`--{row['name']}`") for row in option_rows()
               if row.get("uwsgi") and row["uwsgi"] not in (row["name"], row["key"])]
    out += [f"| {server} `{name}` | {here} |" for name, server, here in sorted(theirs, key=lambda row: (row[1], row[0]))]
    later = ", ".join(f"`--{name}`" for name, *_ in kinds["LATER"])
    also = ", ".join(f"`--{name}` (`--{option}`)" for name, option in kinds["ALIAS"])
    return out + ["", "## Not in this version yet", "", f"Refused with [option-later]: {later}.", "",
                  "## Second names", "", f"Taken silently: {also}."]


# ---- docs/messages.md ------------------------------------------------------------------------------------------------

def messages_page():
    out = [f"<!-- {NOT_EDITED} -->", "# Messages", "",
           "Each error and warning ends with a key in brackets. It is the same word in text, in JSON logs (`\"key\"`) and here,",
           "and never changes its meaning. The exit code is what `barkeep` ends with when it ends because of it; without one it",
           "goes on.", ""]
    for row in message_rows():
        if "group" in row:
            out += [f"## {row['group']}", ""]
        else:
            code = f", exit {row['exit']}" if row["exit"] != "0" else ""
            out += [f'<a id="{row["key"]}"></a>**[{row["key"]}]** ({row["level"].lower()}{code})  ', row["text"], ""]
    return "\n".join(out + ["## Exit codes", "", "| code | meaning |", "|---|---|"]
                     + [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES]) + "\n"


EXIT_CODES = (("0", "stopped as asked, Ctrl-C too"), ("1", "could not bind, or failed while running"),
              ("2", "command line, settings or worker class"), ("3", "a worker could not start"),
              ("4", "the application could not be imported"))


# ---- docs/barkeep.1 --------------------------------------------------------------------------------------------------

def man_page():
    version = (ROOT / "VERSION").read_text().strip()
    out = [f'.\\" {NOT_EDITED}', f'.TH BARKEEP 1 "" "barkeep {version}" "User Commands"', ".SH NAME",
           "barkeep \\- application server for Python", ".SH SYNOPSIS", ".B barkeep", "[\\fIoptions\\fR]",
           "\\fIMODULE\\fR[:\\fICALLABLE\\fR]", ".SH DESCRIPTION",
           "Serves a WSGI application from pre-forked workers. \\fIMODULE\\fR is dotted (shop.wsgi) or a file (./app.py);",
           "\\fICALLABLE\\fR is a name in it, \\(aqapplication\\(aq or \\(aqapp\\(aq when left out, or a call that makes the",
           "application.", ".SH OPTIONS",
           "Durations are in seconds, or 250ms, 30s, 5m, 1h. Sizes are in bytes, or 64K, 10M, 1G."]
    for row in option_rows():
        if "group" in row:
            out += [f".SS {roff(row['group'])}"]
            continue
        default = f" Default: {row['default']}." if row["default"] and row["scope"] != "ACTION" else ""
        out += [".TP", ".B " + roff(", ".join(forms(row))), roff(sentence(row["help"]) + default)]
    out += [".TP", ".B " + roff("--help, -h"), "Print the options and exit.", ".TP", ".B " + roff("--version, -v"),
            "Print the versions of everything inside and exit.", ".SH ENVIRONMENT",
            "Each option can be set by a variable: \\-\\-keep\\-alive by \\fBBARKEEP_KEEP_ALIVE\\fR. The command line is stronger.",
            ".TP", ".B WEB_CONCURRENCY", "Sets \\-\\-workers.", ".TP", ".B PORT", "Without \\-\\-bind: listen on that port of all",
            "interfaces.", ".TP", ".B FORWARDED_ALLOW_IPS", "Sets \\-\\-forwarded\\-allow\\-ips.", ".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES:
        out += [".TP", f".B {code}", roff(sentence(meaning))]
    out += [".SH SIGNALS", ".TP", ".B SIGTERM", "Stop after the requests that are being served, within \\-\\-graceful\\-timeout.",
            ".TP", ".B SIGINT, SIGQUIT", "Stop at once. A second signal kills what is left.", ".TP", ".B SIGTTIN, SIGTTOU",
            "One worker more, one less.", ".TP", ".B SIGUSR1", "Open the log files anew."]
    return "\n".join(out) + "\n"


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + text if text.startswith((".", "\\(aq")) else text


if __name__ == "__main__":
    sys.exit(main())
