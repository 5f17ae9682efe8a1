"""`barkeep init`: each template for applications as they lie around, held to the program it is for where that is installed."""
import configparser
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

WSGI = "def application(environ, start_response):\n    pass\n"
ASGI = "from fastapi import FastAPI\napp = FastAPI()\n"


@pytest.fixture
def init(capsys, monkeypatch):
    def do(*words):
        from barkeep import init as module
        monkeypatch.setattr(module, "version", lambda: "1.2.3")
        capsys.readouterr()
        code = module.main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err
    return do


def printed(init, *words):
    code, out, err = init(*words)
    assert (code, err) == (0, ""), err
    assert out.endswith("\n") and not out.startswith("\n")
    return out


def test_the_application_is_found(init, write):
    write("shop/wsgi.py", WSGI)
    assert printed(init, "procfile") == "web: barkeep shop.wsgi:application\n"
    write("barkeep.toml", "workers = 2\napp = 'shop.other'\n")
    assert printed(init, "procfile") == "web: barkeep\n"
    assert printed(init, "procfile", "x:create_app()") == "web: barkeep 'x:create_app()'\n"


def test_mistakes(init, write):
    assert init("procfile")[0] == 2 and "[app-missing]" in init("procfile")[2]
    assert "did you mean systemd?" in init("systend", "app")[2]
    assert "[app-several]" in init("k8s", "a", "b")[2]
    assert init()[0] == 2 and init("--help")[0] == 0


def test_systemd(init, write, tmp_path, monkeypatch):
    directory = tmp_path / "My Shop 100%"
    directory.mkdir()
    monkeypatch.chdir(directory)
    (directory / "app.py").write_text(WSGI)
    unit = printed(init, "systemd", "app:create_app('x y')")
    made = configparser.RawConfigParser(strict=False, interpolation=None)
    made.optionxform = str
    made.read_string(unit)
    service = made["Service"]
    assert service["WorkingDirectory"] == str(directory).replace("%", "%%") and service["RuntimeDirectory"] == "my-shop-100"
    assert '''"app:create_app('x y')"''' in service["ExecStart"] and "--bind unix:/run/my-shop-100/web.sock" in service["ExecStart"]
    assert service["User"] != "root" and service["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_verifies(init, write, tmp_path):
    write("app.py", WSGI)
    unit = printed(init, "systemd")
    lines = [line.replace(line.split("=", 1)[1].split()[0], "/bin/true", 1) if line.startswith("ExecStart=") else line for line in unit.split("\n")]
    path = tmp_path / "shop.service"
    path.write_text("\n".join(lines))
    said = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60)
    complaints = [line for line in (said.stdout + said.stderr).split("\n") if "shop.service" in line]
    assert not complaints, complaints


@pytest.mark.skipif(not shutil.which("nginx") and not os.path.exists("/usr/sbin/nginx"), reason="no nginx")
@pytest.mark.parametrize("text", [WSGI, ASGI], ids=["wsgi", "asgi"])
def test_nginx_takes_it(init, write, tmp_path, text):
    write("app.py", text)
    site = printed(init, "nginx")
    assert ("$http_upgrade" in site) == (text is ASGI)
    (tmp_path / "site.conf").write_text(site.replace("listen 80", "listen 127.0.0.1:1"))
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nhttp {{\n access_log off;\n"
                                         + "".join(f" {kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                                         + f" include {tmp_path}/site.conf;\n}}\n")
    said = subprocess.run([shutil.which("nginx") or "/usr/sbin/nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
                          capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 or "bind()" in said.stderr, said.stderr


def test_docker(init, write):
    write("app.py", WSGI)
    write("requirements.txt", "flask\n")
    lines = printed(init, "docker").split("\n")
    instructions = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert {name for name, _ in instructions} == known and instructions[0][0] == "FROM"
    order = [name for name, _ in instructions]
    assert order.index("RUN") > order.index("COPY") and order.index("USER") > order.index("RUN") and order[-1] == "CMD"
    assert json.loads(instructions[-1][1])[:2] == ["barkeep", "app:application"]
    assert json.loads(dict(instructions)["HEALTHCHECK"].partition("CMD ")[2])[:2] == ["python", "-c"]
    compile(json.loads(dict(instructions)["HEALTHCHECK"].partition("CMD ")[2])[2], "healthcheck", "exec")
    installs = [rest for name, rest in instructions if name == "RUN" and "pip" in rest]
    assert shlex.split(installs[0])[-1] == "barkeep==1.2.3" and "requirements.txt" in installs[0]


def test_kubernetes(init, write):
    yaml = pytest.importorskip("yaml")
    write("app.py", WSGI)
    deployment, service = yaml.safe_load_all(printed(init, "k8s", "app:create_app('x')"))
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"][:2] == ["barkeep", "app:create_app('x')"]
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]
    assert pod["terminationGracePeriodSeconds"] > 25 + 10 and container["resources"]["limits"]["cpu"] == "2"
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")} == {"/-/live"}
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_supervisor(init, write, tmp_path):
    write("app.py", WSGI)
    text = printed(init, "supervisor", "app:create_app('100%')")
    options = pytest.importorskip("supervisor.options")
    path = tmp_path / "supervisord.conf"
    path.write_text(f"[supervisord]\nlogfile={tmp_path}/s.log\npidfile={tmp_path}/s.pid\nchildlogdir={tmp_path}\n"
                    + text.replace("/var/log/", f"{tmp_path}/").replace("user=", ";user="))
    made = options.ServerOptions()
    made.realize(args=["-c", str(path)])
    [group] = made.process_group_configs
    [program] = group.process_configs
    assert shlex.split(program.command)[1] == "app:create_app('100%')" and program.directory == str(Path.cwd())
    assert program.exitcodes == [0, 2] and program.stopwaitsecs > 25
