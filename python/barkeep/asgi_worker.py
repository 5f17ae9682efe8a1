"""The worker class asgi: an event loop, the application's lifespan, the end of both. The requests themselves are C
(hosts/cpython/asgi*.c): the loop's selector turns the engine and starts their tasks.

classes.py calls prepare() before and start() after the application was imported; what start() returns serves.
"""
import asyncio
import os
import signal
import sys

from . import _engine
from ._engine import Asgi, log

STARTUP, SHUTDOWN = "lifespan.startup", "lifespan.shutdown"
LAST_WORDS = 0.3   # part of --graceful-timeout that is kept for what follows the last request
MOST_WORDS = 3.0   # and that in seconds, at most
LEAST_WORDS = 0.5  # seconds


def prepare():
    """asyncio is the standard library's: there is nothing to be missing."""


def start(worker, loaded, lifespan=None, wsgi=False):
    """Makes the loop and runs lifespan's startup. The function that serves and what the start line says of the loop, or
    loader.Problem."""
    server = Server(worker, loaded, lifespan, wsgi)
    try:
        server.begin()
    except BaseException:
        server.close()
        raise
    return server.serve, server.described()


class Server:
    def __init__(self, worker, loaded, lifespan=None, wsgi=False):
        self.worker, self.wsgi = worker, wsgi
        self.app = loaded.app if wsgi else single_callable(loaded)
        self.loop_kind, self.loop = None, None
        self.lifespan = Lifespan(self.app, lifespan or worker.setting("asgi_lifespan"))
        self.asgi = None
        self.patience = seconds(worker.setting("graceful_timeout"))
        self.drained, self.given_up = False, None
        self.limited = None  # the task of loop_until
        self.leaving = None  # SystemExit of a signal handler

    def begin(self):
        self.loop_kind, self.loop = new_loop(self.worker)
        asyncio.set_event_loop(self.loop)
        root_path = self.worker.setting("root_path").rstrip("/")
        if root_path and not root_path.startswith("/"):
            root_path = "/" + root_path
        self.asgi = Asgi(self.worker, self.loop, wrap, root_path, quoted(root_path), seconds(self.worker.setting("slow_callback")))
        if self.loop_kind != "asyncio":
            self.loop.add_reader(self.asgi.fileno(), self.asgi.pump)
            os.register_at_fork(after_in_child=self.leave_loop)
        self.lifespan.startup(self.loop)

    def described(self):
        """For the start line."""
        lifespan = "" if self.lifespan.mode == "off" else f", lifespan {'on' if self.lifespan.supported else 'off'}"
        return f"loop {self.loop_kind}{lifespan}"

    def serve(self):
        """Until the engine is drained; then the end of everything in order."""
        state = self.lifespan.state if self.lifespan.supported else None
        self.asgi.serve(self.app, state, self.on_stop, self.wsgi)
        try:
            self.run()
        finally:
            if not self.asgi.forked:
                self.finish()
        if self.leaving is None:
            self.leaving = self.asgi.leaving
        self.close()
        if self.leaving is not None:
            raise self.leaving

    def run(self):
        while not self.drained:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if self.asgi.forked:  # in a child that the application forked
                    raise
                if not self.asgi.owns(error):
                    self.stop_because_of(error)
            if self.asgi.forked:
                raise SystemExit

    def leave_loop(self):
        """In a child that the application forked. Our selector ends its loop by itself; another loop would wait for ever."""
        if self.loop is not None and self.loop.is_running():
            self.loop.stop()

    def stop_because_of(self, error):
        """A signal handler of the application, or a task that belongs to no request, wants to end the process."""
        if not under_master(self.worker):
            self.leaving = error
            self.worker.stop(quick=isinstance(error, KeyboardInterrupt))
        elif isinstance(error, SystemExit):
            self.leaving = error
            self.worker.stop()

    def on_stop(self, drained):
        """Called in a turn: once when the engine begins to drain, once when it is empty."""
        if drained:
            self.drained = True
            self.loop.stop()
        else:
            self.given_up = self.loop.call_later(self.patience - self.last_words(), self.give_up)

    def last_words(self):
        return min(self.patience * LAST_WORDS, MOST_WORDS)

    def give_up(self):
        """Requests are cancelled; a moment later connections are closed on which only the client has still something to do."""
        count = self.asgi.running
        if count:
            what = "1 request" if count == 1 else f"{count} requests"
            log("warning", "requests-cancelled", f"{what} did not finish within --graceful-timeout and had to be cancelled")
            self.asgi.cancel()
        self.loop.call_later(self.last_words() / 3, self.worker.stop, True)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def finish(self):
        """After the last connection: what requests still do in the background, lifespan's shutdown, every other task."""
        self.loop_until(self.requests_over(), None if self.given_up else self.patience)
        if self.given_up:
            self.given_up.cancel()
        if self.asgi.running:
            self.asgi.cancel()
            self.loop_until(self.requests_over(), LEAST_WORDS)
        self.lifespan.shutdown(self.loop, max(self.patience, LEAST_WORDS))
        self.loop_until(self.rest_over(), LEAST_WORDS)

    async def requests_over(self):
        while self.asgi.running:
            await asyncio.sleep(0.01)

    async def rest_over(self):
        tasks = [task for task in asyncio.all_tasks() if task not in (asyncio.current_task(), self.limited)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_asyncgens()

    def loop_until(self, coroutine, limit):
        """Runs the loop until the coroutine is done, at most `limit` seconds; whatever it raises is no news by now."""
        async def limited():
            self.limited = asyncio.current_task()
            task = asyncio.ensure_future(coroutine)
            await asyncio.wait([task], timeout=limit)
            if task.done() and not task.cancelled():
                task.exception()
            task.cancel()
        try:
            self.loop.run_until_complete(limited())
        except (SystemExit, KeyboardInterrupt, RuntimeError):
            pass

    def close(self):
        if self.loop is None:
            return
        if self.loop_kind != "asyncio" and self.asgi is not None:
            self.loop.remove_reader(self.asgi.fileno())
        if self.asgi is not None:
            self.asgi.close()
        asyncio.set_event_loop(None)
        self.loop.close()


# ---- the loop ------------------------------------------------------------------------------------------------------

def new_loop(worker):
    """("asyncio" or "uvloop", the loop)."""
    wanted = worker.setting("asgi_loop")
    if wanted == "uvloop":
        try:
            import uvloop
        except ImportError as error:
            from .loader import Problem
            raise Problem("class-package", f"--asgi-loop uvloop: {error}", "try: pip install uvloop, or --asgi-loop asyncio") from None
        return "uvloop", beginning_at_once(uvloop.Loop)()
    from .selector import Selector
    return "asyncio", beginning_at_once(asyncio.SelectorEventLoop)(Selector(worker))


def beginning_at_once(loop_class):
    """Before Python 3.12 tasks begin in a later turn of their loop; those of requests shall not (hosts/cpython/asgi_task.c)."""
    if sys.version_info >= (3, 12) or not hasattr(_engine, "CallSoon"):  # PyPy's host schedules them
        return loop_class
    return type(loop_class.__name__, (loop_class,), {"__module__": loop_class.__module__, "__doc__": loop_class.__doc__,
                                                     "call_soon": _engine.CallSoon(loop_class.call_soon)})


async def wrap(awaitable):
    """Makes a task of anything awaitable that an application returns."""
    return await awaitable


def single_callable(loaded):
    """ASGI 2 applications take the scope and return a callable for receive and send."""
    from . import kind
    takes = kind.parameters(loaded.app) if not loaded.kind.framework else None
    if takes is None or takes.any_number or takes.take(3) or not takes.take(1):
        return loaded.app

    async def application(scope, receive, send):
        return await loaded.app(scope)(receive, send)
    return application


def quoted(path):
    from urllib.parse import quote
    return quote(path, safe="/!$&'()*+,;=:@~-._%").encode("ascii")


def under_master(worker):
    return signal.getsignal(signal.SIGTERM) is not None and worker.arguments() != []


def seconds(text):
    from .worker import seconds
    return seconds(text)


# ---- lifespan ------------------------------------------------------------------------------------------------------

class Lifespan:
    """One lifespan scope for this loop. mode: auto, on or off."""

    def __init__(self, app, mode):
        self.app, self.mode = app, mode
        self.state, self.supported = {}, False
        self.task, self.events, self.told = None, None, None
        self.failure = ""

    def startup(self, loop):
        if self.mode == "off":
            return
        loop.run_until_complete(self.start_up())
        if self.told == f"{STARTUP}.failed":
            raise self.problem("the application's startup failed" + (f": {first_line(self.failure)}" if self.failure else ""),
                               *self.failure.splitlines()[1:])
        error = self.error()
        if self.told is None and self.mode == "on":
            from .stack import exception_lines
            what = f"raised {type(error).__name__}" if error else "returned without an answer"
            raise self.problem(f"the application {what} when lifespan started", *(exception_lines(error) if error else ()))
        if self.told is None and error is not None:
            log("debug", None, f"the application has no lifespan: it raised {type(error).__name__}")
        self.supported = self.told is not None

    @staticmethod
    def problem(what, *lines):
        from .loader import Problem
        return Problem("lifespan-failed", what, *lines)

    async def start_up(self):
        self.events, self.answered = asyncio.Queue(), asyncio.Event()
        self.events.put_nowait({"type": STARTUP})
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self.task = asyncio.ensure_future(wrap(self.app(scope, self.events.get, self.send)))
        await self.answer()

    async def answer(self):
        """Until the application has answered or is through."""
        waiting = asyncio.ensure_future(self.answered.wait())
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def send(self, message):
        kind = message["type"]
        phase = SHUTDOWN if self.told == f"{STARTUP}.complete" else STARTUP
        if kind not in (f"{phase}.complete", f"{phase}.failed") or self.told not in (None, f"{STARTUP}.complete"):
            raise RuntimeError(f"message '{kind}' is not expected now")
        self.told, self.failure = kind, str(message.get("message", ""))
        self.answered.set()

    def error(self):
        return self.task.exception() if self.task.done() and not self.task.cancelled() else None

    def shutdown(self, loop, patience):
        if not self.supported:
            return
        if self.task.done():
            if self.error() is not None:
                self.complain(f"the application's lifespan ended early with {type(self.error()).__name__}")
            return
        self.answered.clear()
        self.events.put_nowait({"type": SHUTDOWN})
        try:
            loop.run_until_complete(asyncio.wait_for(self.answer(), patience))
        except (SystemExit, KeyboardInterrupt, RuntimeError):
            pass
        except asyncio.TimeoutError:
            self.complain("the application's shutdown took too long and was given up")
            return
        if self.told == f"{SHUTDOWN}.failed":
            self.complain("the application's shutdown failed" + (f": {first_line(self.failure)}" if self.failure else ""),
                          "\n".join(self.failure.splitlines()[1:]))
        elif self.error() is not None:
            from .stack import exception_lines
            self.complain(f"the application's shutdown raised {type(self.error()).__name__}",
                          "\n".join(exception_lines(self.error())))

    @staticmethod
    def complain(text, detail=""):
        from .words import clean
        log("error", "lifespan-shutdown", clean(text), detail)


def first_line(text):
    from .words import clean
    return clean(text.split("\n")[0])
