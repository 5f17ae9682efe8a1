"""Does something when a module is imported for the first time, so that a worker need not import it in advance."""
import sys


def when_imported(name, then):
    """Calls `then()` right after the module `name` was imported, at once if it is there."""
    if name in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, Finder(name, then))


class Finder:
    def __init__(self, name, then):
        self.name, self.then = name, then

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        self.forget()
        from importlib.util import find_spec
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        try:
            spec.loader.exec_module = self.wrapped(spec.loader)
        except AttributeError:  # a loader without room for it: the module is simply not noticed
            pass
        return spec

    def wrapped(self, loader):
        execute = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            execute(module)
            self.then()
        return exec_module

    def forget(self):
        if self in sys.meta_path:
            sys.meta_path.remove(self)
