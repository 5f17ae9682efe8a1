"""Values of gunicorn.conf.py as Barkeep writes them. Each function raises Wrong, with what would be right."""
import inspect
import os


CLASSES = ("sync", "gthread", "gevent", "tornado", "asgi")
SILENT = ("default_proc_name", "check_config", "print_config", "config", "ssl_context", "logconfig_dict")
LEVELS = {"warn": "warning", "fatal": "critical", "trace": "debug", "notset": "debug"}
# 0 is documented as "no limit"; here it is the most there is.
ZERO_IS_MOST = ("limit_request_line", "limit_request_fields", "limit_request_field_size")


class Wrong(Exception):
    pass


# ---- by the type of the option -----------------------------------------------------------------------------------------

def as_text(option, value, file, name):
    kind = option.type
    if kind == "BOOL":
        return "on" if as_bool(value) else "off"
    if kind in ("INT", "AUTO", "SIZE", "TIME"):
        return as_number(option, value, file, name)
    if kind == "LIST":
        return "\n".join(as_list(value, commas=option.range == ","))
    return as_word(option, value)


def as_bool(value):
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise Wrong("True or False")


def as_number(option, value, file, name):
    if isinstance(value, str) and option.type == "AUTO" and value.strip() == "auto":
        return "auto"
    number = as_int(value)
    high = highest(option)
    if number == 0 and name in ZERO_IS_MOST:
        number = high
    if high is not None and number > high:
        file.warn(f"{name} {number} is taken as {high}, the most there is")
        number = high
    return str(number)


def as_int(value):
    try:
        number = int(value) if isinstance(value, int) else int(value.strip(), 0)
    except (TypeError, ValueError, AttributeError):
        raise Wrong("a whole number, or a text with one") from None
    if number < 0:
        raise Wrong("not below 0")
    return number


def highest(option):
    """The end of the option's range, as a number; None for durations, which are left to the master."""
    end = option.range.partition("..")[2]
    units = {"K": 10, "M": 20, "G": 30}
    if option.type == "TIME" or not end:
        return None
    return int(end[:-1]) << units[end[-1]] if end[-1] in units else int(end)


def as_list(value, commas=False):
    """One text, or any number of them."""
    if isinstance(value, str):
        value = value.split(",") if commas else [value]
    try:
        items = [one.strip() for one in value]
    except (TypeError, AttributeError):
        raise Wrong("a text, or a list of texts") from None
    if any("\n" in one for one in items):
        raise Wrong("texts of one line")
    return [one for one in items if one]


def as_word(option, value):
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Wrong("a text")
    return value.strip()


def shown(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


# ---- settings that mean something of their own ------------------------------------------------------------------------

def wsgi_app(value, file):
    if not isinstance(value, str) or not value.strip():
        raise Wrong("a text: module:callable")
    yield "app", value.strip()


def worker_class(value, file):
    """A name, a dotted path, a class, or a function that gives one of these. Subclasses count as what they come from."""
    if inspect.isfunction(value) or inspect.ismethod(value):
        value = value()
    if inspect.isclass(value):
        ours, extra = by_class(value)
        if ours is None:
            raise Wrong(f"Barkeep has {', '.join(CLASSES)}, and the class comes from none of these")
        yield "worker_class", ours
        yield from extra
        return
    if not isinstance(value, str):
        raise Wrong("a name, a dotted path or a class")
    text = value.strip()
    if "." in text and not text.startswith(("gunicorn.", "uvicorn.", "uvicorn_worker.", "egg:")):
        ours, extra = by_path(text)
        if ours is not None:
            yield "worker_class", ours
            yield from extra
            return
    yield "worker_class", text


def by_path(path):
    """A class of the application's own. It is imported, as Gunicorn would."""
    from importlib import import_module
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception:
        return None, ()
    return by_class(found) if inspect.isclass(found) else (None, ())


def by_class(found):
    """(our class, further settings) by what it inherits from."""
    for one in inspect.getmro(found):
        where = one.__module__
        if where.startswith("uvicorn"):
            return "asgi", list(uvicorn_options(getattr(found, "CONFIG_KWARGS", None) or {}))
        for part, ours in (("ggevent", "gevent"), ("gthread", "gthread"), ("gtornado", "tornado"), ("gasgi", "asgi"),
                           ("workers.sync", "sync")):
            if where.startswith("gunicorn.") and part in where:
                return ours, ()
    return None, ()


UVICORN = {"loop": "asgi_loop", "lifespan": "asgi_lifespan", "root_path": "root_path", "ws_max_size": "ws_max_size",
           "ws_max_queue": "ws_max_queue", "ws_ping_interval": "ws_ping_interval", "ws_ping_timeout": "ws_ping_timeout",
           "ws_per_message_deflate": "ws_per_message_deflate", "timeout_keep_alive": "keep_alive", "server_header": "server_header"}


def uvicorn_options(given):
    for name, key in UVICORN.items():
        if name in given and isinstance(given[name], (str, int, float, bool)):
            value = given[name]
            yield key, ("on" if value else "off") if isinstance(value, bool) else str(value)


def secure_scheme_headers(value, file):
    if not isinstance(value, dict) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise Wrong("a dict of texts: {'X-FORWARDED-PROTO': 'https'}")
    yield "secure_scheme_headers", "\n".join(f"{header.strip()}={word.strip()}" for header, word in value.items())


def loglevel(value, file):
    if not isinstance(value, str):
        raise Wrong("a text")
    text = value.strip().lower()
    if text not in file.table.by_key["log_level"].range.split("|") and text not in LEVELS:
        file.warn(f"loglevel '{value}' is none, and taken as info, as Gunicorn does")
        text = "info"
    yield "log_level", LEVELS.get(text, text)


def syslog(value, file):
    """To syslog instead of a file, and what the file says of files wins."""
    if not as_bool(value):
        return
    settings = file.settings
    if settings.get("errorlog") in (None, "-"):
        yield "error_logfile", "syslog"
    if settings.get("accesslog") in (None, "-") and not settings.get("disable_redirect_access_to_syslog"):
        yield "access_logfile", "syslog"
    if settings.get("syslog_addr") is None:
        yield "log_syslog_to", "udp://localhost:514"


def syslog_addr(value, file):
    if not isinstance(value, str):
        raise Wrong("a text: unix:PATH or udp://host:port")
    text = value.strip().partition("#")[0]
    yield "log_syslog_to", "unix:" + text.removeprefix("unix://") if text.startswith("unix://") else text


def syslog_facility(value, file):
    word = str(value).strip()
    if word not in file.table.by_key["log_syslog_facility"].range.split("|"):
        file.warn(f"syslog_facility '{word}' is taken as user")
        word = "user"
    yield "log_syslog_facility", word


def forwarded_allow_ips(value, file):
    yield "forwarded_allow_ips", "\n".join(as_list(value, commas=True))


def umask(value, file):
    if "umask" in file.table.by_key:
        yield "umask", f"{as_int(octal(value)):03o}"
    else:
        file.ignore("umask", as_int(octal(value)))


def octal(value):
    """"022" is what shells write."""
    text = value.strip() if isinstance(value, str) else value
    return int(text, 8) if isinstance(text, str) and text.isdigit() and text.startswith("0") else value


def logger_class(value, file):
    if value not in ("gunicorn.glogging.Logger", "simple", "egg:gunicorn#simple"):
        file.ignore("logger_class", value)
    return ()


SPECIAL = {
    "logger_class": logger_class,
    "wsgi_app": wsgi_app,
    "worker_class": worker_class,
    "secure_scheme_headers": secure_scheme_headers,
    "loglevel": loglevel,
    "syslog": syslog,
    "syslog_addr": syslog_addr,
    "syslog_facility": syslog_facility,
    "forwarded_allow_ips": forwarded_allow_ips,
    "umask": umask,
}


def is_harmless(name, value):
    """A refused setting whose value asks for what is there anyway."""
    if name == "user":
        return as_id(value, "pwd", "getpwnam") == os.geteuid()
    if name == "group":
        return as_id(value, "grp", "getgrnam") == os.getegid()
    if name == "proxy_protocol":
        return str(value).lower() in ("off", "false")
    return name == "protocol" and value == "http"


def as_id(value, module, function):
    if isinstance(value, int) or str(value).isdigit():
        return int(value)
    from importlib import import_module
    try:
        return getattr(import_module(module), function)(value)[2]
    except KeyError:
        return None


# ---- hooks --------------------------------------------------------------------------------------------------------------

def check_hook(hook, name, arity):
    hook = callable_of(hook)
    has = sum(1 for one in inspect.signature(hook).parameters.values() if one.kind == one.POSITIONAL_OR_KEYWORD)
    fine = (2, 3, 4) if name == "post_request" else (arity,)
    if has not in fine:
        raise Wrong(f"takes {has} arguments, not {' or '.join(map(str, fine))}")


def callable_of(hook):
    """A function, or the dotted path of one."""
    if isinstance(hook, str):
        from importlib import import_module
        module, _, name = hook.rpartition(".")
        try:
            hook = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise Wrong(f"cannot be loaded: {error}") from None
    if not callable(hook):
        raise Wrong("not a function")
    return hook
