"""The module `uwsgi` of an application that came from uWSGI, see uwsgi_shim.py. What it has is true here; what it cannot have is
no attribute, and the AttributeError names the alternative.
"""
import contextvars
import os
import signal
import socket
import sys
import time

from barkeep import uwsgi_shim as _shim

version = b"2.0.31"  # whose behaviour this is
version_info = (2, 0, 31, 0, "")
hostname = socket.gethostname().encode()
opt = _shim.facts.options
numproc = _shim.facts.workers
cores = _shim.facts.threads
has_threads = 1
buffer_size = 65536
started_on = int(time.time())
applications = None
unbit = loop = None
magic_table = {}
SPOOL_RETRY, SPOOL_OK, SPOOL_IGNORE = -1, -2, 0

_environ = contextvars.ContextVar("environ of the request", default=None)
_MASTER = os.getppid()


def worker_id():
    return _shim.facts.number


def mule_id():
    return 0


def masterpid():
    return _MASTER


def is_a_reload():
    return False


def i_am_the_spooler():
    return None


def i_am_the_lord(name=None):
    return False


def in_farm(name=None):
    return False


def micros():
    return int(time.time() * 1000000)


def log(text):
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    from barkeep._engine import log as write
    from barkeep.words import clean
    for line in str(text).splitlines() or [""]:
        write("info", None, clean(line))
    return True


def set_logvar(name, value):
    """For %({name}e)s of --access-logformat, which is what %(name) of uWSGI's log-format becomes."""
    environ = _environ.get()
    if environ is not None:
        environ[_text(name)] = _text(value)


def get_logvar(name):
    environ = _environ.get()
    value = environ.get(_text(name)) if environ is not None else None
    return value.encode("latin-1", "replace") if isinstance(value, str) else None


def log_this_request():
    """Which requests have a line is --access-logfile's and --slow-request's."""


def reload():
    """All workers, one by one."""
    os.kill(_MASTER, signal.SIGHUP)
    return True


def stop():
    os.kill(_MASTER, signal.SIGTERM)
    return True


def setprocname(name):
    from barkeep._engine import set_title
    from barkeep.words import clean
    set_title(clean(_text(name)))


def accepting():
    """Workers accept when they are ready."""


def ready():
    return True


def ready_fd():
    return False


def signal_registered(number):
    return None


def _text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _with_environ(application):
    """The application, with its environ at hand for the functions above, and in it what uWSGI puts there."""
    node = socket.gethostname()

    def call(environ, start_response):
        environ["uwsgi.version"], environ["uwsgi.node"] = version, node.encode()
        _environ.set(environ)
        return application(environ, start_response)
    call.__wrapped__ = application
    return call


_ELSEWHERE = (
    ("cache_", "use Redis, memcached or a cache of the framework"),
    ("metric_", "count in the application, with a client of Prometheus or statsd"),
    ("queue_", "use Redis or a task queue"),
    ("sharedarea_", "use multiprocessing.shared_memory"),
    (("lock", "unlock", "is_locked"), "use a lock of the database or of Redis, or fcntl.flock"),
    (("spool", "send_to_spooler", "spooler", "set_spooler"), "use a task queue: Celery, RQ, Huey"),
    (("mule_", "farm_", "install_mule"), "start such a process as a service of its own"),
    (("add_cron", "add_timer", "add_rb_timer", "add_ms_timer"), "use cron, a systemd timer, or a scheduler in a process of its own"),
    (("add_file_monitor",), "--touch-reload replaces workers when a file changes"),
    (("register_signal", "signal", "signal_"), "workers have no signals of uWSGI's kind: use a task queue or Redis"),
    (("register_rpc", "rpc", "call"), "use HTTP or Redis between processes"),
    (("websocket_",), "WebSockets are for ASGI applications and Tornado"),
    (("chunked_read",), "read wsgi.input: it decodes chunked bodies"),
    (("async_", "suspend", "wait_fd_", "green_schedule", "recv", "send", "connect", "is_connected", "close"), "use -k gevent"),
    (("sendfile", "offload"), "return environ['wsgi.file_wrapper'](file)"),
    (("workers", "total_requests", "request_id", "listen_queue", "mem", "logsize", "sockets"), "ask the server from outside: --stats"),
    (("set_user_harakiri",), "--timeout bounds each request"),
    (("alarm", "set_warning_message"), "write to the log"),
    (("disconnect", "connection_fd", "start_response", "add_var", "parsefile", "extract", "embedded_data", "cl"), "it is part of no request of WSGI"),
)


class NotHere(AttributeError, NotImplementedError):
    """The text names what to use in its place."""


def __getattr__(name):
    for prefixes, hint in _ELSEWHERE:
        for prefix in (prefixes,) if isinstance(prefixes, str) else prefixes:
            if name == prefix or (prefix.endswith("_") and name.startswith(prefix)) or name == prefix + "_nb":
                raise NotHere(f"uwsgi.{name} is not there under Barkeep: {hint}")
    raise AttributeError(f"module 'uwsgi' has no attribute {name!r} under Barkeep")


if "gevent" in sys.modules:
    import gevent  # noqa: F401  (its contexts are one for each greenlet)
