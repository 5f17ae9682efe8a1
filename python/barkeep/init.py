"""`barkeep init systemd|docker|k8s|nginx|procfile|supervisor [APP]`: prints a filled-in template for the application at hand. The
application is the argument, else that of barkeep.toml, else what lies around (read, not imported); the rest are facts of this
directory and this interpreter. Nothing is written.
"""
import os
import re
import sys

from . import init_templates as templates

USAGE = f"""usage: barkeep init {'|'.join(templates.ALL)} [APPLICATION]

Prints a template for the application at hand, filled in with this directory, this interpreter and its owner."""
PROXY_GROUPS = ("www-data", "nginx", "http")  # of Debian, Red Hat and Arch


def main(words):
    from .command import complain
    if not words or {"-h", "--help"} & set(words):
        print(USAGE)
        return 0 if words else 2
    kind, *rest = words
    template = templates.ALL.get(kind)
    if template is None:
        from .discover import close_names
        near = close_names(kind, templates.ALL)
        return complain("option-value", f"no template '{kind}'{f'; did you mean {near[0]}?' if near else ''}", f"there are {', '.join(templates.ALL)}")
    if len(rest) > 1:
        return complain("app-several", "one application at a time", f"try: barkeep init {kind} {rest[0]}")
    place = Place(rest[0] if rest else "")
    if not place.app:
        return complain("app-missing", "which application?", f"try: barkeep init {kind} module:callable")
    print(template(place).strip("\n"))
    return 0


class Place:
    """What the templates are filled in with."""

    def __init__(self, app):
        self.directory = os.getcwd()
        self.settings = [name for name in ("barkeep.toml",) if os.path.isfile(name)]
        self.interface = ""
        self.in_file = False  # the application is named in barkeep.toml
        self.app = app or self.of_settings() or self.lying_around()
        self.name = re.sub(r"[^a-z0-9-]+", "-", os.path.basename(self.directory).lower()).strip("-")[:40] or "app"
        self.user, self.group = owner(self.directory)
        self.command = command()
        self.python = "{}.{}".format(*sys.version_info)
        self.socket = f"/run/{self.name}/web.sock"
        self.packages = next((name for name in ("requirements.txt", "pyproject.toml", "setup.py") if os.path.isfile(name)), "")

    @property
    def version(self):
        return version()

    def of_settings(self):
        if not self.settings:
            return ""
        try:
            with open(self.settings[0], encoding="utf-8", errors="replace") as file:
                found = re.search(r"^app\s*=\s*[\"']([^\"'\n]+)[\"']", file.read(1 << 20), re.M)
        except OSError:
            return ""
        self.in_file = found is not None
        return found[1] if found else ""

    def lying_around(self):
        from .discover import applications
        found = applications(self.directory)
        if not found:
            return ""
        self.interface = found[0].interface
        return found[0].target.strip("'")

    def words(self, *options):
        """The command line behind `barkeep`."""
        return [*([] if self.in_file else [self.app]), *options]


def command():
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "barkeep")
    if os.access(beside, os.X_OK):
        return beside
    import shutil
    return shutil.which("barkeep") or "barkeep"


def version():
    from . import __version__
    return __version__


def owner(directory):
    """Who should run it: the directory's owner, nobody's root; in the group of the proxy, which must reach the socket."""
    import grp
    import pwd

    def named(find, wanted):
        try:
            return find(wanted)[0]
        except (KeyError, TypeError):
            return ""
    number = os.stat(directory).st_uid
    group = next((name for name in PROXY_GROUPS if named(grp.getgrnam, name)), "")
    user = named(pwd.getpwuid, number) if number else ""
    user = user or next((name for name in PROXY_GROUPS if named(pwd.getpwnam, name)), "") or "www-data"
    return user, group or user
