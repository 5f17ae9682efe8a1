"""What hooks of a gunicorn.conf.py are handed: server, worker and their cfg and log, with the attributes that hooks use.

Used in workers (hooks.py) and in the master's companion (companion.py).
"""
import os
import re

# Gunicorn's name of a setting: ours. The others have the same name, or none here.
OURS = {
    "accesslog": "access_logfile", "access_log_format": "access_logformat", "errorlog": "error_logfile", "loglevel": "log_level",
    "keepalive": "keep_alive", "proc_name": "name", "raw_env": "env", "reload_extra_files": "reload_extra_file",
    "websocket_max_message_size": "ws_max_size", "tmp_upload_dir": "spill_dir", "pidfile": "pid", "preload_app": "preload",
    "logconfig": "log_config", "logconfig_json": "log_config_json", "wsgi_app": "app", "syslog_addr": "log_syslog_to",
}
LISTS = ("bind", "raw_env", "pythonpath", "forwarded_allow_ips", "reload_extra_files", "forwarder_headers")
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Config:
    """server.cfg and worker.cfg: settings under Gunicorn's names. What the file says itself is given as it stands there."""

    def __init__(self, setting, given):
        self._setting, self._given = setting, given

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        text = self._setting(OURS.get(name, name))
        if name in LISTS:
            return [line for line in text.split("\n") if line]
        if text == "" and self._given.get(name) is not None:
            return self._given[name]
        return value_of(text)

    @property
    def settings(self):
        return self._given

    @property
    def env(self):
        return dict(line.split("=", 1) for line in self.raw_env)

    @property
    def address(self):
        return [address_of(text) for text in self.bind]

    @property
    def is_ssl(self):
        return bool(self.certfile)

    @property
    def worker_class_str(self):
        return self.worker_class

    @property
    def uid(self):
        return os.geteuid()

    @property
    def gid(self):
        return os.getegid()


def value_of(text):
    """A setting's text as the value it would have in the file."""
    if text in ("on", "off"):
        return text == "on"
    number = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhKMG])?", text)
    if not number:
        return text or None
    value = float(number[1]) * UNITS.get(number[2], 1)
    return int(value) if value == int(value) else value


def address_of(text):
    if text.startswith("unix:"):
        return text[5:]
    host, _, port = text.rpartition(":")
    return (host.rpartition("//")[2].strip("[]") or "0.0.0.0", int(port)) if port.isdigit() else text


class Log:
    """server.log and worker.log: into the error log, by the logger gunicorn.error."""

    def __init__(self, cfg):
        import logging
        self.cfg = cfg
        self.error_log, self.access_log = logging.getLogger("gunicorn.error"), logging.getLogger("gunicorn.access")
        self.log, self.exception = self.error_log.log, self.error_log.exception
        self.debug, self.info, self.warning = self.error_log.debug, self.error_log.info, self.error_log.warning
        self.error, self.critical = self.error_log.error, self.error_log.critical

    def reopen_files(self):
        """The master does."""

    close_on_exec = reopen_files

    @property
    def loglevel(self):
        return self.error_log.level


class Server:
    """Gunicorn's arbiter, as far as hooks know it. `pid` is the master's."""

    def __init__(self, cfg, log, pid=None):
        self.cfg, self.log, self.pid = cfg, log, pid if pid is not None else os.getppid()
        self.WORKERS = {}
        self.LISTENERS = []
        self.worker_age = 0
        self.app = App(cfg)

    @property
    def address(self):
        return self.cfg.address

    @property
    def num_workers(self):
        return self.cfg.workers

    @property
    def timeout(self):
        return self.cfg.timeout

    @property
    def proc_name(self):
        return self.cfg.proc_name or self.cfg.wsgi_app


class App:
    """worker.app: the application and how it was named."""

    def __init__(self, cfg):
        self.cfg, self.callable, self.app_uri = cfg, None, cfg.wsgi_app

    def wsgi(self):
        return self.callable


class Heartbeat:
    """worker.tmp: Gunicorn's heartbeat file. Heartbeats are in shared memory here, and nobody has to make them."""

    def notify(self):
        pass

    def last_update(self):
        import time
        return time.monotonic()

    close = notify


class Worker:
    """A worker. `age` is its number, from 1."""

    def __init__(self, engine, cfg, log):
        self.engine, self.cfg, self.log = engine, cfg, log
        self.pid, self.ppid = os.getpid(), os.getppid()
        self.age = self.number = engine.number
        self.app, self.wsgi, self.tmp = App(cfg), None, Heartbeat()
        self.sockets, self.booted, self.aborted, self.stopped = [], False, False, False

    def __str__(self):
        return f"<Worker {self.pid}>"

    @property
    def nr(self):
        return self.engine.counts[0]

    @property
    def timeout(self):
        return self.cfg.timeout

    @property
    def max_requests(self):
        return self.cfg.max_requests

    @property
    def alive(self):
        return not self.stopped

    @alive.setter
    def alive(self, value):
        """worker.alive = False in a hook: no further requests, another worker takes over."""
        if not value and not self.stopped:
            self.stopped = True
            self.engine.stop()

    def notify(self):
        pass
