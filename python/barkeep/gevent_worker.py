"""Worker class gevent: a greenlet per request under gevent's hub, in a process that is monkey patched before the application is
imported. The C part is hosts/cpython/green.c.
"""
import sys

OLDEST = (24, 10)  # older ones do not patch what Python 3.13 has
CUT_SECONDS = 1.0  # for what killed requests do at their end


def prepare():
    """Patches the standard library. Called before anything of the application is imported, so nothing holds on to a function of
    the time before. Problem [class-package] without a fitting gevent."""
    try:
        import gevent.monkey
    except ImportError as error:
        raise problem("" if error.name == "gevent" else f"one that does not load: {error}") from None
    if version(gevent.__version__) < OLDEST:
        raise problem(gevent.__version__)
    if not gevent.monkey.is_module_patched("socket"):
        gevent.monkey.patch_all()


def version(text):
    return tuple(int(word) if word.isdigit() else 0 for word in text.split(".")[:2])


def problem(found):
    from .diagnose import class_package
    return class_package("gevent", "gevent", ".".join(map(str, OLDEST)), found)


def serve(worker, loaded):
    """Until the engine is drained."""
    Serving(worker).run(loaded.app)


class Serving:
    def __init__(self, worker):
        import gevent
        from gevent.hub import Waiter
        self.worker, self.hub, self.kill = worker, gevent.get_hub(), gevent.kill
        self.sleep, self.drained = gevent.sleep, Waiter()
        self.make = gevent.Greenlet if worker.setting("gevent_greenlets") == "gevent" else None

    def run(self, app):
        most = int(self.worker.setting("worker_connections"))
        self.worker.serve_green(app, (self.hub, self.make, most, self.again, self.over, self.wait))

    def again(self):
        self.hub.loop.run_callback(self.turn)

    def over(self):
        self.drained.switch(None)

    def wait(self, fd, turn, left):
        self.turn, self.left = turn, left
        watcher = self.hub.loop.io(fd, 1)
        watcher.start(turn)
        try:
            self.drained.get()
        finally:
            watcher.stop()
            watcher.close()
