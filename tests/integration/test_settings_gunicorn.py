"""gunicorn.conf.py and GUNICORN_CMD_ARGS: found, read and taken as Gunicorn takes them."""
import textwrap

import pytest
from test_cli_golden import barkeep, here, stamps_out  # noqa: F811,F401  (here is a fixture)
from test_settings_toml import settings

HEROKU = """
    import os
    bind = ["[::]:{}".format(os.environ.get("PORT", 5000))]
    worker_class = "gthread"
    threads = 5
    workers = os.environ.get("WEB_CONCURRENCY", 1)
    graceful_timeout = 20
    keepalive = 95
    accesslog = "-"
    access_log_format = 'method=%(m)s path="%(U)s" status=%(s)s request_id="%({x-request-id}i)s"'
    forwarded_allow_ips = "*"
    reload = os.environ.get("ENVIRONMENT") == "development"
    reuse_port = True
"""


@pytest.fixture
def conf(here):  # noqa: F811
    def make(text, name="gunicorn.conf.py", **files):
        return here({name: textwrap.dedent(text), **{one.replace("_py", ".py"): textwrap.dedent(two) for one, two in files.items()}})
    return make


def taken(line, cwd):
    """{key: value} of what a file set."""
    return {key: value for key, (value, origin) in settings(line, cwd).items() if origin.endswith("gunicorn.conf.py")}


def test_the_shape_of_heroku(conf):
    cwd = conf(HEROKU)
    said = taken("PORT=9000 WEB_CONCURRENCY=3 barkeep --print-config app", cwd)
    assert said == {"bind": ["[::]:9000"], "worker_class": "gthread", "threads": 5, "workers": 3, "graceful_timeout": 20,
                    "keep_alive": 95, "access_logfile": "-", "forwarded_allow_ips": ["*"], "reload": False, "reuse_port": True,
                    "access_logformat": 'method=%(m)s path="%(U)s" status=%(s)s request_id="%({x-request-id}i)s"'}


def test_forms_of_values(conf):
    cwd = conf("""
        workers = "0x4"
        threads = " 2 "
        keepalive = True
        sendfile = "False"
        reload = " TRUE "
        raw_env = ("A=1", "B=2")
        pythonpath = "one,two"
        secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
        limit_request_line = 0
        limit_request_fields = 200
        loglevel = "DEBUG"
        chdir = None
        forwarded_allow_ips = "10.0.0.0/8, 127.0.0.1"
        wsgi_app = "shop.wsgi"
    """)
    said = taken("barkeep --print-config", cwd)
    assert said == {"workers": 4, "threads": 2, "keep_alive": 1, "sendfile": False, "reload": True, "pythonpath": ["one", "two"],
                    "secure_scheme_headers": ["X-FORWARDED-PROTO=https"], "limit_request_line": 1048576,
                    "limit_request_fields": 200, "log_level": "debug", "forwarded_allow_ips": ["10.0.0.0/8", "127.0.0.1"],
                    "app": "shop.wsgi"}
    assert '# env = ["A=...", "B=..."]' in barkeep("barkeep --print-config", cwd).stdout


def test_threads_are_not_multiplied_for_those_who_come_from_gunicorn(conf):
    assert settings("barkeep --print-config app", conf("workers = 2\n"))["threads"] == (1, "as with gunicorn.conf.py")
    assert settings("BARKEEP_THREADS=3 barkeep --print-config app", conf("workers = 2\n"))["threads"][0] == 3


def test_the_order_of_sources(conf):
    cwd = conf("workers = 2\nbind = ':1'\naccesslog = '-'\n")
    said = settings("WEB_CONCURRENCY=9 PORT=9 GUNICORN_CMD_ARGS='--bind :2 -b :3 --name=\"a b\"' barkeep --print-config app --bind :4",
                    cwd)
    assert said["workers"] == (2, "gunicorn.conf.py") and said["bind"] == ([":4"], "command line")
    assert said["name"] == ("a b", "GUNICORN_CMD_ARGS")
    said = settings("GUNICORN_CMD_ARGS='--bind :2 -b :3 other:app' barkeep --print-config app", cwd)
    assert said["bind"] == ([":2", ":3"], "GUNICORN_CMD_ARGS") and said["app"][0] == "app"
    conf("workers = 5\n", name="other.conf.py")
    assert settings("GUNICORN_CMD_ARGS='-c other.conf.py' barkeep --print-config app", cwd)["workers"] == (5, "other.conf.py")
    assert settings("GUNICORN_CMD_ARGS='-c other.conf.py' barkeep -c file:gunicorn.conf.py --print-config app",
                    cwd)["workers"] == (2, "gunicorn.conf.py")
    # Beside our own file the variable is environment.
    conf("name = 'ours'\n", name="barkeep.toml")
    assert settings("GUNICORN_CMD_ARGS='--name theirs -w 6' barkeep --print-config", cwd)["name"] == ("ours", "barkeep.toml line 1")


def test_a_module_as_file(conf):
    cwd = conf("workers = 7\n", name="shop/conf/production.py")
    assert settings("barkeep -c python:shop.conf.production --print-config app", cwd)["workers"] == (7, "python:shop.conf.production")


CLASSES = [
    ("'gevent'", "gevent"), ("'egg:gunicorn#gthread'", "gthread"), ("'gunicorn.workers.ggevent.GeventWorker'", "gevent"),
    ("'uvicorn.workers.UvicornWorker'", "asgi"), ("'uvicorn_worker.UvicornWorker'", "asgi"), ("'gevent_pywsgi'", "gevent"),
    ("lambda: 'sync'", "sync"),
]


@pytest.mark.parametrize("given, ours", CLASSES)
def test_worker_classes(given, ours, conf):
    result = barkeep("barkeep --print-config app", conf(f"worker_class = {given}\n"))
    assert f'worker_class = "{ours}"' in result.stdout and result.returncode == 0
    assert ("[class-taken]" in result.stderr) == ("." in given)


def test_a_worker_class_of_the_application_counts_as_what_it_comes_from(conf):
    fake = "class UvicornWorker: pass\nUvicornWorker.__module__ = 'uvicorn_worker'\n"
    cwd = conf("worker_class = 'mine.Worker'\n", uvicorn_worker_py=fake, **{"mine_py": """
        from uvicorn_worker import UvicornWorker
        class Worker(UvicornWorker):
            CONFIG_KWARGS = {"loop": "uvloop", "ws_ping_interval": 7, "log_config": None}
        """})
    (cwd / "uvicorn_worker.py").write_text(fake)
    said = settings("barkeep --print-config app", cwd)
    assert [said[key][0] for key in ("worker_class", "asgi_loop", "ws_ping_interval")] == ["asgi", "uvloop", 7]


SAID = [
    ("wokers = 4", 0, "warning: gunicorn.conf.py: no setting 'wokers'; near: workers [option-unknown]"),
    ("WORKERS = 4\nMY_DEFAULT = 3\nhelper = {}", 0, "warning: gunicorn.conf.py: no setting 'WORKERS'; near: workers [option-unknown]"),
    ("workers = 4.5", 2, "error: gunicorn.conf.py: workers 4.5: a whole number, or a text with one [option-value]"),
    ("workers = 'two'", 2, "error: gunicorn.conf.py: workers 'two': a whole number, or a text with one [option-value]"),
    ("workers = 0", 2, "error: gunicorn.conf.py: workers '0': a number from 1 to 1024, or auto [option-value]"),
    ("reload = 1", 2, "error: gunicorn.conf.py: reload 1: True or False [option-value]"),
    ("bind = 'host:port'", 2, "error: gunicorn.conf.py: bind 'host:port': a port is 0 to 65535 [option-value]"),
    ("limit_request_fields = 1000", 0, "warning: gunicorn.conf.py: limit_request_fields 1000 is taken as 256, the most there is "
     "[setting-ignored]"),
    ("worker_tmp_dir = '/dev/shm'", 0, "warning: gunicorn.conf.py: not needed here, and left out: worker_tmp_dir (Barkeep has no "
     "heartbeat file: heartbeats are in shared memory) [setting-ignored]"),
    ("daemon = True", 2, "error: gunicorn.conf.py: daemon: Barkeep stays in the foreground [option-daemon]"),
    ("def post_fork(server):\n    pass", 2, "error: gunicorn.conf.py: post_fork: takes 1 arguments, not 2 [option-value]"),
    ("post_request = 3", 2, "error: gunicorn.conf.py: post_request: not a function [option-value]"),
    ("secure_scheme_headers = 'https'", 2,
     "error: gunicorn.conf.py: secure_scheme_headers 'https': a dict of texts: {'X-FORWARDED-PROTO': 'https'} [option-value]"),
    ("x = 1\nimport os\ny = os.environ['NOT_THERE']", 2,
     "error: gunicorn.conf.py raised KeyError [config-failed]\n  File \"gunicorn.conf.py\", line 3, in <module>\n"
     "  y = os.environ['NOT_THERE']\n  KeyError: 'NOT_THERE'"),
    ("workers = = 2", 2, "error: SyntaxError in gunicorn.conf.py line 1, invalid syntax [config-file]"),
    ("import sys\nsys.exit(3)", 2, "error: gunicorn.conf.py ended its process with 3 as exit code [config-failed]"),
    ("import os\nos._exit(3)", 2,
     "error: the process that read gunicorn.conf.py ended with exit code 3 and no answer [config-failed]"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGUSR1)", 2,
     "error: the process that read gunicorn.conf.py ended by signal 10 (SIGUSR1) [config-failed]"),
    ("workers = 2\nuser = None\ncertfile = None\nspew = False\npreload_app = False\nraw_paste_global_conf = []", 0, ""),
]


@pytest.mark.parametrize("text, code, said", SAID)
def test_what_is_said(text, code, said, conf):
    result = barkeep("barkeep --print-config app", conf(text + "\n"))
    lines = stamps_out(result.stderr).replace("<time> barkeep[<pid>] ", "barkeep: ")
    assert result.returncode == code
    assert lines.startswith(f"barkeep: {said}\n") if said else lines == ""


def test_what_a_file_prints_is_not_in_our_way(conf):
    result = barkeep("barkeep --print-config app", conf("print('hello')\nimport os\nos.system('echo there')\nworkers = 3\n"))
    assert "hello" not in result.stdout and "there" not in result.stdout and "hello" in result.stderr
    assert result.stdout.startswith("# barkeep") and "workers = 3" in result.stdout


def test_what_a_file_starts_is_not_waited_for(conf):
    cwd = conf("import threading, time, atexit\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
               "atexit.register(time.sleep, 600)\nworkers = 3\n")
    assert taken("barkeep --print-config app", cwd)["workers"] == 3


@pytest.mark.parametrize("words, said", [
    ("--bind", "GUNICORN_CMD_ARGS: --bind needs a value: --bind ADDR [option-value]"),
    ("--workers x", "GUNICORN_CMD_ARGS: --workers 'x': a number from 1 to 1024, or auto [option-value]"),
    ("--worker 4", "GUNICORN_CMD_ARGS: no option '--worker' [option-unknown]"),
    ("--name 'x", "GUNICORN_CMD_ARGS: a quote is not closed [option-value]"),
    ("--daemon", "GUNICORN_CMD_ARGS: --daemon: Barkeep stays in the foreground [option-daemon]"),
])
def test_mistakes_in_the_variable(words, said, here):  # noqa: F811
    cwd = here({})
    import subprocess

    from test_cli_golden import BARKEEP, environment
    result = subprocess.run([BARKEEP, "app"], cwd=cwd, env=environment({"GUNICORN_CMD_ARGS": words}), capture_output=True, text=True)
    assert result.stderr.startswith(f"barkeep: error: {said}\n") and result.returncode == 2


def test_gunicorns_needless_options_do_not_stop_anything(here):  # noqa: F811
    result = barkeep("barkeep --worker-tmp-dir /dev/shm --print-config app", here({}))
    assert result.returncode == 0 and "heartbeats are in shared memory [setting-ignored]" in result.stderr
