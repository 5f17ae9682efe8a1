"""--reload: files are saved as editors save them, the server follows; whatever is wrong with them, the last good version stays."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest
from harness import procs, until
from harness.server import PRELOAD, PYTHON
from harness.terminal import Terminal, matches
from harness.wire import Conn
from test_hup import Client, reloaded, write_app

INT, HUP, KILL = signal.SIGINT, signal.SIGHUP, signal.SIGKILL
REFUSED = r"still serving the version of \d\d:\d\d:\d\d \[reload-refused\]"


@pytest.fixture
def place(tmp_path):
    write_app(tmp_path, "one")
    return tmp_path


@pytest.fixture(params=["inotify", "poll"])
def watched(request, serve, place):
    return serve("versioned", "--reload", "--reload-engine", request.param, cwd=place)


def answer(server, target="/"):
    return server.get(target).body.split()[0].decode()


def changed(server, count=1, what=r"versioned\.py changed"):
    reloaded(server, count, what)
    server.note_baseline()


# ---- ways to save --------------------------------------------------------------------------------------------------

def save_in_place(file, text):
    file.write_text(text)


def save_and_rename(file, text):
    """As vim does: the old file is renamed, a new one written under its name, the old one removed."""
    probe, backup = file.with_name("4913"), file.with_name(file.name + "~")
    probe.write_text("")
    probe.unlink()
    swap = file.with_name(f".{file.name}.swp")
    swap.write_text("swap")
    file.rename(backup)
    file.write_text(text)
    backup.unlink()
    swap.unlink()


def save_over(file, text):
    """As most others do: a temporary file takes its name."""
    beside = file.with_name(".goutputstream-X")
    beside.write_text(text)
    beside.replace(file)


def save_anew(file, text):
    file.unlink()
    file.write_text(text)


@pytest.mark.parametrize("save", [save_in_place, save_and_rename, save_over, save_anew])
def test_each_way_to_save(watched, place, save):
    file = place / "versioned.py"
    text = file.read_text()
    assert answer(watched) == "one"
    save(file, text.replace("one", "other"))
    changed(watched)
    assert answer(watched) == "other"
    save(file, text)
    changed(watched, 2)
    assert answer(watched) == "one"
    assert len(re.findall("versioned", watched.log.split("serving", 1)[1])) == 3, "one line each"


def test_two_edits_of_one_size_within_a_second(watched, place):
    """Bytecode that was cached for the first would pass for the second."""
    file = place / "versioned.py"
    text = file.read_text()
    for count, version in enumerate(("two", "six", "ten", "one"), 1):
        file.write_text(text.replace("one", version))
        changed(watched, count)
        assert answer(watched) == version


def test_several_quick_saves(serve, place):
    server = serve("versioned", "--reload", cwd=place)
    for number in range(30):
        write_app(place, f"number{number}")
    until(lambda: answer(server) == "number29", 20, "the last version")
    until(lambda: len(server.workers()) == 1, 20, "one worker")
    server.note_baseline()


def test_a_save_while_the_new_version_imports(serve, place):
    """What is being imported is old by then: nobody waits for it."""
    server = serve("versioned", "--reload", cwd=place)
    write_app(place, "never", extra="open('importing', 'w').close(); time.sleep(600)")
    until((place / "importing").exists, 20, "the import to begin")
    write_app(place, "second")
    changed(server)
    assert answer(server) == "second"


# ---- broken edits --------------------------------------------------------------------------------------------------

def test_a_broken_edit_keeps_the_last_good_version(watched, place):
    file = place / "versioned.py"
    good, [pid] = file.read_text(), watched.workers()
    file.write_text(good.replace(":\n", "\n", 1))
    line = watched.wait_log(rf"error: (versioned\.py changed: .*; {REFUSED})\n", 20)
    assert re.match(r"versioned\.py changed: SyntaxError in versioned\.py line 4, expected ':'; still", line[1])
    assert not watched.log.split(line[0])[1].startswith("  "), "the line says it all"
    assert watched.workers() == [pid] and answer(watched) == "one"
    file.write_text(good + "\n\n1 / 0\n")
    line = watched.wait_log(rf"versioned\.py changed: ZeroDivisionError in versioned\.py line \d+, division by zero; {REFUSED}\n(  .*\n)+", 20)
    assert '  File "versioned.py", line' in line[0] and "\n    1 / 0\n" in line[0]
    assert watched.workers() == [pid] and answer(watched) == "one"
    write_app(place, "mended")
    changed(watched)
    assert answer(watched) == "mended"


@pytest.mark.parametrize("text, said", [
    ("", r"module 'versioned' has no 'application' or 'app'"),
    ("import sys; sys.exit('enough')", r"SystemExit in versioned\.py line 1, enough"),
    ("import os; os._exit(7)", r"the new worker ended before it was ready: exit code 7"),
    ("import nowhere", r"ModuleNotFoundError in versioned\.py line 1, No module named 'nowhere'"),
])
def test_other_broken_edits(serve, place, text, said):
    server = serve("versioned", "--reload", workers=2, cwd=place)
    workers = server.workers()
    (place / "versioned.py").write_text(text)
    server.wait_log(rf"versioned\.py changed: {said}; {REFUSED}", 20)
    until(lambda: server.workers() == workers, 10, "the old workers alone")
    assert answer(server) == "one"
    write_app(place, "mended")
    changed(server)
    assert answer(server) == "mended"


def test_what_was_missing_comes(serve, place):
    """A module that was not found, in a directory that is not there yet."""
    server = serve("versioned", "--reload", cwd=place)
    write_app(place, "second", extra="import later.part")
    server.wait_log(rf"No module named 'later'; {REFUSED}", 20)
    (place / "later").mkdir()
    (place / "later" / "__init__.py").write_text("")
    server.wait_log(rf"No module named 'later\.part'; {REFUSED}", 20)
    (place / "later" / "part.py").write_text("")
    changed(server, 1, r"later/part\.py changed")
    assert answer(server) == "second"


# ---- files ---------------------------------------------------------------------------------------------------------

def test_modules_of_packages_and_late_imports(watched, place):
    (place / "shop").mkdir()
    for name in ("__init__", "views", "late"):
        (place / "shop" / f"{name}.py").write_text("")
    write_app(place, "second", extra="import shop.views\ndef late(): import shop.late")
    file = place / "versioned.py"
    file.write_text(file.read_text().replace("    if environ", "    late()\n    if environ"))
    changed(watched)
    (place / "shop" / "late.py").write_text("# nobody has imported it")
    assert answer(watched) == "second"  # now somebody has
    (place / "shop" / "views.py").write_text("# changed")
    changed(watched, 1, r"shop/views\.py changed")
    assert answer(watched) == "second"
    # The worker tells a little later what it has imported; the new one has not imported it again yet, so ask first.
    number = 0

    def noticed():
        nonlocal number
        number += 1
        answer(watched)
        (place / "shop" / "late.py").write_text(f"# {number}")
        return re.search(r"shop/late\.py changed: reloaded", watched.log)
    until(noticed, 20, "the late import to be watched")
    until(lambda: len(watched.workers()) == 1, 20, "one worker")


def test_a_module_that_is_written_at_each_import(serve, place):
    write_app(place, "second", extra="open('generated.py', 'w').write('x = 1')\nimport generated")
    server = serve("versioned", "--reload", "--reload-engine", "inotify", wait=False, cwd=place)
    changed_once = server.wait_log(r"generated\.py changed: reloaded", 20)  # nobody knows what the first worker has read
    server.await_ready()
    write_app(place, "third", extra="open('generated.py', 'w').write('x = 1')\nimport generated")
    changed(server)
    os.utime(place / "versioned.py")
    changed(server, 2)
    assert changed_once and server.log.count("generated.py") == 1


def test_a_removed_module(watched, place):
    (place / "part.py").write_text("")
    write_app(place, "second", extra="import part")
    changed(watched)
    (place / "part.py").unlink()
    watched.wait_log(rf"part\.py removed: ModuleNotFoundError in versioned\.py line \d+, No module named 'part'; {REFUSED}", 20)
    assert answer(watched) == "second"
    (place / "part.py").write_text("")
    changed(watched, 1, r"part\.py changed")


def test_what_is_none_of_its_business(watched, place):
    for name in ("notes.txt", ".versioned.py.swp", "versioned.py~", "#versioned.py#", "versioned.pyc", "unrelated.py"):
        (place / name).write_text("x")
    os.chmod(place / "versioned.py", 0o600)  # changes no content
    write_app(place, "second")
    changed(watched)
    assert watched.log.count("changed") == 1


def test_extra_files_directories_and_patterns(serve, place):
    (place / "templates" / "mail").mkdir(parents=True)
    (place / "templates" / "base.html").write_text("base")
    (place / ".env").write_text("A=1")
    server = serve("versioned", "--reload", "--reload-engine", "inotify", "--reload-extra-file", "templates/", "--reload-extra-file",
                   ".env", "--reload-extra-file", "conf/*.toml", cwd=place)
    steps = [("templates/base.html", r"templates/base\.html"), ("templates/mail/new.txt", r"templates/mail/new\.txt"),
             ("templates/fresh/page.html", r"templates/fresh/page\.html"), (".env", r"\.env")]
    for name, shown in steps:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("changed " + name)
        changed(server, 1, shown + " changed")
    (place / "templates" / "base.html").unlink()
    changed(server, 1, r"templates/base\.html removed")
    os.utime(place / ".env")  # touched, as `touch` does
    changed(server, 2, r"\.env changed")


def test_patterns(serve, place):
    (place / "conf").mkdir()
    (place / "conf" / "one.toml").write_text("")
    server = serve("versioned", "--reload", "--reload-extra-file", "conf/*.toml", cwd=place)
    (place / "conf" / "one.txt").write_text("none of them")
    (place / "conf" / "two.toml").write_text("new")
    changed(server, 1, r"conf/two\.toml changed")
    (place / "conf" / "one.toml").write_text("changed")
    changed(server, 1, r"conf/one\.toml changed")
    assert "one.txt" not in server.log


def test_a_file_that_is_not_there_yet(serve, place):
    server = serve("versioned", "--reload", "--reload-extra-file", "sub/settings.ini", cwd=place)
    assert "warning: 'sub/settings.ini' is not there yet; it is watched for [reload-files]" in server.log
    (place / "sub").mkdir()
    (place / "sub" / "settings.ini").write_text("x")
    changed(server, 1, r"sub/settings\.ini changed")


@pytest.mark.parametrize("engine", ["inotify", "poll"])
def test_a_link_to_a_release_that_moves_on(serve, tmp_path, engine):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_app(tmp_path / name, name)
    (tmp_path / "current").symlink_to("first")
    server = serve("versioned", "--reload", "--reload-engine", engine, "--chdir", tmp_path / "current", cwd=tmp_path)
    assert answer(server) == "first"
    (tmp_path / "other").symlink_to("second")
    (tmp_path / "other").replace(tmp_path / "current")
    changed(server, 1, r"\S*current changed")
    assert answer(server) == "second"
    write_app(tmp_path / "second", "edited")
    changed(server, 1, r"versioned\.py changed")
    assert answer(server) == "edited"


def test_a_linked_extra_file(serve, place):
    """As Kubernetes mounts its volumes: a link to a link to a directory that is replaced."""
    volume = place / "volume"
    for version in ("..1", "..2"):
        (volume / version).mkdir(parents=True)
        (volume / version / "app.ini").write_text(version)
    (volume / "..data").symlink_to("..1")
    (volume / "app.ini").symlink_to("..data/app.ini")
    server = serve("versioned", "--reload", "--reload-engine", "inotify", "--reload-extra-file", "volume/app.ini", cwd=place)
    (volume / "..tmp").symlink_to("..2")
    (volume / "..tmp").replace(volume / "..data")
    changed(server, 1, r"volume/app\.ini changed")


def test_the_whole_directory_is_put_back(watched, place):
    package = place / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write_app(place, "second", extra="import shop")
    changed(watched)
    shutil.rmtree(package)
    watched.wait_log(rf"shop/__init__\.py removed: .*No module named 'shop'; {REFUSED}", 20)
    package.mkdir()
    (package / "__init__.py").write_text("")
    changed(watched, 1, r"shop/__init__\.py changed")


def test_without_inotify_it_polls_and_says_so(serve, place):
    """The limit of instances is the user's: taken up by ourselves for a moment."""
    code = ("import ctypes, os, sys\nlibc = ctypes.CDLL(None)\nwhile libc.inotify_init1(0) >= 0: pass\n"
            "print('full', flush=True)\nsys.stdin.read()")
    with subprocess.Popen([PYTHON, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hog:
        assert hog.stdout.readline() == b"full\n"
        server = serve("versioned", "--reload", cwd=place)
        hog.communicate()
    if "reload-polled" not in server.log:
        pytest.skip("another server's instance was given back meanwhile, or there is no limit")
    assert server.log.count("warning: this user has no inotify instances left: files are looked at every second instead [reload-polled]") == 1
    write_app(place, "second")
    changed(server)


def test_touch_reload_works_without_reload(serve, place):
    (place / "touch.me").write_text("")
    server = serve("versioned", "--touch-reload", "touch.me", workers=2, cwd=place)
    with server.connect() as conn:
        assert conn.get("/").body.startswith(b"one ")
        write_app(place, "second")
        os.utime(place / "touch.me")
        reloaded_in = server.wait_log(r"touch\.me touched: reloaded in ", 20)
        while (response := conn.get("/")).get("connection") != "close":  # as with SIGHUP: nobody is cut off
            pass
        assert response.body.startswith(b"one ")
    until(lambda: len(server.workers()) == 2, 20, "two workers")
    assert answer(server) == "second" and reloaded_in and "versioned.py" not in server.log.split("serving", 1)[1].split("\n", 1)[1]
    server.note_baseline()


# ---- requests and the server ---------------------------------------------------------------------------------------

def test_requests_in_flight_finish(serve, place):
    server = serve("versioned", "--reload", workers=2, cwd=place)
    clients = [Client(server.address, "/slow") for _ in range(3)]
    try:
        for count, version in enumerate(("second", "third"), 1):
            until(lambda: all(client.answers for client in clients), 10, "requests")
            write_app(place, version)
            changed(server, count)
    finally:
        for client in clients:
            client.finish()
    failures = [failure for client in clients for failure in client.failures]
    # An idle connection is closed at once, so that the next request meets the new version; all that was begun is answered.
    assert all("Reset" in failure or "closed" in failure or "Broken" in failure or "EOF" in failure for failure in failures), failures


def test_a_request_without_end_does_not_keep_the_old_version(serve, place):
    write_app(place, "one", extra="")
    file = place / "versioned.py"
    file.write_text(file.read_text().replace("time.sleep(0.5)", "time.sleep(600)"))
    server = serve("versioned", "--reload", cwd=place)
    with server.connect() as conn:
        conn.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        [old] = server.workers()
        until(lambda: procs.taken(server.port), 10, "the request to be taken")
        write_app(place, "second")
        server.wait_log(r"versioned\.py changed: reloaded in ", 20)
        assert answer(server) == "second"
        server.wait_log(r"worker 1: requests to the old version were cut off", 20)
        until(lambda: not procs.alive(old), 20, "the old worker to be gone")
    server.wait_log(r"worker 1 did not end: killed \[worker-stuck\]", 5)
    server.note_baseline()


def test_nothing_leaks_in_twenty_reloads(serve, place):
    server = serve("versioned", "--reload", cwd=place)
    before = server.baseline[server.pid]
    for count in range(1, 22):
        write_app(place, f"version{count}")
        changed(server, count)
    until(lambda: procs.fd_kinds(server.pid) == before, 5, f"{before}, not {procs.fd_kinds(server.pid)}")
    assert answer(server) == "version21"


def test_all_workers_follow(serve, place):
    server = serve("versioned", "--reload", workers=3, cwd=place)
    old = server.workers()
    write_app(place, "second")
    changed(server)
    assert not set(old) & set(server.workers())
    numbers = sorted(re.match(r"barkeep: worker (\d+)", procs.title(pid))[1] for pid in server.workers())
    assert numbers == ["1", "2", "3"]
    assert {answer(server) for _ in range(20)} == {"second"}


def test_hangup_reloads_too(serve, place):
    server = serve("versioned", "--reload", cwd=place)
    [old] = server.workers()
    server.signal(HUP)
    reloaded(server)
    assert server.workers() != [old]
    server.note_baseline()


def test_an_idle_server_costs_next_to_nothing(serve, place):
    server = serve("versioned", "--reload", "--reload-engine", "inotify", cwd=place)
    write_app(place, "second")
    changed(server)
    before, switches = procs.cpu_seconds([server.pid]), voluntary(server.pid)
    with pytest.raises(AssertionError):
        until(lambda: voluntary(server.pid) > switches + 20, 3, "it to wake up often")
    assert procs.cpu_seconds([server.pid]) - before < 0.1


def voluntary(pid):
    return int(re.search(rb"\nvoluntary_ctxt_switches:\s+(\d+)", procs.read(f"/proc/{pid}/status"))[1])


# ---- the first start -----------------------------------------------------------------------------------------------

def test_the_first_version_is_broken(serve, place):
    file = place / "versioned.py"
    good = file.read_text()
    file.write_text(good.replace(":\n", "\n", 1))
    server = serve("versioned", "--reload", "--bind", "127.0.0.1:0", wait=False, bind=None, cwd=place)
    server.wait_log(r"barkeep: error: 'versioned' raised SyntaxError while being imported \[app-import\]\n(  .*\n)+", 20)
    server.wait_log(r"info: nothing is served until a file changes; watching \d+ files?\n", 20)
    until(lambda: not procs.children(server.pid), 10, "no worker")
    file.write_text(good.replace("one", "other") + "\n1 / 0\n")
    server.wait_log(r"barkeep: error: 'versioned' raised ZeroDivisionError", 20)
    file.write_text(good)
    server.await_ready()
    assert answer(server) == "one"
    write_app(place, "second")
    changed(server)


def test_the_module_is_not_there_yet(serve, tmp_path):
    server = serve("versioned", "--reload", wait=False, cwd=tmp_path)
    server.wait_log(r"barkeep: error: no module named 'versioned' \[app-module\]", 20)
    server.wait_log(r"nothing is served until a file changes", 20)
    write_app(tmp_path, "one")
    server.await_ready()
    assert answer(server) == "one"


def test_waiting_for_the_first_version_can_be_stopped(serve, place):
    (place / "versioned.py").write_text("1 / 0")
    server = serve("versioned", "--reload", wait=False, cwd=place)
    server.wait_log(r"nothing is served until a file changes", 20)
    assert server.stop(INT) == 0


def test_without_reload_a_broken_start_ends(serve, place):
    (place / "versioned.py").write_text("1 / 0")
    server = serve("versioned", "--touch-reload", "x", wait=False, cwd=place)
    server.expected_exit = {4}
    assert server.ended() == 4


@pytest.mark.skipif(bool(PRELOAD), reason="started without the harness, which knows how to preload the sanitizer")
def test_check_config_does_not_wait(place):
    (place / "versioned.py").write_text("1 / 0")
    done = subprocess.run([os.path.join(os.path.dirname(PYTHON), "barkeep"), "--reload", "--check-config", "versioned"], cwd=place,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and "ZeroDivisionError" in done.stderr


# ---- options -------------------------------------------------------------------------------------------------------

def test_barkeep_run_does_not_reload(place):
    code = "import barkeep; barkeep.run('versioned', reload=True)"
    done = subprocess.run([PYTHON, "-c", code], cwd=place, capture_output=True, text=True, timeout=60)
    assert "ValueError: reload is for the barkeep command" in done.stderr


# ---- the terminal --------------------------------------------------------------------------------------------------

def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_the_transcript(place):
    """first-minutes.md, section 2."""
    file = place / "api.py"
    (place / "versioned.py").rename(file)
    (place / "part.py").write_text("")
    file.write_text(file.read_text().replace("import os, time", "import os, time, part"))
    good = file.read_text()
    port = free_port()
    with Terminal("api", "--reload", "--bind", f"127.0.0.1:{port}", cwd=place) as terminal:
        terminal.wait_text(r"Ctrl-C stops\n")
        file.write_text(good.replace("one", "other"))
        terminal.wait_text(r"reloaded in .*\n")
        file.write_text(good.replace("environ, start_response):", "environ, start_response)"))
        terminal.wait_text(r"still serving .*\n")
        terminal.type("\x03")
        assert terminal.ended() == 0
        assert matches(f"""
barkeep <1.0.0> serving api:application (WSGI) on http://127.0.0.1:{port}
  python <3.13.1> in <.venv>, 1 worker<>, ready in <310> ms; watching <41> files; Ctrl-C stops
api.py changed: reloaded in <180> ms
api.py changed: SyntaxError in api.py line 4, expected ':'; still serving the version of <14:02:11>
^Cstopped: <0> requests, 0 errors
""".replace("<>", "<, 4 threads>" if " threads" in terminal.text else ""), terminal.text) is None, terminal.text


DEBUGGED = ("def application(environ, start_response):\n    number = {number}\n    if environ['PATH_INFO'] == '/debug':\n"
            "        breakpoint()\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [str(number).encode()]\n")


def test_a_breakpoint_survives_a_reload(place):
    """The old version stays at its prompt as long as somebody sits there, the new one serves and waits for the terminal."""
    (place / "debugged.py").write_text(DEBUGGED.format(number=41))
    port = free_port()
    with Terminal("debugged", "--reload", "--bind", f"127.0.0.1:{port}", cwd=place) as terminal:
        terminal.wait_text(r"Ctrl-C stops\n")
        with Conn(("127.0.0.1", port)) as old, Conn(("127.0.0.1", port)) as new:
            old.send(b"GET /debug HTTP/1.1\r\nHost: a\r\n\r\n")
            terminal.wait_text(r"\(Pdb\) ")
            (place / "debugged.py").write_text(DEBUGGED.format(number=1000))
            terminal.wait_text(r"reloaded in")
            with pytest.raises(AssertionError):  # longer than an old version is given
                terminal.wait_text(r"cut off|killed", seconds=8)
            with Conn(("127.0.0.1", port)) as other:
                assert other.get("/").body == b"1000"
            new = Conn(("127.0.0.1", port))
            new.send(b"GET /debug HTTP/1.1\r\nHost: a\r\n\r\n")
            terminal.type("number = 42\n")
            terminal.wait_text(r"number = 42\n(?s:.*)\(Pdb\) ")
            terminal.type("c\n")
            assert old.response().body == b"42"
            terminal.wait_text(r"(?s)42\n.*> .*debugged\.py.*\(Pdb\) ")  # now it is the new one's turn
            terminal.type("c\n")
            assert new.response().body == b"1000"
            new.close()
        terminal.type("\x03")
        assert terminal.ended() == 0


def test_ctrl_c_at_a_breakpoint_leaves_the_terminal_as_it_was(place):
    import termios
    (place / "debugged.py").write_text(DEBUGGED.format(number=41))
    port = free_port()
    with Terminal("debugged", "--reload", "--bind", f"127.0.0.1:{port}", cwd=place) as terminal:
        before = termios.tcgetattr(terminal.leader)
        terminal.wait_text(r"Ctrl-C stops\n")
        with Conn(("127.0.0.1", port)) as conn:
            conn.send(b"GET /debug HTTP/1.1\r\nHost: a\r\n\r\n")
            terminal.wait_text(r"\(Pdb\) ")
            terminal.type("\x03")
            assert terminal.ended() == 0
        assert termios.tcgetattr(terminal.leader) == before


# ---- every class of workers ----------------------------------------------------------------------------------------

ASGI = """
{extra}
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({{"type": kind + ".complete"}})
            if kind == "lifespan.shutdown":
                return
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"{version} "}})
"""


@pytest.mark.parametrize("options, text", [(["--threads", "4"], None), (["-k", "gevent"], None), ([], ASGI)], ids=["threads", "gevent", "asgi"])
def test_each_class(serve, place, options, text):
    def save(version, extra=""):
        if text is None:
            write_app(place, version, extra)
        else:
            (place / "versioned.py").write_text(text.format(version=version, extra=extra))

    if PRELOAD and "gevent" in options:
        pytest.skip("greenlets copy their stacks, which the sanitizer takes for an overflow")
    save("one")
    server = serve("versioned", "--reload", *options, cwd=place)
    clients = [Client(server.address) for _ in range(2)]
    try:
        for count in (1, 2):
            server.signal(HUP)
            reloaded(server, count)
    finally:
        for client in clients:
            client.finish()
    assert [client.failures for client in clients] == [[], []]
    save("second")
    changed(server)
    assert answer(server) == "second"
    save("third", extra="1 / 0")
    server.wait_log(rf"versioned\.py changed: ZeroDivisionError in .*; {REFUSED}", 20)
    assert answer(server) == "second"
    save("fourth")
    changed(server, 2)
    assert answer(server) == "fourth"
