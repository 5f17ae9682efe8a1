#!/usr/bin/env python3
"""Checks the form of the sources (CONTRIBUTING.md, "Form"): what a reader trips over, nothing a formatter would argue about.

C: no tabs, no trailing space, 100 columns (tables of X(...) rows and long literals excepted), four spaces, the return type
of a function on its own line, no // TODO without an issue number. Everything: final newline, no CRLF, no absolute path of
somebody's machine. Ends with 'N passed, N failed'.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = {".c": 100, ".h": 120, ".py": 160}
TEXT = {".c", ".h", ".def", ".py", ".md", ".build", ".txt", ".toml", ".sh", ".ini", ".cfg", ".html", ".yml", ".json", ""}
MACHINE_PATH = re.compile("|".join(f"/{first}/" for first in ("work", "farm", "root", r"home/\w+")))


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines()
             if Path(name).suffix in TEXT and "/corpus/" not in name and not name.startswith("tools/experiments/")]
    offences = []
    for name in names:
        if (ROOT / name).is_file():
            offences += check(name)
    good = len(names) - len({offence.split(":")[0] for offence in offences})
    print("\n".join(offences + [f"{good} passed, {len(offences)} failed"]))
    return 1 if offences else 0


def check(name):
    data = (ROOT / name).read_bytes()
    if b"\0" in data:
        return []
    suffix, offences = Path(name).suffix, []
    if data and not data.endswith(b"\n"):
        offences.append(f"{name}: no newline at the end")
    if b"\r\n" in data:
        offences.append(f"{name}: CRLF line ends")
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        offences += [f"{name}:{number}: {what}" for what in check_line(name, suffix, line)]
    if suffix in (".c", ".h"):
        offences += check_returns(name, data.decode("utf-8", "replace"))
        offences += check_keys(name, data.decode("utf-8", "replace"))
    return offences


def check_line(name, suffix, line):
    if line != line.rstrip() and suffix != ".md":
        yield "space at the end of the line"
    if "\t" in line and Path(name).name not in ("Makefile", ".gitmodules"):
        if suffix in (".c", ".h", ".def", ".py"):
            yield "a tab"
    if len(line) > COLUMNS.get(suffix, 10000) and not excused(line):
        yield f"{len(line)} columns, more than {COLUMNS[suffix]}"
    if re.search(r"\b(TODO|FIXME|XXX)\b(?!.*#\d)", line) and suffix in (".c", ".h", ".py") and name != "tools/form.py":
        yield "a TODO without an issue number"
    if MACHINE_PATH.search(line) and name not in ("tools/form.py", "tools/bootstrap"):
        yield "an absolute path of somebody's machine"


def excused(line):
    """Rows of a table and lines that are one long literal read better unbroken."""
    return re.match(r"\s*X\(|\s*(?:X\(.*\) *)+\\?$|\s*[A-Z_]+\(.*\),?$|\s*\(?[rbf]*\".*\"[,;)\]]*$|\s*#define", line) is not None


def check_returns(name, text):
    """`int f(...)` at column 0 followed by a brace: the type belongs on the line above, so that ^f( finds the definition."""
    for match in re.finditer(r"^((?:static |inline |const |struct |enum |unsigned )*\w+[ *]+)(\w+)\(([^;{}=]*)\)[ \w()]*\n\{", text, re.M):
        if not match[1].startswith(("return ", "else ")):
            yield f"{name}:{text[:match.start()].count(chr(10)) + 1}: return type of {match[2]} not on its own line"


def check_keys(name, text):
    """A [key] in a log line is a row of messages.def, or no page explains it."""
    if not name.startswith(("src/", "hosts/")):
        return
    rows = re.findall(r'^X\(\w+, "([^"]+)"', (ROOT / "src/config/messages.def").read_text(), re.M)
    for match in re.finditer(r"\bbk_log(?:_detail)?\([^;]*;", text):
        for key in re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', match[0]):
            if key not in rows:
                yield f"{name}:{text[:match.start()].count(chr(10)) + 1}: [{key}] is not in messages.def"


if __name__ == "__main__":
    sys.exit(main())
