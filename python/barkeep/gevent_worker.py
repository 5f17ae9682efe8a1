"""Worker class gevent: a greenlet per request under gevent's hub, in a process that is monkey patched before the application is
imported. The C part is hosts/cpython/green.c.
"""
import os
import sys

OLDEST = (24, 10)  # older ones do not patch what Python 3.13 has
CUT_SECONDS = 1.0  # for what killed requests do at their end
TICK = 0.01
DRAINING, QUITTING, OVER = 1, 2, 3  # stages of the end, as green.c tells them


def prepare():
    """Patches the standard library. Called before anything of the application is imported, so nothing holds on to a function of
    the time before. Problem [class-package] without a fitting gevent."""
    if sys.implementation.name == "pypy":
        from .loader import Problem
        raise Problem("class-package", "-k gevent does not run under PyPy", "try: leave -k out, which means threads; --threads 16 for more of them")
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


def seconds(text):
    from .worker import seconds
    return seconds(text)


def start(worker, loaded):
    """The function that serves until the engine is drained, and the loop's name for the start line. The hub is made here, so
    that the worker is not ready before."""
    serving = Serving(worker)
    return lambda: serving.run(loaded.app), "gevent"


class Serving:
    """The hub's side of hosts/cpython/green.c."""

    def __init__(self, worker):
        import gevent
        from gevent.hub import Waiter
        self.worker, self.gevent, self.hub = worker, gevent, gevent.get_hub()
        self.over, self.pid = Waiter(), os.getpid()
        self.cut_timer, self.quit_timer, self.cut_done = None, None, False

    def run(self, app):
        make = self.gevent.Greenlet if self.worker.setting("gevent_greenlets") == "gevent" else None
        most = int(self.worker.setting("worker_connections"))
        blocked = seconds(self.worker.setting("slow_callback"))
        self.worker.serve_green(app, (self.hub, make, most, self.again, self.tell, self.wait, blocked))

    def again(self):
        self.hub.loop.run_callback(self.turn)

    def wait(self, fd, turn, left):
        """In the main greenlet, until the engine is drained and no request is left."""
        self.turn, self.left = turn, left
        watcher = self.hub.loop.io(fd, 1)
        watcher.start(turn)
        try:
            while not self.drained():
                pass
        finally:
            watcher.stop()
            watcher.close()
        if os.getpid() == self.pid:
            self.finish()
        for timer in (self.cut_timer, self.quit_timer):
            if timer is not None:
                timer.close()

    def drained(self):
        """Waits. gevent hands to the main greenlet what must not get lost: sys.exit() in a greenlet of the application. That is
        no way to end a worker, as it is none in a view."""
        try:
            self.over.get()
        except (SystemExit, KeyboardInterrupt, SystemError) as error:
            if not self.worker.setting("app"):  # barkeep.run
                raise
            from ._engine import log
            log("warning", "app-raised", f"{type(error).__name__} in a greenlet of the application, outside of a request")
            return False
        return True

    # ---- the end ---------------------------------------------------------------------------------------------------

    def tell(self, stage):
        """In the hub: the engine drains, quits, is drained. Requests get the time of --graceful-timeout, less what it takes to
        end them."""
        if stage == OVER:
            self.over.switch(None)
        elif stage == QUITTING:
            self.cut()
        else:
            patience = seconds(self.worker.setting("graceful_timeout"))
            self.cut_timer = self.hub.loop.timer(max(patience - min(patience / 3, CUT_SECONDS), 0.0))
            self.cut_timer.start(self.cut)

    def cut(self):
        """In the hub: ends requests that still run, as their application can notice: GreenletExit where they wait. A client that
        does not close after its answer is not waited for any longer."""
        if self.cut_done:
            return
        self.cut_done = True
        self.quit_timer = self.hub.loop.timer(CUT_SECONDS / 2)
        self.quit_timer.start(self.worker.stop, True)
        for greenlet in self.left(True):
            self.gevent.kill(greenlet)

    def finish(self):
        """Requests without a connection: their clients have left, or had to."""
        patience = CUT_SECONDS
        if self.left() and not self.cut_done and self.cut_timer is None:
            self.tell(DRAINING)
        while self.left() and patience > 0:
            self.gevent.sleep(TICK)
            patience -= TICK if self.cut_done else 0
