#!/usr/bin/env python3
"""Checks that files have at most 600 lines and functions at most 60, in C and in Python (CONTRIBUTING.md, "Size").

A function longer than that needs a row in EXCEPTIONS with its reason. Ends with 'N passed, N failed'; --top prints the
longest files and functions instead.
"""
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES = 600, 60

# "path:function" -> why it is one piece. Keep this list short: split by idea, not by size, but do split.
EXCEPTIONS = {
}


def main():
    files = [path for pattern in ("src/**/*.[ch]", "hosts/**/*.[ch]", "tests/**/*.[ch]", "bench/**/*.[ch]", "python/**/*.py",
                                  "tests/**/*.py", "bench/**/*.py", "tools/*.py", "examples/**/*.py")
             for path in sorted(ROOT.glob(pattern)) if "__pycache__" not in path.parts]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    functions = {}
    for path in files:
        found = python_functions(path) if path.suffix == ".py" else c_functions(path)
        functions.update({f"{path.relative_to(ROOT)}:{name}": lines for name, lines in found})
    if sys.argv[1:] == ["--top"]:
        return show_longest(lengths, functions)
    offences = [f"{name}: {lines} lines, more than {FILE_LINES}" for name, lines in lengths.items() if lines > FILE_LINES]
    offences += [f"{name}: {lines} lines, more than {FUNCTION_LINES}" for name, lines in functions.items()
                 if lines > FUNCTION_LINES and name not in EXCEPTIONS]
    offences += [f"{name}: an exception that is not needed any more" for name in EXCEPTIONS
                 if functions.get(name, 0) <= FUNCTION_LINES]
    print("\n".join(offences + [f"{len(lengths) + len(functions) - len(offences)} passed, {len(offences)} failed"]))
    return 1 if offences else 0


def show_longest(lengths, functions):
    for table in (lengths, functions):
        for name, lines in sorted(table.items(), key=lambda row: -row[1])[:15]:
            print(f"{lines:5} {name}")
    return 0


def c_functions(path):
    """(name, lines from the opening to the closing brace). Both stand in column 0 by the project's form."""
    name, start = None, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        definition = re.match(r"(\w+)\(", line)
        if definition and start is None:
            name = definition[1]
        elif line == "{" and name:
            start = number
        elif line.startswith("}") and start is not None:
            yield name, number - start + 1
            name = start = None


def python_functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - node.lineno + 1


if __name__ == "__main__":
    sys.exit(main())
