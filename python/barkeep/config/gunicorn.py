"""gunicorn.conf.py: every global with the name of a setting is applied, any other is the file's own business. Values are taken
as Gunicorn takes them: numbers also as texts, true and false as texts, one text for a list, None for "not set".
"""
import os

from . import gunicorn_names as names
from . import gunicorn_values as values
from .execute import absolute, run

PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def read(name, found):
    before = dict(os.environ)
    module = run(name)
    path = getattr(module, "__file__", None)
    File(name, vars(module), path, found).apply(before)
    if path:
        found.add_file(path)


class File:
    def __init__(self, name, settings, path, found):
        self.name, self.path = name.removeprefix("file:"), path
        self.settings = {key: value for key, value in settings.items() if not key.startswith("__")}
        self.found, self.table = found, found.table
        self.needless, self.later = [], []

    def apply(self, before):
        known = names.settings(self.table)
        self.apply_environment(before)
        for key, value in self.settings.items():
            if key in known and value is not None:
                self.apply_one(key, value)
        self.apply_hooks()
        self.say_ignored()
        self.warn_near_misses(known)

    def apply_one(self, key, value):
        option = self.table.by_gunicorn.get(key) or self.table.named(names.flag(key))
        try:
            if key in values.SPECIAL:
                for our_key, text in values.SPECIAL[key](value, self):
                    self.set(our_key, text, key)
            elif option is not None and option.key != "config":
                self.set(option.key, values.as_text(option, value, self, key), key)
            else:
                self.ignore(key, value)
        except values.Wrong as wrong:
            self.found.error(f"{self.name}: {key} {values.shown(value)}: {wrong}", "option-value")

    def set(self, key, text, typed):
        if key == "app":
            self.found.set_app(text, self.name)
        elif key in self.table.by_key:
            self.found.set(key, text, self.name, typed)

    def warn(self, text):
        self.found.warn(f"{self.name}: {text}", "setting-ignored")

    # ---- what the file did besides --------------------------------------------------------------------------------

    def apply_environment(self, before):
        """Gunicorn's workers are forks: what the file puts into the environment they find there."""
        changed = [f"{name}={value}" for name, value in os.environ.items()
                   if before.get(name) != value and "\n" not in name + value]
        if changed:
            self.found.set("env", "\n".join(changed), f"{self.name} (os.environ)")

    def apply_hooks(self):
        hooks = []
        for name, arity in (names.MASTER_HOOKS | names.WORKER_HOOKS).items():
            if self.settings.get(name) is not None:
                try:
                    values.check_hook(self.settings[name], name, arity)
                    hooks.append(name)
                except values.Wrong as wrong:
                    self.found.error(f"{self.name}: {name}: {wrong}", "option-value")
        wanted = any(name in names.WORKER_HOOKS for name in hooks) or self.settings.get("logconfig_dict") or acts(self.path)
        if wanted or hooks:
            self.set("hooks", absolute(self.name), "hooks")
            self.found.add_hooks(absolute(self.name), hooks)

    # ---- what is not taken ------------------------------------------------------------------------------------------

    def ignore(self, key, value):
        """A setting without an option. Off is what Barkeep does anyway."""
        other = self.table.other_names.get(names.flag(key))
        kind = other.kind if other else ""
        if key in names.MASTER_HOOKS or key in names.WORKER_HOOKS or not value:
            return
        if kind == "daemon":
            self.found.error(f"{self.name}: {key}: Barkeep stays in the foreground", "option-daemon",
                             "a supervisor (systemd, runit, a container) starts it and sees how it ends")
        elif kind == "later" and other.text == "refuse" and not values.is_harmless(key, value):
            self.found.error(f"{self.name}: {key} is not in this version yet, and nothing runs without it", "option-later")
        elif kind == "refused":
            self.found.error(f"{self.name}: '{key}' is Gunicorn's setting; Barkeep {other.text}", "option-foreign")
        elif kind == "later":
            self.later.append(key)
        elif key not in values.SILENT:
            self.needless.append(f"{key} (Barkeep {other.text})" if other else key)

    def say_ignored(self):
        if self.later:
            self.warn(f"not in this version yet, and left out: {', '.join(self.later)}")
        if self.needless:
            self.warn(f"not needed here, and left out: {', '.join(self.needless)}")

    def warn_near_misses(self, known):
        """wokers = 4 is legal and does nothing, which nobody wants."""
        from difflib import get_close_matches
        for key, value in self.settings.items():
            if key in known or not isinstance(value, PLAIN) or key.startswith("_"):
                continue
            near = [one for one in get_close_matches(key.lower(), known, n=2, cutoff=0.84) if one not in self.settings]
            if near:
                self.found.warn(f"{self.name}: no setting '{key}'; near: {', '.join(near)}", "option-unknown")


def acts(path):
    """Whether the file does more than to give names to values: a call at its top (an agent that is started, a path that is
    changed) is meant for the workers too."""
    import ast
    try:
        with open(path, "rb") as file:
            body = ast.parse(file.read()).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return False
    return any(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in body)
