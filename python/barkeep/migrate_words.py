"""Command lines of other servers, for migrate.py: `gunicorn -w 4 shop.wsgi`, `uwsgi --ini x.ini`, `uvicorn api:app --port 80`; also
with variables, `exec`, a path or `python -m` in front, as in a Procfile or a unit file.
"""
import os
import re
import shlex

SERVERS = ("gunicorn", "uwsgi", "uvicorn")
IN_FRONT = ("exec", "env", "sudo", "web:", "ExecStart=", "command=", "CMD")
# uvicorn's, where a name alone does not say it
UVICORN_FLAGS = {"reload", "access-log", "no-access-log", "proxy-headers", "no-proxy-headers", "server-header", "no-server-header",
                 "date-header", "no-date-header", "use-colors", "no-use-colors", "factory"}

GUNICORN_FLAGS = {"check-config", "print-config", "daemon", "initgroups", "no-sendfile", "enable-stdio-inheritance", "capture-output",
                  "log-syslog", "preload", "strip-header-spaces", "proxy-protocol", "suppress-ragged-eofs", "do-handshake-on-connect",
                  "disable-redirect-access-to-syslog", "permit-obsolete-folding", "permit-unconventional-http-method", "spew",
                  "permit-unconventional-http-version", "casefold-http-method", "no-control-socket", "enable-backlog-metric", "help", "version"}


def command_line(text, account, Refusal):
    text = re.sub(r"^\s*(?:\w+:|ExecStart=|command\s*=|CMD)\s*", "", text)
    try:
        words = shlex.split(text.strip("[]").replace('", "', '" "') if text.startswith("[") else text)
    except ValueError as error:
        raise Refusal("option-value", f"the command line cannot be taken apart: {error}") from None
    server, words = find_server(words, account)
    if server == "uwsgi":
        from .migrate import read_uwsgi
        read_uwsgi("", account, words)
    elif server == "gunicorn":
        options(words, account, "Gunicorn", gunicorn_option)
    elif server == "uvicorn":
        account.host = account.port = None
        options(words, account, "uvicorn", uvicorn_option)
        if account.host or account.port:
            account.set("bind", f"{account.host or '127.0.0.1'}:{account.port or '8000'}")
        elif "bind" not in account.values:
            pass
    else:
        raise Refusal("option-value", "no gunicorn, uwsgi or uvicorn in the command line", "try: barkeep migrate 'gunicorn -w 4 shop.wsgi'")


def find_server(words, account):
    """The server and what follows it. Variables in front belong to the environment."""
    for at, word in enumerate(words):
        name = os.path.basename(word)
        if name in SERVERS:
            return name, words[at + 1:]
        if re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.S):
            account.set("env", word)
            account.add("", f"{word.partition('=')[0]}=...", "same", "env")
    return "", []


def options(words, account, server, take):
    """Each option with its value."""
    words = iter(words)
    for word in words:
        if word == "--":
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            take(account, name, value if equals else None, words, word)
        elif word.startswith("-") and len(word) > 1:
            option = next((one for one in account.table.options if one.letter == word[1]), None)
            other = next((one for one in account.table.other_names.values() if one.letter == word[1] and one.server in ("", server)), None)
            name = option.name if option else other.name if other else ""
            if name:
                take(account, name, word[2:].removeprefix("=") or None, words, word)
            else:
                account.add("", word, "unknown", f"{server} has no such option, as far as Barkeep knows")
        elif account.app is None:
            account.app = word
            account.add("", word, "same", "app")
        else:
            account.add("", word, "changed", "a second application, or a value that belongs to no option")


def needed(value, words):
    return value if value is not None else next(words, "")


def gunicorn_option(account, name, value, words, word):
    option = account.table.named(name)
    if name == "config":
        value = needed(value, words)
        account.add("", f"{word} {value}", "same", "its settings follow")
        path = value.removeprefix("file:")
        if os.path.isfile(path):
            from .migrate import read_gunicorn
            read_gunicorn(path, account)
        return
    if option is None:
        if name not in GUNICORN_FLAGS:
            value = needed(value, words)
        foreign(account, name, value, words, word)
    elif option.type == "BOOL":
        account.set(option.key, "on")
        account.add("", word, "same", option.name)
    else:
        value = needed(value, words)
        account.set(option.key, value)
        account.add("", word if "=" in word else f"{word} {value}" if option.key != "env" else f"{word} {value.partition('=')[0]}=...", "same", option.name)


def foreign(account, name, value, words, word):
    """A name that is no option of Barkeep."""
    other = account.table.other_names.get(name.replace("_", "-"))
    if other is None:
        account.add("", word, "unknown", "Barkeep knows no such option")
    elif other.kind == "later":
        account.add("", word, "changed", "not in this version yet, left out")
    elif other.kind == "daemon":
        account.add("", word, "changed", "Barkeep stays in the foreground: let a supervisor start it (barkeep init systemd)")
    elif other.kind == "foreign":
        account.add("", word, "changed", f"is {other.text} here")
    else:
        account.add("", word, "already", f"Barkeep {other.text}")


def uvicorn_option(account, name, value, words, word):
    if name in ("host", "port"):
        value = needed(value, words)
        setattr(account, name, value)
        account.add("", f"--{name} {value}", "same", "bind")
    elif name == "uds":
        value = needed(value, words)
        account.set("bind", f"unix:{value}")
        account.add("", f"--uds {value}", "same", "bind")
    elif name == "fd":
        value = needed(value, words)
        account.set("bind", f"fd://{value}")
        account.add("", f"--fd {value}", "same", "bind")
    elif name == "no-access-log":
        account.set("access_logfile", "off")
        account.add("", word, "same", "access-logfile")
    elif name == "no-server-header":
        account.set("server_header", "off")
        account.add("", word, "same", "server-header")
    elif name == "factory":
        account.add("", word, "changed", "write the call: app = \"module:create_app()\"")
    elif name in UVICORN_FLAGS and not account.table.named(name):
        foreign(account, name, value, words, word)
    else:
        renamed(account, name, value, words, word)


def renamed(account, name, value, words, word):
    other = account.table.other_names.get(name)
    option = account.table.named(other.text) if other and other.kind == "foreign" and " " not in other.text else account.table.named(name)
    if option is None:
        if name not in UVICORN_FLAGS:
            value = needed(value, words)
        foreign(account, name, value, words, word)
        return
    if option.type == "BOOL":
        account.set(option.key, "on")
    else:
        value = needed(value, words)
        account.set(option.key, value)
    account.add("", word if value is None or "=" in word else f"{word} {value}", "same", option.name)
