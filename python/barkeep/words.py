"""Small phrases that appear in more than one message: paths, the interpreter, its environment. Imports nothing that costs."""
import os
import sys

LINE_MAX = 500         # characters of one line
TEXT_MAX = 48 * 1024   # bytes of a text; a message to the master has 64 KiB


def relative(path):
    """As the user would name it: paths below the current directory lose it."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here):] if path.startswith(here) and len(path) > len(here) else path


def is_venv():
    return sys.prefix != sys.base_prefix


def environment():
    """Where the interpreter's packages are: ".venv", "/usr"."""
    return relative(sys.prefix)


def python():
    """"python 3.13.1", "python 3.9.16 (PyPy 7.3.11)"."""
    version = f"python {sys.version.split()[0]}"
    if sys.implementation.name == "pypy":
        version += f" (PyPy {'.'.join(map(str, sys.pypy_version_info[:3]))})"
    return version


def clean(line, longest=LINE_MAX):
    """One line for a log: no control bytes, nothing that cannot be encoded, not endless."""
    if len(line) > longest:
        line = line[:longest] + "..."
    if line.isascii() and line.isprintable():
        return line
    line = "".join(c if c == "\t" or c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)
    return line.encode("utf-8", "backslashreplace").decode()


def for_log(*lines, longest=LINE_MAX):
    """Lines as the master's log takes them: it moves to the right what stands at the margin, and nothing else."""
    return "\n".join("  " + clean(line, longest) if line.startswith("  ") else clean(line, longest) for line in lines)


def fitting(text):
    """Text short enough for one message to the master; what is left out of a longer one is its middle."""
    data = text.encode()
    if len(data) <= TEXT_MAX:
        return text
    head, tail = data[:TEXT_MAX // 4].rpartition(b"\n")[0], data[-TEXT_MAX // 2:].partition(b"\n")[2]
    return b"\n".join((head, b"...", tail)).decode(errors="replace")
