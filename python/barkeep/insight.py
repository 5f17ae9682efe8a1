"""Where a worker is stuck: the Python stacks behind lines about slow and overdue requests. Asked by hosts/cpython/insight.c,
from a thread of its own that has the GIL for the moment; nothing here may take a lock of the application's, and gevent may
have patched everything."""
import faulthandler
import os
import sys
from _thread import get_ident

MOST_THREADS = 60
MOST_AWAITS = 100  # of one task

main = []  # ident of the main thread


def begin(worker):
    """Before the application is imported, on the main thread. PyPy's host shows no stacks."""
    if not hasattr(worker, "watch_over"):
        return
    main[:] = [get_ident()]
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
    threading = os.path.join(os.path.dirname(os.__file__), "threading.py")
    fd, number = worker.watch_over(report, interrupt, own, threading)
    faulthandler.register(number, file=fd, all_threads=True, chain=False)


def report(runner, numbers, everything):
    """Text: the stack of what runs a request (a task, a greenlet, a thread's ident, None: the main thread); with `everything`
    those of all threads. numbers: {ident: thread number} of the server's threads, 0 where there is one only."""
    frames = sys._current_frames()
    frames.pop(get_ident(), None)
    if isinstance(runner, int) and runner not in frames:
        runner = None
    if runner is None:
        runner = main[0]
    parts, shown = [], None
    if isinstance(runner, int):
        shown = runner
        parts.append(("", lines_of(frames.get(runner))))
    else:
        what = "task" if hasattr(runner, "cancel") and hasattr(runner, "get_loop") else "greenlet"
        lines = lines_of_task(runner) if what == "task" else lines_of_greenlet(runner)
        if lines is None:  # it is what its thread does just now
            shown, lines = main[0], lines_of(frames.get(main[0]))
        parts.append((f"{what}:" if everything else "", lines))
    if not everything:
        return text(parts)
    if shown is not None:
        parts[0] = (name_of(shown, numbers) + ":", parts[0][1])
    return text(parts + others(frames, numbers, shown))


def others(frames, numbers, shown):
    """The other threads; those at the same place together."""
    groups = {}
    for ident in sorted(frames, key=lambda ident: (numbers.get(ident, 1 << 20), ident))[:MOST_THREADS]:
        if ident != shown:
            lines = lines_of(frames[ident]) or (["(waits for a request)"] if numbers.get(ident) else ["(in the server)"])
            groups.setdefault(tuple(lines), []).append(name_of(ident, numbers))
    return [(", ".join(names) + ":", list(lines)) for lines, names in groups.items()]


def name_of(ident, numbers):
    if numbers.get(ident):
        return f"thread {numbers[ident]}"
    if ident == main[0]:
        return "main thread"
    active = getattr(sys.modules.get("threading"), "_active", {})
    name = getattr(active.get(ident), "name", None)
    return f"thread {name!r}" if isinstance(name, str) else f"thread {ident:#x}"


def lines_of(frame):
    if frame is None:
        return ["(not running Python)"]
    from .stack import stack_lines
    return stack_lines(frame)


def lines_of_greenlet(greenlet):
    """None for the one that runs."""
    frame = getattr(greenlet, "gr_frame", None)
    return lines_of(frame) if frame is not None else None


def lines_of_task(task):
    """Down the chain of what awaits what. None for a task that runs just now."""
    from .stack import awaiting_lines
    get_coro = getattr(task, "get_coro", None)
    if get_coro is None:  # a future that stands for the request, see tornado_worker.py
        return ["(a Future)"]
    frames, at = [], get_coro()
    while at is not None and len(frames) < MOST_AWAITS:
        for prefix, below in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            if hasattr(at, prefix + "_frame"):
                break
        else:
            break
        if getattr(at, prefix + "_running", False):
            return None
        frame = getattr(at, prefix + "_frame")
        if frame is not None:
            frames.append(frame)
        at = getattr(at, below)
    return awaiting_lines(frames)


def text(parts):
    from .words import for_log
    lines = []
    for title, body in parts:
        lines += [title] if title else []
        lines += ["  " + line for line in body] if title else body
    return for_log(*lines)


def interrupt(runner, exception):
    """Ends a request that is a task or a greenlet, at the next place where it waits."""
    if hasattr(runner, "get_loop"):
        runner.get_loop().call_soon_threadsafe(runner.cancel)
        return
    import gevent
    hub = runner.parent
    while not isinstance(hub, gevent.hub.Hub):
        hub = hub.parent
    hub.loop.run_callback_threadsafe(throw, runner, exception)


def throw(greenlet, exception):
    """In the hub."""
    if not greenlet.dead:
        greenlet.throw(exception)
