"""uWSGI's options that need more than another name: where the application is, addresses, logs, environment, units. Each function
gets (settings, line, Meaning) and gives a Meaning, or None when the line is as ordinary as the others. See uwsgi_options.py.
"""
import os
import re

from .uwsgi_ini import number

SPEAKS_UWSGI = False  # whether --bind takes uwsgi://: then `socket` is served as it is

SPECIAL = {}


def special(*names):
    def register(function):
        SPECIAL.update(dict.fromkeys(names, function))
        return function
    return register


def is_on(line):
    from .uwsgi_options import is_true
    return is_true(line.value)


def is_number(text):
    return re.fullmatch(r"\s*\d+\s*", text or "") is not None


# ---- the application ----------------------------------------------------------------------------------------------------------

@special("module", "wsgi-file", "callable")
def application(settings, line, Meaning):
    """`callable` belongs to the line that names the module or file; of several of these uWSGI's default is the module."""
    name = "module" if settings.last("module") else "wsgi-file"
    chosen = settings.last(name)
    if line is not settings.last("callable") and line is not chosen:
        return Meaning("changed", f"{line.name} = {line.value} is not taken: one barkeep serves one application, "
                                  f"{chosen.value if chosen else 'the last one given'}")
    if not line.value:
        return Meaning("changed", f"{line.name} has no value and is not taken")
    if line is chosen:
        settings.app = (target(settings, line, name == "wsgi-file"), line)
        return Meaning("same", f"barkeep {settings.app[0]}")
    if not chosen and not settings.last("mount"):
        return Meaning("changed", f"{line.name} is not taken: neither module nor wsgi-file says where it is")
    return Meaning("same", "the name behind the colon")


def target(settings, line, is_file):
    place, attribute = line.value.strip(), settings.last("callable")
    if is_file:
        if "/" not in place and not place.endswith(".py"):
            place = f"./{place}"
    elif ":" in place:
        return place
    return f"{place}:{attribute.value}" if attribute and attribute.value else place


@special("mount")
def mount(settings, line, Meaning):
    """One application at one place: at / it is the application, elsewhere SCRIPT_NAME says where."""
    prefix, equals, what = (line.value or "").partition("=")
    prefix = prefix.strip().rstrip("/")
    if not equals or not what.strip() or "://" in prefix or (prefix and not prefix.startswith("/")):
        return Meaning("refused", f"mount = {line.value} is not understood", detail="try: mount = /path=module:callable")
    if settings.has("mount"):
        return None
    if len(settings.all("mount")) > 1:
        return Meaning("refused", "one barkeep serves one application, and several are mounted",
                       detail="try: one barkeep for each and a proxy in front, or werkzeug's DispatcherMiddleware in a file of your own")
    what = what.strip()
    is_file = what.endswith(".py") or "/" in what.partition(":")[0]
    attribute = settings.last("callable")
    if is_file and "/" not in what and not what.endswith(".py"):
        what = f"./{what}"
    if ":" not in what and attribute and attribute.value:
        what += f":{attribute.value}"
    settings.app = (what, line)
    if not prefix:
        return Meaning("same", f"barkeep {what}")
    sets = [("env", f"SCRIPT_NAME={prefix}")]
    return Meaning("same", f"barkeep {what}, and SCRIPT_NAME in the environment", sets)


@special("home")
def home(settings, line, Meaning):
    if not line.value:
        return Meaning("changed", f"{line.name} has no value and is not taken")
    return Meaning("same", "venv", [("venv", line.value)])


@special("py-executable")
def py_executable(settings, line, Meaning):
    return Meaning("same", "python", [("python", line.value)]) if line.value else None


@special("pythonpath")
def pythonpath(settings, line, Meaning):
    import glob
    found = sorted(glob.glob(line.value or "")) if re.search(r"[*?\[]", line.value or "") else [line.value or ""]
    return Meaning("same", "pythonpath", [("pythonpath", path) for path in found if path])


@special("chdir2")
def chdir(settings, line, Meaning):
    return Meaning("same", "chdir", [("chdir", line.value)]) if line.value else None


@special("env")
def env(settings, line, Meaning):
    if "=" not in (line.value or ""):
        return Meaning("changed", f"{line.name} = {line.value} is not taken: it wants NAME=VALUE")
    return Meaning("same", "env", [("env", line.value)])


@special("envdir")
def envdir(settings, line, Meaning):
    """A directory of files, each named like a variable, with its value on the first line."""
    sets = []
    try:
        for name in sorted(os.listdir(line.value or "")):
            with open(os.path.join(line.value, name), encoding="utf-8", errors="surrogateescape") as file:
                sets.append(("env", f"{name}={file.readline().rstrip()}"))
    except OSError as error:
        return Meaning("refused", f"envdir = {line.value}: {error.strerror}")
    return Meaning("same", "env", sets)


@special("optimize")
def optimize(settings, line, Meaning):
    return Meaning("same", "PYTHONOPTIMIZE in the environment", [("env", f"PYTHONOPTIMIZE={number(line.value)}")])


# ---- addresses ----------------------------------------------------------------------------------------------------------------

@special("http-socket", "http")
def http(settings, line, Meaning):
    sets, wrong = addresses(line, plain_scheme(settings))
    if wrong:
        return wrong_address(line, wrong, Meaning)
    if line.name == "http":
        return Meaning("note", "bind; there is no second process in front of the workers", sets)
    return Meaning("same", "bind", sets)


@special("socket")
def uwsgi_socket(settings, line, Meaning):
    """The protocol is uwsgi, unless `protocol` says http."""
    protocol = settings.last("protocol")
    scheme = (protocol.value or "uwsgi").strip().lower() if protocol and line.name != "uwsgi-socket" else "uwsgi"
    if scheme in ("http", "http11"):
        sets, wrong = addresses(line, plain_scheme(settings))
    elif scheme == "uwsgi" and SPEAKS_UWSGI:
        sets, wrong = addresses(line, "uwsgi://")
    elif scheme == "uwsgi":
        return Meaning("refused", f"{line.name} = {line.value} speaks the uwsgi protocol, which Barkeep does not have yet",
                       detail=f"try: http-socket = {line.value}\n{nginx_hint(line.value)}")
    else:
        return Meaning("refused", f"protocol = {scheme}: Barkeep speaks HTTP", detail=f"try: http-socket = {line.value}")
    return wrong_address(line, wrong, Meaning) if wrong else Meaning("same", "bind", sets)


def plain_scheme(settings):
    """With a certificate an address without a scheme is https."""
    return "http://" if settings.last("https") else ""


def nginx_hint(value):
    place = address(value)[0] or value
    place = f"{place}:" if place.startswith("unix:") else place
    return f"and in nginx, in place of uwsgi_pass and uwsgi_params: proxy_pass http://{place};"


@special("protocol")
def protocol(settings, line, Meaning):
    return Meaning("same", "bind")  # uwsgi_socket has looked at it


@special("https")
def https(settings, line, Meaning):
    place, *files = [part.strip() for part in (line.value or "").split(",")]
    if not (settings.has("certfile") and settings.has("keyfile")):
        return Meaning("refused", f"https = {line.value}: Barkeep does not serve TLS yet", detail=f"try: http-socket = {place} behind a proxy")
    where, wrong = address(place)
    if wrong or len(files) < 2 or where.startswith(("unix:", "fd://")):
        return wrong_address(line, wrong or "it wants ADDRESS,CERTIFICATE,KEY", Meaning)
    sets = [("bind", f"https://{where}"), ("certfile", files[0]), ("keyfile", files[1])]
    if len(files) > 2 and files[2]:
        if not settings.has("ciphers"):
            return Meaning("refused", f"https = {line.value}: ciphers cannot be chosen", detail="try: leave them out")
        sets.append(("ciphers", files[2]))
    if len(files) > 3 and files[3]:
        if not (settings.has("ca_certs") and settings.has("cert_reqs")):
            return Meaning("refused", f"https = {line.value}: client certificates are not asked for yet")
        sets += [("ca_certs", files[3].removeprefix("!")), ("cert_reqs", "2" if files[3].startswith("!") else "1")]
    return Meaning("same", "bind https://, certfile, keyfile", sets)


def wrong_address(line, wrong, Meaning):
    return Meaning("refused", f"{line.name} = {line.value}: {wrong}", detail="try: http-socket = :8000, or 127.0.0.1:8000, or a path")


def addresses(line, scheme=""):
    """([("bind", ...)], '') or ([], what is wrong)."""
    sets = []
    for part in (line.value or "").split(","):
        where, wrong = address(part.strip())
        if wrong:
            return [], wrong
        sets.append(("bind", scheme + where))
    return sets, ""


def address(text):
    """As Barkeep writes it, and what is wrong with it."""
    if not text:
        return "", "an address is missing"
    if text.startswith("fd://"):
        return text, ""
    if text.startswith("="):
        return "", "shared sockets are not taken; give the address itself"
    if text.startswith("@"):
        return f"unix:{text}", ""
    if text.startswith("unix:"):
        return text, ""
    host, colon, port = text.rpartition(":")
    if not colon or "/" in text:
        if text.isdigit():
            return "", f"a number alone is a unix socket of that name for uWSGI; for a port write :{text}"
        return f"unix:{text}", ""
    if not port.isdigit() or int(port) > 65535:
        return "", f"'{port}' is no port"
    return (f":{port}" if host in ("", "*") else f"{host}:{port}"), ""


@special("abstract-socket")
def abstract_socket(settings, line, Meaning):
    return Meaning("refused", "abstract-socket has no counterpart", detail="try: http-socket = @name")


@special("chmod-socket")
def chmod_socket(settings, line, Meaning):
    mode = (line.value or "").strip() or "666"
    return Meaning("same", "socket-mode", [("socket_mode", "666" if mode.lower() == "true" else mode)])


@special("buffer-size")
def buffer_size(settings, line, Meaning):
    if number(line.value) <= 65536:
        return Meaning("already", "limit-request-head is 64K")
    return Meaning("same", "limit-request-head", [("limit_request_head", str(number(line.value)))])


@special("max-vars")
def max_vars(settings, line, Meaning):
    """It counts what a request becomes in the environ, headers and some twenty others."""
    if not is_number(line.value) or number(line.value) <= 128:
        return Meaning("already", "limit-request-fields is 100")
    fields = min(number(line.value), 256)
    return Meaning("same", "limit-request-fields", [("limit_request_fields", str(fields))])


@special("limit-post")
def limit_post(settings, line, Meaning):
    size = number(line.value)
    return Meaning("same", "limit-request-body", [("limit_request_body", str(size) if size else "off")])


@special("post-buffering")
def post_buffering(settings, line, Meaning):
    size = number(line.value)
    if size < 1024:
        return Meaning("already", "bodies are received before the application is called")
    return Meaning("note", "request-memory: a larger body goes to a file; bodies are always received first",
                   [("request_memory", str(min(size, 1 << 30)))])


@special("socket-timeout")
def socket_timeout(settings, line, Meaning):
    if not number(line.value):
        return Meaning("changed", f"{line.name} = {line.value} is not taken: it is 0 for uWSGI")
    seconds = str(number(line.value))
    return Meaning("note", "body-timeout and write-timeout: one for each direction", [("body_timeout", seconds), ("write_timeout", seconds)])


@special("http-keepalive")
def http_keepalive(settings, line, Meaning):
    seconds = number(line.value)
    if seconds <= 1:
        return Meaning("already", "connections are kept alive for --keep-alive")
    return Meaning("same", "keep-alive", [("keep_alive", str(seconds))])


@special("add-header")
def add_header(settings, line, Meaning):
    if (line.value or "").lower().startswith(("connection:", "keep-alive:")):
        return Meaning("already", "connections are kept alive")
    return None


# ---- workers ------------------------------------------------------------------------------------------------------------------

@special("gevent")
def gevent(settings, line, Meaning):
    count = number(line.value)
    if not count:
        return Meaning("already", "it is off")
    return Meaning("same", "worker-class gevent, worker-connections", [("worker_class", "gevent"), ("worker_connections", str(count))])


@special("threads")
def threads(settings, line, Meaning):
    if settings.last("gevent"):
        return Meaning("already", "a gevent worker has greenlets in place of threads")
    return None


@special("processes")
def processes(settings, line, Meaning):
    if (line.value or "").strip() == "auto":
        return Meaning("changed", f"{line.name} = auto is taken as Barkeep's auto; it is 0 for uWSGI", [("workers", "auto")])
    return None


@special("stats")
def stats(settings, line, Meaning):
    """What reads it, uwsgitop or an exporter, expects uWSGI's JSON."""
    if not settings.has("stats"):
        return None
    where, wrong = address(line.value or "")
    if wrong:
        return Meaning("changed", f"stats = {line.value} is not taken: {wrong}")
    sets = [("stats", where)] + ([("stats_format", "uwsgi")] if settings.has("stats_format") else [])
    return Meaning("same", "stats, as uWSGI's JSON", sets)


@special("reload-on-rss", "evil-reload-on-rss")
def reload_on_rss(settings, line, Meaning):
    """Megabytes."""
    option = settings.table.by_uwsgi.get(line.name)
    if not option or not number(line.value):
        return None
    return Meaning("same", option.name, [(option.key, f"{number(line.value)}M")])


@special("cheaper")
def cheaper(settings, line, Meaning):
    if settings.table.by_uwsgi.get("cheaper") or not number(line.value):
        return None
    workers = settings.last("processes")
    count = f"{number(workers.value)} workers" if workers and number(workers.value) else "workers"
    return Meaning("changed", f"cheaper is not taken: all {count} run all the time")


@special("reload-mercy")
def reload_mercy(settings, line, Meaning):
    return Meaning("changed", "reload-mercy is not taken: in uWSGI it does not concern workers; worker-reload-mercy does, and is "
                              "--graceful-timeout here")


@special("log-x-forwarded-for")
def log_x_forwarded_for(settings, line, Meaning):
    """Only for the line uWSGI writes by default, or %(addr) in a format."""
    if not is_on(line) or not logs_requests(settings) or settings.last("log-format"):
        return Meaning("already", "%(addr) of log-format shows it")
    text = '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    return Meaning("same", "access-logformat", [("access_logformat", text)])


@special("max-requests-delta", "max-worker-lifetime-delta")
def delta(settings, line, Meaning):
    if settings.table.by_uwsgi.get(line.name):
        return None
    return Meaning("changed", f"{line.name} is not taken: workers do not end at the same moment, one is replaced at a time")


@special("py-autoreload")
def py_autoreload(settings, line, Meaning):
    return Meaning("same", "reload", [("reload", "on" if number(line.value) else "off")])


RLIMITS = {"limit-as": ("as", "M"), "limit-nproc": ("nproc", "")}


@special(*RLIMITS)
def rlimit(settings, line, Meaning):
    if not settings.has("rlimit") or not number(line.value):
        return None
    name, unit = RLIMITS[line.name]
    return Meaning("same", "rlimit", [("rlimit", f"{name}={number(line.value)}{unit}")])


@special("prio")
def prio(settings, line, Meaning):
    if not settings.has("nice") or number(line.value) <= 0:
        return None
    return Meaning("same", "nice", [("nice", str(min(number(line.value), 19)))])


@special("uid", "gid")
def user(settings, line, Meaning):
    if not settings.is_root:
        return Meaning("already", "only root can become another user")
    if settings.table.by_uwsgi.get(line.name):
        return None
    return Meaning("refused", f"{line.name} = {line.value}: Barkeep does not change its user yet",
                   detail=f"try: start it as that user: User={line.value} in the unit file, USER in a Dockerfile, setpriv or su")


@special("hook-master-start")
def hook_master_start(settings, line, Meaning):
    if re.fullmatch(r"unix_signal:15\s+gracefully_kill_them_all", (line.value or "").strip()):
        return Meaning("already", "Barkeep stops gracefully at SIGTERM")
    return None


@special("pyargv")
def pyargv(settings, line, Meaning):
    if settings.has("uwsgi_opt"):
        return Meaning("same", "sys.argv of the application (uwsgi-opt)")
    return None


# ---- logs ---------------------------------------------------------------------------------------------------------------------

@special("logto", "daemonize")
def logto(settings, line, Meaning):
    """Everything goes there: messages and request lines."""
    if not line.value:
        return Meaning("changed", f"{line.name} has no value and is not taken")
    if re.fullmatch(r"[\w.-]*:\d+", line.value):
        return Meaning("refused", f"{line.name} = {line.value}: logs are not sent as bare UDP",
                       detail="try: error-logfile = syslog and log-syslog-to = udp://HOST:PORT in a barkeep.toml")
    sets = [("error_logfile", line.value)]
    if not settings.last("req-logger") and logs_requests(settings):
        sets.append(("access_logfile", line.value))
    if line.name.startswith("daemonize"):
        return Meaning("changed", "daemonize: Barkeep stays in the foreground and logs to the file; let a supervisor start it (barkeep init systemd)",
                       sets)
    return Meaning("same", "error-logfile" + (", access-logfile" if len(sets) > 1 else ""), sets)


@special("logger", "req-logger")
def logger(settings, line, Meaning):
    key = "access_logfile" if line.name != "logger" else "error_logfile"
    text = re.sub(r"^\w+ (?=\w+:)", "", line.value or "")  # a name in front is for log-route
    kind, _, rest = text.partition(":")
    sets = []
    if kind == "file" and rest:
        sets = [(key, rest.partition(",")[0])]
    elif kind in ("stdio", "fd") and rest in ("", "1", "2"):
        sets = [(key, "-")]
    elif kind == "syslog":
        sets = [(key, "syslog")] + ([("log_syslog_prefix", rest.partition(",")[0])] if rest else [])
    elif kind == "rsyslog" and rest:
        host, _, prefix = rest.partition(",")
        host = host if ":" in host else f"{host}:514"
        sets = [(key, "syslog"), ("log_syslog_to", f"udp://{host}")] + ([("log_syslog_prefix", prefix)] if prefix else [])
    elif kind == "systemd":
        sets = [(key, "journald")]
    if not sets:
        return Meaning("changed", f"{line.name} = {line.value} is not taken: logs go to a file, to standard error, to syslog or journald")
    if key == "error_logfile" and not settings.last("req-logger") and logs_requests(settings):
        sets.append(("access_logfile", sets[0][1]))
    return Meaning("same", ", ".join(key.replace("_", "-") for key, _ in sets), sets)


@special("log-syslog", "syslog")
def log_syslog(settings, line, Meaning):
    sets = [("error_logfile", "syslog")] + ([("log_syslog_prefix", line.value)] if line.value and line.value != "true" else [])
    if logs_requests(settings):
        sets.append(("access_logfile", "syslog"))
    return Meaning("same", "error-logfile syslog", sets)


@special("disable-logging")
def disable_logging(settings, line, Meaning):
    if not is_on(line):
        return Meaning("already", "requests are logged")
    return Meaning("same", "access-logfile off; 5xx and slow requests have a line all the same", [("access_logfile", "off")])


def logs_requests(settings):
    line = settings.last("disable-logging")
    return line is None or not is_on(line)


@special("log-5xx")
def log_5xx(settings, line, Meaning):
    return Meaning("already", "5xx have a line also without an access log")


@special("log-4xx")
def log_4xx(settings, line, Meaning):
    if logs_requests(settings) or not is_on(line):
        return Meaning("already", "requests are logged")
    return Meaning("changed", f"{line.name} is not taken: without an access log 5xx and slow requests have a line, 4xx do not")


@special("log-slow")
def log_slow(settings, line, Meaning):
    """Milliseconds."""
    return Meaning("same", "slow-request", [("slow_request", f"{number(line.value)}ms")]) if number(line.value) else None


@special("log-date")
def log_date(settings, line, Meaning):
    return Meaning("note", "lines are dated as ISO 8601; under systemd the journal does it")


@special("log-format")
def log_format(settings, line, Meaning):
    text, lost = atoms(line.value or "", settings.last("log-x-forwarded-for"))
    if not text:
        return Meaning("changed", f"{line.name} is not taken: it is empty")
    if lost:
        return Meaning("changed", f"{line.name}: Barkeep has no {', '.join(lost)}; the place shows -", [("access_logformat", text)])
    return Meaning("same", "access-logformat", [("access_logformat", text)])


ATOMS = {
    "uri": "%(R)s", "method": "%(m)s", "user": "%(u)s", "addr": "%(h)s", "host": "%({host}i)s", "proto": "%(H)s", "uagent": "%(a)s",
    "referer": "%(f)s", "status": "%(s)s", "rsize": "%(B)s", "size": "%(B)s", "cl": "%({content-length}i)s", "micros": "%(D)s",
    "msecs": "%(M)s", "secs": "%(L)s", "ltime": "%(t)s", "ctime": "%(t)s", "ftime": "%(t)s", "time": "%(t)s", "epoch": "%(t)s",
    "pid": "%(p)s",
}
LOST = ("hsize", "tmsecs", "tmicros", "wid", "core", "switches", "vars", "headers", "pktsize", "modifier1", "modifier2", "vsz", "rss",
        "vszM", "rssM", "rerr", "werr", "ioerr")
VARIABLES = {"REQUEST_URI": "%(R)s", "REQUEST_METHOD": "%(m)s", "REMOTE_ADDR": "%(h)s", "REMOTE_USER": "%(u)s", "PATH_INFO": "%(U)s",
             "QUERY_STRING": "%(q)s", "SERVER_PROTOCOL": "%(H)s", "CONTENT_LENGTH": "%({content-length}i)s",
             "CONTENT_TYPE": "%({content-type}i)s"}


def atoms(text, forwarded):
    """uWSGI's %(name) as Gunicorn's atoms, and the names that there are no atoms for."""
    lost = []

    def one(match):
        name = match.group(1)
        if name == "addr" and forwarded:
            return "%({x-forwarded-for}i)s"
        if name in ATOMS:
            return ATOMS[name]
        if name in LOST or name.startswith("metric."):
            lost.append(f"%({name})")
            return "-"
        if name.startswith("var."):
            name = name[4:]
            if name in VARIABLES:
                return VARIABLES[name]
            if name.startswith("HTTP_"):
                return f"%({{{name[5:].lower().replace('_', '-')}}}i)s"
        return f"%({{{name}}}e)s"  # uwsgi.set_logvar, or the environ
    text = re.sub(r"\[(%\((?:l|c|f)?time\))\]", r"\1", text)  # %(t)s has the brackets
    text = re.sub(r"%(?!\([^()]*\))", "%%", text)
    return re.sub(r"%\(([^()]*)\)", one, text), lost


# ---- what uWSGI does when nothing is said ---------------------------------------------------------------------------------------

def finish(settings):
    """Defaults of uWSGI that an application and its operator rely on."""
    settings.set_default("threads", "1")
    settings.set_default("timeout", "0")       # harakiri is off
    if logs_requests(settings):
        settings.set_default("access_logfile", "-")
