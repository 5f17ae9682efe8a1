"""The `barkeep` command and `python -m barkeep`: becomes the native master, which starts workers with this interpreter.

With a tracer at work (coverage, a debugger, a profiler) it must stay in this process, or nothing would be traced: then one
worker serves here, see serve.py.
"""
import os
import sys

NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "barkeep")
JUST_ASKS = ("-h", "--help", "-v", "--version", "--check-config", "--print-config")


def main():
    arguments = sys.argv[1:]
    tracer = active_tracer()
    if tracer and not any(word in JUST_ASKS for word in arguments) and arguments[:1] not in (["migrate"], ["init"]):
        from .command import serve_here
        return serve_here([NATIVE, *invoker()], arguments, tracer)
    restore_hooks()
    return become(["barkeep", *invoker(), *arguments])


def become(command):
    """Replaces this process. Returns the exit code only when that fails."""
    import _signal
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores these, which an exec would hand on
        if hasattr(_signal, name):
            _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execv(NATIVE, command)
    except OSError as error:
        os.write(2, f"barkeep: error: cannot run {NATIVE}: {error.strerror} [internal]\n".encode(errors="backslashreplace"))
        return 1


# ---- what the master is told about us ------------------------------------------------------------------------------

def invoker():
    """Options that only this file uses: the interpreter, its flags, and sys.path when a bootstrap made it."""
    words = ["--invoker-python", sys.executable] if sys.executable else []
    for flag in interpreter_flags():
        words += ["--invoker-flag", flag]
    for entry in bootstrapped_path():
        words += ["--invoker-path", entry]
    return words


def restore_hooks():
    """opentelemetry-instrument's sitecustomize takes its directory out of PYTHONPATH, to spare the application's subprocesses.
    The workers are what it came for, so it goes back: the kernel still has the environment this process was started with."""
    try:
        with open("/proc/self/environ", "rb") as file:
            began = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
    except OSError:
        return
    left = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    gone = [entry for entry in os.fsdecode(began.get(b"PYTHONPATH", b"")).split(os.pathsep)
            if entry and entry not in left and os.path.isfile(os.path.join(entry, "sitecustomize.py"))]
    if gone:
        os.environ["PYTHONPATH"] = os.pathsep.join([*gone, *left])


def interpreter_flags():
    """The flags that gave this interpreter its settings, for another one. Environment variables get there by themselves."""
    words, is_set = [], sys.flags
    for name, flag in (("optimize", "-O"), ("bytes_warning", "-b"), ("verbose", "-v")):
        words += [flag] * getattr(is_set, name)
    if is_set.dont_write_bytecode:
        words.append("-B")
    if is_set.isolated:
        words.append("-I")
    else:
        for name, flag in (("ignore_environment", "-E"), ("no_user_site", "-s"), ("safe_path", "-P")):
            if getattr(is_set, name, False):
                words.append(flag)
    if is_set.no_site:
        words.append("-S")
    warnings = list(sys.warnoptions)
    if is_set.dev_mode and "default" in warnings:
        warnings.remove("default")
    for text in warnings:
        if text not in ("error::BytesWarning", "default::BytesWarning"):
            words += ["-W", text]
    for name, value in sys._xoptions.items():
        words += ["-X", name if value is True else f"{name}={value}"]
    return words


def bootstrapped_path():
    """sys.path, when this package was found on an entry that a fresh interpreter would not have (PEX, Bazel, buildout)."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(NATIVE)))
    if home in map(os.path.abspath, usual_path()):
        return []
    script = os.path.dirname(os.path.abspath(sys.argv[0])) if sys.argv[0] else ""
    entries = [os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path]
    if entries and entries[0] in (script, os.getcwd()) and entries[0] != home:
        entries = entries[1:]
    return entries


def usual_path():
    if not sys.flags.ignore_environment:
        yield from filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if not sys.flags.no_site:
        import site
        yield from site.getsitepackages()
        if site.ENABLE_USER_SITE:
            yield site.getusersitepackages()


# ---- tracers -------------------------------------------------------------------------------------------------------

def active_tracer():
    """Name of what watches this process, '' when nothing does. Coverage that measures subprocesses by itself does not count:
    it reaches the workers."""
    for name in ("debugpy", "pydevd", "memray"):
        if name in sys.modules:
            return name
    reaches_workers = any(os.environ.get(f"COVERAGE_PROCESS_{name}") for name in ("START", "CONFIG"))
    watchers = [name_of(sys.gettrace(), "a tracer"), name_of(sys.getprofile(), "a profiler"), *monitors()]
    for name in filter(None, watchers):
        if not (reaches_workers and name.startswith("coverage")):
            return name
    return ""


def name_of(function, otherwise):
    """The package a trace or profile function comes from."""
    if function is None:
        return ""
    owner = getattr(function, "__self__", None)
    kind = type(function if owner is None or owner is sys else owner)
    module = kind.__module__ if kind.__module__ != "builtins" else getattr(function, "__module__", None)
    return otherwise if module in (None, "builtins", "__main__") else module.split(".")[0]


def monitors():
    """Debuggers, coverage tools and profilers that use sys.monitoring (3.12 and newer)."""
    monitoring = getattr(sys, "monitoring", None)
    return [monitoring.get_tool(number) for number in (0, 1, 2)] if monitoring else []


if __name__ == "__main__":
    sys.exit(main())
