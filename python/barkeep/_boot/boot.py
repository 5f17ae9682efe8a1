"""The first file of a worker: the master execs `PYTHON .../barkeep/_boot/boot.py FD`. Also of the config process:
`.../boot.py config FD FD`, of the companion (companion.py), and of commands that are Python: `.../boot.py command migrate FILE`.

It lives in a directory of its own, so that whatever Python puts first on sys.path for it holds no other module, and it loads
the package it belongs to by place, not by name: neither a barkeep.py of the application nor another installed Barkeep can
take its part.
"""
import sys


def load_package():
    import os

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path and os.path.abspath(sys.path[0]) == os.path.join(package, "_boot"):
        del sys.path[0]  # not there under -P and -I
    sys.path.insert(0, os.path.dirname(package))
    import barkeep  # noqa: F401  (imports nothing itself; its modules come from its own directory from now on)
    del sys.path[0]


def clear_main():
    """The application's __main__ is nobody's: multiprocessing and pickle look there, and must not find this file."""
    main = type(sys)("__main__")
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main


words = sys.argv[1:]
load_package()
clear_main()
if words[0] == "config":
    from barkeep.config.__main__ import main
    main(words[1:])
elif words[0] == "command":
    from barkeep.python_commands import main
    sys.exit(main(words[1:]))
elif words[0] == "companion":
    from barkeep.companion import main
    main(words[1:])
else:
    from barkeep.worker import main
    main(int(words[0]))
