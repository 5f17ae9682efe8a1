"""options.def as the master sends it: which options there are, and what Gunicorn and uWSGI call them."""


class Option:
    """A row. All texts; `type` is BOOL, INT, AUTO, SIZE, TIME, TEXT, LIST or WORD, see src/config/config.h."""
    __slots__ = ("key", "name", "letter", "type", "default", "range", "gunicorn", "uwsgi")

    def __init__(self, *fields):
        self.key, self.name, self.letter, self.type, self.default, self.range, self.gunicorn, uwsgi = fields
        self.uwsgi = uwsgi.split()

    def __repr__(self):
        return f"<option {self.name}>"


class Other:
    """A name that is no option here; a row of src/config/other_names.def. `kind` is alias (text: the option's name), later (text:
    "refuse" when nothing may run without it), foreign (server's name of the option text), needless, refused or daemon."""
    __slots__ = ("kind", "name", "letter", "server", "text")

    def __init__(self, kind, name, letter, server, text):
        self.kind, self.name, self.letter, self.server, self.text = kind, name, letter, server, text


class Table:
    def __init__(self, records):
        self.options = [Option(*fields) for kind, *fields in records if kind == "option"]
        self.by_key = {option.key: option for option in self.options}
        self.by_name = {flat(option.name): option for option in self.options}
        self.by_gunicorn = {option.gunicorn: option for option in self.options if option.gunicorn}
        self.by_uwsgi = {flat(name): option for option in self.options for name in option.uwsgi}
        others = [Other(*fields) for kind, *fields in records if kind == "other"]
        self.aliases = {flat(other.name): other.text for other in others if other.kind == "alias"}
        self.other_names = {flat(other.name): other for other in others if other.kind != "alias"}

    def named(self, name):
        """The Option of a command-line name without dashes, or None. - and _ are the same."""
        return self.by_name.get(flat(self.aliases.get(flat(name), name)))

    def later(self, name):
        """Whether it is planned, and not in this version yet."""
        other = self.other_names.get(flat(name))
        return other is not None and other.kind == "later"


def flat(name):
    return name.replace("_", "-")
