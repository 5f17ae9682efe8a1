"""Commands of `barkeep` that are Python: `barkeep migrate ...`, `barkeep init ...`. The native program runs them with the interpreter
that would run the workers, see src/master/cli_python.c.
"""
from importlib import import_module


def main(words):
    """The exit code. `words` begin with the command."""
    try:
        return import_module(f".{words[0]}", __package__).main(words[1:])
    except BrokenPipeError:  # `barkeep migrate uwsgi.ini | head`
        import os
        os._exit(0)
    except KeyboardInterrupt:
        return 130
