"""What uWSGI's options become: each line of an ini file gets a Meaning. Four classes: the same setting under Barkeep's name, true
in Barkeep already, taken with another meaning (a warning), refused with a hint. What clients or jobs would miss is refused, what
only an operator notices is a warning.

Names with their counterpart in the uWSGI column of options.def need nothing here; uwsgi_special.py has those that need more than
a change of name. Pure: reads no file, says nothing. `migrate` and the config process both ask here.
"""
import os
import re

from .uwsgi_ini import number
from .uwsgi_names import NAMES
from .uwsgi_special import SPECIAL, finish

FALSE = ("false", "off", "no", "0")
NEAR_MAX = 30  # unknown names that near ones are looked for: it takes milliseconds

# One option under several names.
OTHER_NAMES = {
    "workers": "processes", "virtualenv": "home", "venv": "home", "pyhome": "home", "wsgi": "module", "file": "wsgi-file",
    "pp": "pythonpath", "python-path": "pythonpath", "uwsgi-socket": "socket", "chmod": "chmod-socket", "chown": "chown-socket",
    "py-auto-reload": "py-autoreload", "python-autoreload": "py-autoreload", "python-auto-reload": "py-autoreload",
    "logformat": "log-format", "logger-req": "req-logger", "disable-requests-logging": "disable-logging",
    "socket-protocol": "protocol", "plugin": "plugins", "safe-pidfile": "pidfile", "pidfile2": "pidfile",
    "safe-pidfile2": "pidfile", "daemonize2": "daemonize", "logto2": "logto", "stats-server": "stats",
    "procname-prefix-spaced": "procname-prefix", "procname": "procname-prefix", "http-modifier1": "http-var",
    "http-modifier2": "http-var", "http-socket-modifier1": "http-var", "http-socket-modifier2": "http-var",
    "wsgi-env-behavior": "wsgi-env-behaviour", "evil-reload-on-as": "reload-on-as",
    "gevent-early-monkey-patch": "gevent-monkey-patch", "stats-min": "stats-minified", "http11-socket": "http-socket",
    "python-import": "import", "py-import": "import", "pyimport": "import",
}

# Barkeep ... (always).
ALREADY = {
    "master": "always has a master",
    "vacuum": "always removes its unix sockets",
    "enable-threads": "always lets the application use threads",
    "single-interpreter": "runs one application in one interpreter",
    "need-app": "never starts without the application",
    "die-on-term": "stops gracefully at SIGTERM",
    "no-orphans": "never leaves workers behind",
    "thunder-lock": "wakes one worker for each connection, without a lock",
    "lazy-apps": "loads the application in each worker",
    "auto-procname": "always sets process titles",
    "plugins": "has no plugins: Python, HTTP and gevent are built in",
    "plugins-dir": "has no plugins",
    "plugin-dir": "has no plugins",
    "need-plugin": "has no plugins",
    "need-plugins": "has no plugins",
    "autoload": "has no plugins",
    "http-chunked-input": "always takes chunked bodies",
    "http-auto-chunked": "sends chunked answers when a length is not known",
    "http-raw-body": "passes bodies as they are",
    "http-websockets": "needs no option for WebSockets",
    "http-manage-expect": "always answers Expect: 100-continue",
    "http-processes": "has no separate HTTP process",
    "http-workers": "has no separate HTTP process",
    "http-events": "sizes this itself",
    "http-buffer-size": "sizes this itself",
    "http-connect-timeout": "has no hop to a second process",
    "http-var": "has one protocol on this address",
    "offload-threads": "sends files and answers from its own loop",
    "py-call-osafterfork": "always runs Python's fork hooks",
    "py-call-uwsgi-fork-hooks": "always runs Python's fork hooks",
    "ignore-sigpipe": "is never bothered by SIGPIPE",
    "ignore-write-errors": "does not log clients that go away as errors",
    "disable-write-exception": "raises nothing into the application when a client goes away",
    "write-errors-exception-only": "raises nothing into the application when a client goes away",
    "write-errors-tolerance": "does not log clients that go away as errors",
    "log-master": "always writes logs by its master, off the way of requests",
    "log-master-bufsize": "writes whole lines",
    "log-master-stream": "writes whole lines",
    "log-master-req-stream": "writes whole lines",
    "threaded-logger": "always writes logs by its master, off the way of requests",
    "no-defer-accept": "does not defer accept",
    "memory-report": "keeps memory figures in the master",
    "harakiri-verbose": "always logs what a request that took too long was doing",
    "harakiri-graceful-timeout": "lets the worker's other requests finish first",
    "harakiri-no-arh": "has no after-request hook",
    "show-config": "has --print-config, which ends after it",
    "close-on-exec": "always does so",
    "close-on-exec2": "always does so",
    "reaper": "always reaps its children",
    "gevent-monkey-patch": "always patches first in a gevent worker",
    "gevent-wait-for-hub": "waits for requests at the end",
    "post-buffering-bufsize": "sizes this itself",
    "wsgi-env-behaviour": "gives each request an environ of its own",
    "wsgi-accept-buffer": "follows PEP 3333",
    "wsgi-accept-buffers": "follows PEP 3333",
    "wsgi-strict": "follows PEP 3333",
    "wsgi-manage-chunked-input": "always takes chunked bodies",
    "wsgi-disable-file-wrapper": "sends files by sendfile; --no-sendfile ends that",
    "start_response-nodelay": "follows PEP 3333",
    "reload-os-env": "leaves os.environ alone",
    "so-keepalive": "finds dead clients by its timeouts",
    "tcp-nodelay": "always sends without delay",
    "shutdown-sockets": "closes its listeners first when it stops",
    "http-gracefully-stop": "stops gracefully",
    "no-threads-wait": "waits for --graceful-timeout at most",
    "skip-atexit": "gives exit handlers --graceful-timeout at most",
    "skip-atexit-teardown": "gives exit handlers --graceful-timeout at most",
    "max-fd": "raises the soft limit of descriptors itself",
    "log-reopen": "reopens log files at SIGUSR1",
    "exit-on-reload": "keeps its process when it reloads",
    "py-tracebacker": "logs stacks of slow requests itself",
    "min-worker-lifetime": "starts new workers with growing pauses when they die early",
    "forkbomb-delay": "starts new workers with growing pauses when they die early",
    "stats-http": "speaks HTTP where it gives figures",
    "stats-minified": "writes figures without spaces",
    "strict": "names every option that it does not know",
    "cheaper-algo": "has one algorithm: busy threads and the accept queue",
    "logformat-strftime": "dates its lines itself",
    "log-format-strftime": "dates its lines itself",
    "log-sendfile": "logs such requests as any other",
    "log-zero": "logs such requests as any other",
    "threads-stacksize": "has threads of the usual size",
    "manage-script-name": "sets SCRIPT_NAME itself",
    "honour-range": "leaves Range to the application",
    "daemons-honour-stdin": "has no daemons",
    "honour-stdin": "leaves stdin to a single worker on a terminal",
    "ignore-script-name": "sets SCRIPT_NAME itself",
    "master-as-root": "keeps what the master needs",
    "drop-after-apps": "loads the application as its user",
    "drop-after-init": "loads the application as its user",
    "http-server-name-as-http-host": "sets SERVER_NAME by the Host header's rules",
}

# Not here, and only an operator notices: a warning.
MISSING = {
    "cheap": "there is always a worker",
    "idle": "there is always a worker",
    "die-on-idle": "there is always a worker",
    "lazy": "the application is loaded in each worker; reloads replace workers one by one",
    "http-timeout": "there is no second process that waits for the workers; --timeout bounds a request",
    "log-maxsize": "rotate with logrotate and SIGUSR1",
    "log-backupname": "rotate with logrotate and SIGUSR1",
    "log-truncate": "log files are appended to",
    "touch-logrotate": "rotate with logrotate and SIGUSR1",
    "touch-logreopen": "log files are opened anew at SIGUSR1",
    "logfile-chown": "log files belong to the user of the master",
    "logfile-chmod": "log files have the mode of the umask",
    "log-big": "only --slow-request picks out requests",
    "log-ioerror": "clients that go away are counted, not logged",
    "log-micros": "%(D)s in --access-logformat is microseconds",
    "log-prefix": "lines carry time, pid and level",
    "limit-as": "use LimitAS= of systemd, ulimit -v, or a memory limit of the container",
    "reload-on-as": "address space says little; --max-worker-memory looks at resident memory",
    "limit-nproc": "use LimitNPROC= of systemd",
    "thread-stacksize": "use ulimit -s, which threads take over",
    "threads-stacksize": "use ulimit -s, which threads take over",
    "reload-on-exception": "workers go on after an exception",
    "reload-on-exception-type": "workers go on after an exception",
    "prio": "use Nice= of systemd",
    "cpu-affinity": "use CPUAffinity= of systemd, or none: the kernel does well",
    "never-swap": "use the limits of systemd or of the container",
    "ksm": "use the kernel's own setting",
    "master-fifo": "signals do this: HUP reloads, TERM stops, TTIN and TTOU change the number of workers",
    "http-auto-gzip": "answers are sent as the application made them: compress in the proxy",
    "catch-exceptions": "exceptions go to the log, clients get a 500 page",
    "enable-metrics": "there is no metrics subsystem of uWSGI's kind",
    "metric": "there is no metrics subsystem of uWSGI's kind",
    "metrics-dir": "there is no metrics subsystem of uWSGI's kind",
    "carbon": "read the figures from --stats",
    "statsd": "read the figures from --stats",
    "stats-push": "read the figures from --stats",
    "stats-no-cores": "the figures have their own shape",
    "stats-no-metrics": "the figures have their own shape",
    "snmp": "read the figures from --stats",
    "alarm": "watch the log or the figures",
    "alarm-backlog": "watch the log or the figures",
    "log-alarm": "watch the log or the figures",
    "touch-exec": "use a path unit of systemd",
    "fallback-config": "a supervisor decides what to start after a failure",
    "no-site": "start with another interpreter: --python",
    "umask": "set it before Barkeep starts",
    "backtrace-depth": "the kernel's core dumps serve that purpose",
    "profiler": "use a profiler of Python, py-spy for one",
    "heartbeat": "there is no emperor",
    "vassal-sos-backlog": "there is no emperor",
    "procname-master": "--name is shown in the titles of all processes",
    "procname-append": "--name is shown in the titles of all processes",
    "mule-reload-mercy": "there are no mules",
    "log-route": "all lines go to one log; filter where it is read",
    "log-req-route": "all lines go to one log; filter where it is read",
    "log-filter": "all lines go to one log; filter where it is read",
    "log-drain": "all lines go to one log; filter where it is read",
    "log-encoder": "--log-format json writes objects",
    "log-req-encoder": "--access-logformat json writes objects",
    "unenv": "take the variable out where Barkeep is started: env -u NAME",
    "http-to-https": "let the proxy redirect",
    "freebind": "use sysctl net.ipv4.ip_nonlocal_bind, or IPFreeBind= of a systemd socket",
    "tcp-fast-open": "connections are kept alive instead",
    "socket-sndbuf": "the kernel sizes socket buffers",
    "socket-rcvbuf": "the kernel sizes socket buffers",
    "chown-socket": "unix sockets belong to the user that starts Barkeep: start it as that user, or put nginx's user into its group",
    "no-default-app": "there is one application",
    "harakiri-queue-threshold": "--timeout always holds",
    "harakiri-graceful-signal": "no signal is sent to a request; its worker is replaced",
}

# Not here, and clients or jobs would miss it: an error. First match wins.
REFUSED = (
    (r"static-map2?|check-static(-docroot)?|static-.*|mimefile|fileserve-mode",
     "Barkeep serves no files; let nginx do it (location /static/ { alias ...; }), or WhiteNoise in the application"),
    (r"add-header|del-header|collect-header|pull-header|error-page-.*", "set headers in the application or in the proxy"),
    (r"(error-|response-|final-)?route(-.*)?", "Barkeep has no routing language: do it in the application or in the proxy"),
    (r"spooler.*|spool.*", "Barkeep has no spooler: use a task queue (Celery, RQ, Huey)"),
    (r"mule.*|farm.*", "Barkeep has no mules: start them as services of their own"),
    (r"cron|cron-.*|legion-cron.*|timer|rb-timer", "Barkeep runs no jobs: use cron or a systemd timer"),
    (r"attach-.*|.*-daemon.*", "Barkeep starts no helpers: a supervisor (systemd, supervisord, a second container) does"),
    (r"emperor.*|vassal.*", "Barkeep has no emperor: one unit for each application (systemd templates: barkeep@.service)"),
    (r"zerg.*", "no zerg mode: SIGHUP replaces workers without losing a connection"),
    (r"subscribe.*|subscription.*|fastrouter.*|rawrouter.*|sslrouter.*|forkpty.*|tuntap.*|legion.*|http-subscription.*",
     "Barkeep has no routers or subscriptions: use a load balancer"),
    (r"http-to|http-use-.*|http-base|http-pattern|http-zerg|http-cheap", "Barkeep serves its own application only: use a proxy"),
    (r"cache2?|cache-.*|check-cache", "Barkeep has no cache: use Redis, memcached or a cache of the framework"),
    (r"queue.*|sharedarea|locks?|lock-engine|ftok", "Barkeep shares no memory between workers for the application: use Redis or the like"),
    (r"rpc.*|snmp-.*|signal.*", "Barkeep has no messages between workers: use Redis or the like"),
    (r"chroot|pivot-root|pivot_root|unshare|namespace.*|ns.*|setns.*|jail.*|cap|emperor-cap|cgroup.*|refork.*|re-fork.*|jidfile|uts.*",
     "use a container or the sandbox settings of systemd"),
    (r"hook-.*|exec-.*|call-.*|mount-.*|umount-.*|after-request-.*|wait-.*|wait-for-.*",
     "Barkeep runs no hooks of uWSGI: ExecStartPre= of systemd, or gunicorn.conf.py's hooks, which Barkeep runs"),
    (r"worker-exec2?|python-worker-override|python-raw|worker-mount", "a worker of Barkeep runs the application"),
    (r"paste|paste-logger|pecan|pump|web3.*|eval|wsgi-lite|wsgilite|symimporter.*",
     "write a file that makes the WSGI application, and name it: module = myfile:application"),
    (r"vhost.*|dyn-.*|dynamic-apps|no-default-app-.*", "one barkeep serves one application: one for each host, and a proxy in front"),
    (r"(fastcgi|scgi|raw|puwsgi|suwsgi|ssl|zmq|zeromq|mongrel2|upstart|undeferred-shared|shared)-.*|zeromq|shared-socket|map-socket",
     "Barkeep speaks HTTP: http-socket"),
    (r"asyncio|async|async-.*|ugreen.*|greenlet|tornado|loop|suspend",
     "WSGI that waits a lot: gevent = N. An ASGI application is served as it is: module = its file"),
    (r"enable-proxy-protocol|http-enable-proxy-protocol|socks-proxy", "the PROXY protocol is not spoken: let the proxy send X-Forwarded-For"),
    (r"sni.*|https2|https-.*|ssl-.*|http-to-.*|https-socket", "TLS like this is not served: let the proxy do it"),
    (r"php.*|rack.*|ruby.*|rails|rb-.*|rb|lua.*|perl.*|psgi.*|cgi.*|jvm.*|mono.*|erlang.*|go-.*|gccgo.*|coroae.*|pypy.*|rv.*",
     "Barkeep runs CPython only"),
    (r"import|shared-import|post-pymodule-alias|pymodule-alias|shared-pyimport|.*-import", "import the module in the application's own file"),
    (r"resolve|declare-option2?|need-option|inject-.*", "write the value into the file"),
)


class Meaning:
    """What one line becomes. `kind`: same, already, note (means a little less or more), changed (a warning), refused (an error),
    unknown, placeholder, reading (it was for the reader). `sets` is [(Barkeep's key, value)]."""
    __slots__ = ("kind", "text", "detail", "sets")

    def __init__(self, kind, text="", sets=(), detail=""):
        self.kind, self.text, self.sets, self.detail = kind, text, list(sets), detail


class Settings:
    """All lines and their meanings. `values` is {Barkeep's key: [(value, setting)]}; `app` (text, setting) or None."""

    def __init__(self, lines, table, referred=(), is_root=None, environ=None):
        self.lines, self.table, self.referred = lines, table, referred
        self.is_root = os.geteuid() == 0 if is_root is None else is_root
        self.environ = os.environ if environ is None else environ
        self.values, self.app, self.meanings, self.defaults = {}, None, [], []
        self.by_name = {}
        for line in lines:
            if not line.used:
                self.by_name.setdefault(plain(line.name), []).append(line)
        self.strict, self.unknown = self.true("strict"), 0
        for line in lines:
            meaning = self.meaning_of(line)
            if any("\n" in value for _, value in meaning.sets):
                meaning = Meaning("changed", f"{line.name} is not taken: its value has several lines; set it where Barkeep is started")
            self.meanings.append((line, meaning))
            for key, value in meaning.sets:
                self.set(key, value, line)
        finish(self)

    # ---- what others ask --------------------------------------------------------------------------------------------------

    def has(self, key):
        return key in self.table.by_key

    def last(self, *names):
        """The line that counts, by its plain name; None."""
        found = [line for name in names for line in self.by_name.get(name, ())[-1:]]
        return found[-1] if found else None

    def all(self, *names):
        return [line for name in names for line in self.by_name.get(name, ())]

    def true(self, name):
        line = self.last(name)
        return line is not None and is_true(line.value)

    def set(self, key, value, line):
        """Later values win, list items add up, as uWSGI has it."""
        if self.table.by_key[key].type == "LIST":
            self.values.setdefault(key, []).append((value, line))
        else:
            self.values[key] = [(value, line)]

    def set_default(self, key, value):
        """What uWSGI does when nothing is said, where that differs from Barkeep."""
        if self.has(key) and key not in self.values and not self.environ.get(f"BARKEEP_{key.upper()}"):
            self.defaults.append((key, value))

    # ---- one line ---------------------------------------------------------------------------------------------------------

    def meaning_of(self, line):
        name = plain(line.name)
        if line.used:
            return Meaning("reading")
        special = SPECIAL.get(name)
        meaning = special(self, line, Meaning) if special else None
        if meaning:
            return meaning
        option = self.table.by_uwsgi.get(name) or self.by_other_name(name)
        if option:
            return self.same(option, line)
        if name in ALREADY:
            return self.already(name, line)
        if name.startswith("cheaper-"):
            return Meaning("note", "there is one algorithm with figures of its own: busy threads and the accept queue")
        if name in MISSING:
            return Meaning("changed", f"{line.name} is not taken: {MISSING[name]}")
        for pattern, hint in REFUSED:
            if re.fullmatch(pattern, name):
                return self.refused(line, hint)
        return self.other(name, line)

    def by_other_name(self, name):
        """other_names.def knows what uWSGI's name is here, and that option is there by now."""
        other = self.table.other_names.get(name)
        return self.table.named(other.text) if other and other.kind == "foreign" and other.server == "uWSGI" else None

    def already(self, name, line):
        if is_true(line.value) or name in VALUED_ALREADY:
            return Meaning("already", f"Barkeep {ALREADY[name]}")
        if name in FALSE_IS_FINE:
            return Meaning("already", f"Barkeep {ALREADY[name]}")
        return Meaning("changed", f"{line.name} = {line.value} is not taken: Barkeep {ALREADY[name]}")

    @staticmethod
    def refused(line, hint):
        if not is_true(line.value) and line.value:
            return Meaning("already", "it is off")
        return Meaning("refused", f"uWSGI's {line.name} has no counterpart", detail=f"try: {hint}")

    def other(self, name, line):
        if line.name in NAMES:
            other = self.table.other_names.get(name)
            later = other is not None and other.kind in ("later", "foreign")
            return Meaning("changed", f"{line.name} is not taken: " + ("Barkeep does not have it yet" if later else "Barkeep has no such option"))
        if line.name in self.referred:
            return Meaning("placeholder")
        if line.place.startswith("environment"):
            return Meaning("placeholder")  # UWSGI_... of somebody else
        self.unknown += 1
        near = self.near(line.name) if self.unknown <= NEAR_MAX else ""
        return Meaning("unknown", f"uWSGI has no option '{line.name}'" + ("" if self.strict else ", and ignores it"), detail=near)

    def near(self, name):
        from ..discover import close_names
        flat = name.replace("_", "-")
        if flat in NAMES:
            return f"near: {flat}"
        close = close_names(flat, sorted(NAMES))
        return f"near: {', '.join(close)}" if close else ""

    def same(self, option, line):
        """By the type of Barkeep's option: uWSGI reads numbers as C's atoi, switches as `is_true`."""
        value, text = line.value, f"{option.name}"
        if option.type == "BOOL":
            return Meaning("same", text, [(option.key, "on" if is_true(value) else "off")])
        if option.type in ("INT", "AUTO", "SIZE", "TIME"):
            return self.same_number(option, line, text)
        if not value:
            return Meaning("changed", f"{line.name} has no value and is not taken")
        return Meaning("same", text, [(option.key, value)])

    def same_number(self, option, line, text):
        value = number(line.value) if line.value is not None else 1
        if line.value and not re.fullmatch(r"\s*\d+\s*", line.value):
            if not re.match(r"\s*\d", line.value):
                return Meaning("changed", f"{line.name} = {line.value} is not taken: it is no number, and 0 for uWSGI")
            text += f": uWSGI reads {value}"
        if value == 0 and option.range.partition("..")[0] not in ("0", "0.0"):
            return Meaning("already", "0 is uWSGI's word for not set")
        return Meaning("same", text, [(option.key, str(value))])


VALUED_ALREADY = ("plugins", "plugins-dir", "http-processes", "http-workers", "http-events", "http-buffer-size", "http-connect-timeout",
                  "http-var", "offload-threads", "post-buffering-bufsize", "log-master-bufsize", "max-fd", "py-tracebacker", "cheaper-algo",
                  "write-errors-tolerance", "min-worker-lifetime", "forkbomb-delay", "harakiri-graceful-timeout", "memory-report",
                  "need-plugin", "need-plugins", "plugin-dir", "wsgi-env-behaviour")
FALSE_IS_FINE = ("strict", "show-config", "thunder-lock", "auto-procname", "log-master", "threaded-logger", "enable-threads", "lazy-apps",
                 "single-interpreter", "vacuum", "no-orphans", "honour-range", "manage-script-name", "close-on-exec", "close-on-exec2",
                 "harakiri-verbose", "http-auto-chunked", "http-chunked-input", "reload-os-env", "so-keepalive", "exit-on-reload",
                 "disable-write-exception", "ignore-sigpipe", "ignore-write-errors", "http-websockets", "log-zero", "log-sendfile")


def plain(name):
    return OTHER_NAMES.get(name, name)


def is_true(value):
    """As uWSGI has it: anything but these four words, also nothing at all."""
    return value is None or value.lower() not in FALSE
