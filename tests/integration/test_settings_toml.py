"""barkeep.toml: where it is found, what it may say, what is said about mistakes in it, and that --print-config writes one."""
import re
import sys
import textwrap

import pytest
from test_cli_golden import barkeep, here, stamps_out  # noqa: F401  (here is a fixture)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

APP = "def application(environ, start_response):\n    pass\n"


def settings(line, cwd):
    """{key: (value, origin)} of --print-config."""
    result = barkeep(line, cwd)
    assert (result.returncode, result.stderr) == (0, "")
    values = tomllib.loads(result.stdout)
    origins = dict(re.findall(r"^(\w+) = .*?  # ([^#\n]*)$", result.stdout, re.M))
    return {key: (value, origins[key]) for key, value in values.items()}


def test_settings_with_their_lines(here):  # noqa: F811
    cwd = here({"barkeep.toml": textwrap.dedent("""
        # a comment
        app = "shop.wsgi"
        workers = 3
        keep-alive = "2m"
        header_timeout = 2.5
        sendfile = false
        bind = [":8001", "unix:run/web.sock"]
        limit_request_body = "2G"
        asgi_lifespan = "off"
        threads = "auto"

        [env]
        SECRET = "x=y"
        OTHER = "1"
    """)})
    said = settings("barkeep --print-config", cwd)
    assert said["app"] == ("shop.wsgi", "barkeep.toml line 3")
    assert said["workers"] == (3, "barkeep.toml line 4")
    assert said["keep_alive"] == (120, "barkeep.toml line 5")
    assert said["header_timeout"] == (2.5, "barkeep.toml line 6")
    assert said["sendfile"] == (False, "barkeep.toml line 7")
    assert said["bind"] == ([":8001", "unix:run/web.sock"], "barkeep.toml line 8")
    assert said["limit_request_body"] == ("2G", "barkeep.toml line 9")
    assert said["asgi_lifespan"] == ("off", "barkeep.toml line 10")
    result = barkeep("barkeep --print-config", cwd)
    assert '# env = ["SECRET=...", "OTHER=..."]' in result.stdout and "x=y" not in result.stdout


def test_the_order_of_sources(here):  # noqa: F811
    cwd = here({"barkeep.toml": "workers = 3\nname = 'file'\nbind = ':1'\n", "other.toml": "workers = 5\n"})
    line = "WEB_CONCURRENCY=7 BARKEEP_NAME=env PORT=9 BARKEEP_KEEP_ALIVE=9 barkeep --print-config"
    said = settings(line, cwd)
    assert said["workers"] == (3, "barkeep.toml line 1") and said["name"] == ("file", "barkeep.toml line 2")
    assert said["bind"] == ([":1"], "barkeep.toml line 3")
    assert said["keep_alive"] == (9, "environment BARKEEP_KEEP_ALIVE")
    said = settings(line + " -w 2 --bind :5", cwd)
    assert said["workers"] == (2, "command line") and said["bind"] == ([":5"], "command line")
    assert settings(line + " -c other.toml", cwd)["workers"] == (5, "other.toml line 1")
    assert settings(line + " other.toml", cwd)["workers"] == (5, "other.toml line 1")
    assert settings("BARKEEP_CONFIG=other.toml barkeep --print-config", cwd)["workers"] == (5, "other.toml line 1")
    assert settings("barkeep --config off --print-config", cwd)["workers"] == (1, "default")


MISTAKES = [
    ("wokers = 3", "barkeep.toml line 1: no setting 'wokers'; near: workers [option-unknown]"),
    ("workers = '3'", "barkeep.toml line 1: workers '3': a number, without quotes, or \"auto\" [option-value]"),
    ("workers = 0", "barkeep.toml line 1: workers '0': a number from 1 to 1024, or auto [option-value]"),
    ("reload = 'yes'", "barkeep.toml line 1: reload 'yes': true or false [option-value]"),
    ("\nkeep_alive = '30x'", "barkeep.toml line 2: keep_alive '30x': not a duration; 30, 0.5, 30s, 5m, 1h are [option-value]"),
    ("bind = ['127.0.0.1:80000']", "barkeep.toml line 1: bind '127.0.0.1:80000': a port is 0 to 65535 [option-value]"),
    ("worker_class = 'gevemt'", "no worker class 'gevemt'; did you mean gevent? (sync, gthread, gevent, asgi, tornado) [class-unknown]"),
    ("processes = 3", "barkeep.toml line 1: 'processes' is uWSGI's name; Barkeep calls it workers [option-foreign]"),
    ("accesslog = '-'", "barkeep.toml line 1: no setting 'accesslog'; near: access_logfile [option-unknown]"),
    ("http = ':80'", "barkeep.toml line 1: 'http' is uWSGI's name; Barkeep calls it bind [option-foreign]"),
    ("daemon = true", "barkeep.toml line 1: daemon: Barkeep stays in the foreground [option-daemon]"),
    ("[server]\nworkers = 3",
     "barkeep.toml line 1: no table [server]; settings stand at the top, only [env] has a table [option-unknown]"),
    ("workers = 3\nx = [1,", "barkeep.toml: invalid value [config-file]"),
    ("workers 3", "barkeep.toml line 1: expected '=' after a key in a key/value pair [config-file]"),
    ("[env]\nA = 1", "barkeep.toml line 2: [env] takes NAME = \"value\", in one line [option-value]"),
    ("config = 'other.toml'", "barkeep.toml line 1: no setting 'config'"),
]


@pytest.mark.parametrize("text, said", MISTAKES)
def test_a_mistake(text, said, here):  # noqa: F811
    result = barkeep("barkeep app", here({"barkeep.toml": text + "\n"}))
    assert result.returncode == 2
    assert result.stderr.startswith(f"barkeep: error: {said}") or result.stderr == f"barkeep: error: {said}\n"


def test_all_mistakes_at_once(here):  # noqa: F811
    cwd = here({"barkeep.toml": "wokers = 3\nkeep_alive = 'x'\n"})
    result = barkeep("PORT=x barkeep --worker 4 app", cwd)
    assert [line.rsplit("[")[-1] for line in result.stderr.splitlines() if line.startswith("barkeep: error")] == [
        "option-unknown]", "option-unknown]", "option-value]", "option-value]"]


def test_a_file_that_is_missing_or_unreadable(here):  # noqa: F811
    result = barkeep("barkeep -c nowhere.toml app", here({}))
    assert (result.stderr, result.returncode) == ("barkeep: error: --config 'nowhere.toml': no such file [config-file]\n", 2)
    (here({}) / "bad.toml").write_bytes(b"a = 1\nname = '\xff'\n")
    assert barkeep("barkeep -c bad.toml app", here({})).stderr == "barkeep: error: bad.toml line 2: not UTF-8 [config-file]\n"


def test_print_config_writes_a_file_that_gives_the_same(here, tmp_path):  # noqa: F811
    line = ("barkeep shop.wsgi --print-config -w 3 -b :80 -b unix:a --no-sendfile --limit-request-body 2G --name 'a \"b\"\\' "
            "--keep-alive 250ms --forwarded-allow-ips '' -k gthread --threads auto --header-timeout 0")
    first = barkeep(line, here({}))
    here({"barkeep.toml": first.stdout})
    again = barkeep("barkeep --print-config", here({}))
    assert again.stderr == ""

    def values(text):
        return re.sub(r"  +#.*", "", text)
    assert values(again.stdout) == values(first.stdout)


def test_without_a_file_no_python_is_started(here, tmp_path):  # noqa: F811
    """The interpreter of this --venv says that it was run."""
    cwd = here({"venv/pyvenv.cfg": "", "venv/bin/python": f"#!/bin/sh\necho ran >> {tmp_path}/ran\nexit 3\n"})
    barkeep("barkeep --venv venv --print-config", cwd)
    assert not (tmp_path / "ran").exists()
    here({"barkeep.toml": ""})
    result = barkeep("barkeep --venv venv --print-config", cwd)
    assert (tmp_path / "ran").exists()
    assert result.returncode == 2 and "[python-missing]" in stamps_out(result.stderr)
