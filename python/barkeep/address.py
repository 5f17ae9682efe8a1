"""Why an address cannot be listened on. The native program is asked, so that barkeep.run says what the command says: who has the
port, which one is free, whose directory it is.
"""
import errno
import os
import re
import subprocess
import sys

from .__main__ import NATIVE

FIRST = re.compile(r"barkeep: error: (.*) \[(bind-[a-z-]+)\]")
TRY = re.compile(r"try: barkeep .* --bind (.*)")
SECONDS = 10


def explained(error, settings, app):
    """`error` with key, what and lines of the command's message about `app`, when there is one; else as it is."""
    said = ask(settings, app)
    first = FIRST.fullmatch(said[0]) if said else None
    if first is None:
        return error
    lines = [reworded(line.strip()) for line in said[1:]]
    text = "\n  ".join((f"{first[1]} [{first[2]}]", *lines))
    better = OSError(getattr(error, "errno", None) or errno.ENOENT, text)
    better.what, better.key, better.lines = first[1], first[2], lines
    return better


def ask(settings, app):
    """Lines of what the command writes when it binds these addresses."""
    binds = settings.get("bind") or []
    binds = [binds] if isinstance(binds, str) else [str(bind) for bind in binds]
    command = [NATIVE, "--invoker-wants", "bind", "--log-format", "short", "--log-level", "error"]
    for bind in binds:
        command += ["--bind", bind]
    if settings.get("reuse_port") in (True, "on", "true", "1"):
        command += ["--reuse-port"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("BARKEEP_") and name not in ("PORT", "WEB_CONCURRENCY")}
    try:
        said = subprocess.run([*command, "--", app], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=env, timeout=SECONDS, pass_fds=descriptors(binds))
    except (OSError, subprocess.SubprocessError):
        return []
    return os.fsdecode(said.stderr).splitlines()


def descriptors(binds):
    """Of fd://N those that are open here, so that the command can say what is wrong with them."""
    numbers = {int(bind.rpartition("fd://")[2]) for bind in binds if re.search(r"fd://\d{1,9}\Z", bind)}
    return [number for number in numbers if is_open(number)]


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def reworded(line):
    if f"(pid {os.getpid()}, " in line:
        return "by: this program itself"
    found = TRY.fullmatch(line)
    return f'try: bind="{found[1]}"' if found and sys.argv[:1] != ["barkeep"] else line
