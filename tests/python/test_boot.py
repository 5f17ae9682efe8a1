"""_boot/boot.py and worker.py: what a worker process looks like from inside, and how it ends."""
import os
import signal
import sys

import pytest

APP = """
    def application(environ, start_response):
        return []
"""


def test_facts(boot, write):
    write("app.py", APP)
    worker = boot("app")
    assert (worker.code, worker.err) == (0, "")
    assert worker.facts["app"] == "app:application"
    assert worker.facts["kind"] == "WSGI"
    assert worker.facts["python"] == sys.version.split()[0]
    assert 0 <= int(worker.facts["ready_ms"]) < 60000
    assert [call[0] for call in worker.calls] == ["title", "ready", "serve"]
    assert worker.said("title") == [["barkeep: worker 1 [app:application] idle"]]


def test_surroundings_are_those_of_gunicorn(boot, write, tmp_path):
    write("app.py", APP + """
    import sys
    main = sys.modules["__main__"]
    print(sys.argv, sys.path[0], main.__name__, main.__spec__, hasattr(main, "__file__"))
    print(sorted(name for name in vars(main) if not name.startswith("__")), "barkeep/_boot" in "".join(sys.path))
    """)
    worker = boot("app", "--workers", "2")
    assert worker.out.splitlines() == [f"['barkeep', 'app', '--workers', '2'] {tmp_path} __main__ None False", "[] False"]


@pytest.mark.parametrize("flags", [(), ("-I",), ("-O",), ("-X", "dev"), ("-B", "-s"), ("-X", "dev", "-W", "error")])
def test_interpreter_flags(boot, write, flags):
    write("app.py", APP)
    worker = boot("app", flags=flags)
    assert (worker.code, worker.err) == (0, "")


@pytest.mark.parametrize("name", ["barkeep", "queue", "signal", "worker", "loader"])
def test_files_of_the_application_replace_nothing(boot, write, name):
    write(f"{name}.py", "raise SystemExit('imported by mistake')")
    write("app.py", APP)
    worker = boot("app", env={"PYTHONPATH": "."} if name == "barkeep" else None)
    assert worker.code == 0, worker.err


def test_own_modules_win_over_those_the_interpreter_has(boot, write):
    """What sys.path[0] is for."""
    write("shop/__init__.py")
    write("shop/wsgi.py", "from shop.models import application")
    write("shop/models.py", APP)
    assert boot("shop.wsgi").facts["app"] == "shop.wsgi:application"


def test_pythonpath(boot, write):
    write("first/lib.py", "name = 'first'")
    write("second/lib.py", "name = 'second'")
    write("app.py", APP + "    import lib; print(lib.name)\n")
    assert boot("app", pythonpath="first\nsecond").out == "first\n"


def test_output_is_line_buffered(boot, write):
    write("app.py", APP + """
    import os
    print("before")
    os.write(1, b"after\\n")
    """)
    assert boot("app").out == "before\nafter\n"


def test_signals_are_ignored_during_the_import_and_after(boot, write):
    write("app.py", APP + """
    import asyncio, os, signal
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(os.getpid(), number)
    async def nothing(): pass
    asyncio.run(nothing())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    """)
    worker = boot("app", serve="import os, signal\nfor n in (1, 2, 3, 15): os.kill(os.getpid(), n)\nprint('served')")
    assert (worker.code, worker.out) == (0, "served\n")


def test_signal_handlers_are_not_inherited_by_children(boot, write):
    write("app.py", APP)
    worker = boot("app", serve="import subprocess\nprint(subprocess.Popen(['sh', '-c', 'kill -TERM $$']).wait())")
    assert worker.out == f"{-signal.SIGTERM}\n"


def test_handlers_of_the_application_stay(boot, write):
    write("app.py", APP + """
    import signal
    signal.signal(signal.SIGTERM, lambda *_: print("mine"))
    """)
    assert boot("app", serve="import os; os.kill(os.getpid(), 15)").out == "mine\n"


def test_spawned_children_do_not_start_another_worker(boot, write):
    write("work.py", "def double(n): return 2 * n")
    write("app.py", APP + """
    import multiprocessing, work
    """)
    worker = boot("app", serve="import multiprocessing, work\nwith multiprocessing.get_context('spawn').Pool(1) as pool:\n"
                               "    print(pool.map(work.double, [1, 2, 3]))")
    assert (worker.out, len(worker.said("ready"))) == ("[2, 4, 6]\n", 1)


def test_fork_warning_is_not_shown(boot, write):
    write("app.py", APP)
    worker = boot("app", flags=("-W", "always"), serve="import _thread, os, time\n_thread.start_new_thread(time.sleep, (9,))\n"
                                                       "pid = os.fork()\nos.waitpid(pid, 0) if pid else os._exit(0)")
    assert "multi-threaded" not in worker.err


def test_breakpoint_without_a_terminal_is_passed_over(boot, write):
    write("app.py", "def application(environ, start_response):\n    breakpoint()\n    return []\n")
    worker = boot("app", serve="app({}, None)")
    assert worker.code == 0
    assert worker.said("log") == [["warning", None,
                                   "breakpoint() in app.py line 2 was passed over: it needs a terminal and --workers 1", ""]]


def test_breakpoint_on_a_terminal(boot, write):
    write("app.py", "def application(environ, start_response):\n    breakpoint()\n    found = 41\n    return []\n")
    master, terminal = os.openpty()
    os.write(master, b"next\nfound + 1\ncontinue\n" if sys.version_info < (3, 13) else b"next\nnext\nfound + 1\ncontinue\n")
    worker = boot("app", serve="app({}, None)\nprint('served')", stdin=terminal)
    os.close(terminal), os.close(master)
    assert "42" in worker.out and worker.out.endswith("served\n")


def test_atexit_and_threads_are_waited_for(boot, write):
    write("app.py", APP + """
    import atexit, threading, time
    atexit.register(print, "atexit")
    threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
    """)
    worker = boot("app")
    assert (worker.code, worker.out) == (0, "thread\natexit\n")


def test_a_thread_that_never_ends_does_not_hold_the_worker(boot, write):
    write("app.py", APP + """
    import threading, time
    threading.Thread(target=time.sleep, args=(1000,), name="forever").start()
    """)
    said = [row[2] for row in boot("app", graceful_timeout="2.5").said("log")]
    assert said == ["a worker that has nothing left to serve waits for threads of the application: forever",
                    "a worker ends without waiting longer for threads of the application: forever"]
    worker = boot("app", graceful_timeout="0")
    assert (worker.code, [row[2] for row in worker.said("log")]) == (0, said[1:])


def test_failure_is_told_in_lines_for_the_log(boot, write):
    write("app.py", "raise ValueError('a\\n  b\\x1b')")
    worker = boot("app")
    assert worker.failure == [4, "app-import", "'app' raised ValueError while being imported\nFile \"app.py\", line 1, in <module>\n"
                              "    raise ValueError('a\\n  b\\x1b')\nValueError: a\n    b\\x1b"]
    assert (worker.code, worker.out, worker.err) == (4, "", "")


def test_failure_that_is_too_long_for_a_message(boot, write):
    line = "x = 0  # " + "\u20ac" * 480
    functions = "\n".join(f"def f{n}(): f{n + 1}()  # {line}" for n in range(60))
    write("app.py", functions + "\ndef f60():\n  try: raise KeyError(1)\n  except KeyError: raise ValueError('the end')\n"
                    "try: f0()\nexcept ValueError:\n  f0()\n")
    text = boot("app").failure[2]
    assert 30 * 1024 < len(text.encode()) <= 48 * 1024
    assert text.startswith("'app' raised ValueError while being imported\n") and "\n...\n" in text
    assert text.endswith("ValueError: the end")


def test_failed_import_ends_in_time_too(boot, write):
    write("app.py", """
    import threading, time
    threading.Thread(target=time.sleep, args=(1000,)).start()
    import nowhere_to_be_found
    """)
    worker = boot("app", graceful_timeout="0.3")
    assert (worker.code, worker.failure[1]) == (4, "app-dependency")


def test_system_exit_in_a_request_keeps_its_code(boot, write):
    write("app.py", APP)
    assert boot("app", serve="raise SystemExit(7)").code == 7


def test_end_of_the_interpreter_is_clean(boot, write):
    """3.10 crashed, with its debug allocator nearly always, when a thread of ours began too late."""
    write("app.py", APP)
    for _ in range(5):
        worker = boot("app", flags=("-X", "dev"))
        assert (worker.code, worker.err) == (0, "")


def test_version_skew(boot):
    worker = boot("version-skew")
    assert worker.code == 2
    assert worker.err == ("barkeep: error: the master is barkeep 9, the package in this environment is 1: "
                          "they do not fit together [version-skew]\n")


def test_engine_that_does_not_load(boot, package, write):
    write("app.py", APP)
    engine = package / "barkeep/_engine.py"
    text = engine.read_text()
    engine.write_text("raise ImportError('wrong ELF class')")
    try:
        worker = boot("app")
    finally:
        engine.write_text(text)
    assert worker.code == 3
    assert worker.err == f"barkeep: error: the engine of this barkeep does not load in {sys.executable}: wrong ELF class [worker-boot]\n"


def test_current_directory_that_is_gone(boot, write, tmp_path):
    write("hooks/sitecustomize.py", "import os\nif os.path.exists(os.getcwd()): os.rmdir(os.getcwd())")
    gone = tmp_path / "gone"
    gone.mkdir()
    worker = boot("app", cwd=gone, env={"PYTHONPATH": str(tmp_path / "hooks")})
    assert worker.code == 3
    assert worker.failure == [3, "worker-boot", "the current directory cannot be used: No such file or directory"]


def test_logging_goes_to_the_engine(boot, write):
    write("app.py", APP + """
    import logging
    theirs = logging.getLogger("gunicorn.error")
    log = logging.getLogger("shop")
    log.handlers, log.propagate = theirs.handlers, False
    log.setLevel(theirs.level)
    log.warning("two\\x1b lines\\nof text")
    for name in ("barkeep.error", "uvicorn.error"):
        logging.getLogger(name).info("from %s", name)
    try:
        1 / 0
    except ZeroDivisionError:
        theirs.exception("failed")
    log.debug("too low")
    """)
    worker = boot("app", log_level="info")
    said = worker.said("log")
    assert said[0] == ["warning", None, "two\\x1b lines", "of text"]
    assert [row[:3] for row in said[1:3]] == [["info", None, "from barkeep.error"], ["info", None, "from uvicorn.error"]]
    assert said[3][0:3] == ["error", None, "failed"] and said[3][3].endswith("ZeroDivisionError: division by zero")
    assert len(said) == 4


def test_logging_is_not_imported_for_nothing(boot, write):
    write("app.py", APP + "    import sys; print('logging' in sys.modules, 'inspect' in sys.modules)\n")
    bare = boot("app", flags=("-S", "-I"))
    assert bare.out == "False False\n"
