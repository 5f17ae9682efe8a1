"""Facts about tasks started inside select(): eager ones (3.12+) and scheduled ones. python eager.py [plain]"""
import asyncio
import contextvars
import gc
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import engine_selector

EAGER = sys.version_info >= (3, 12)
failed = 0
var = contextvars.ContextVar("var", default="clean")


class Selector(engine_selector.EngineSelector):
    """Runs `jobs` inside select(), as the engine runs the requests that are ready."""

    def __init__(self):
        super().__init__()
        self.jobs = []
        self.waits = 0

    def select(self, timeout=None):
        if self.jobs:
            jobs, self.jobs = self.jobs, []
            for job in jobs:
                job()
            return super().select(0)  # Python ran: never wait with the old timeout
        self.waits += 1
        return super().select(timeout)


def start(loop, coroutine, context=None):
    if EAGER:
        return asyncio.Task(coroutine, loop=loop, eager_start=True, context=context)
    return context.run(loop.create_task, coroutine) if context else loop.create_task(coroutine)


def fact(name, ok, more=""):
    global failed
    failed += not ok
    print(f"  {'ok  ' if ok else 'NOT '} {name} {more}")


async def inside(loop, make):
    """Runs make() inside select(), returns what it returned."""
    box = []
    loop._selector.jobs.append(lambda: box.append(make()))
    while not box:
        await asyncio.sleep(0)
    return box[0]


async def facts(loop):
    seen = {}

    async def simple():
        seen["task"] = asyncio.current_task()
        seen["loop"] = asyncio.get_running_loop()
        return 1

    task = await inside(loop, lambda: start(loop, simple()))
    fact("done when the constructor returns", task.done() == EAGER)
    await asyncio.sleep(0)
    fact("current_task() is the task", seen["task"] is task and seen["loop"] is loop)
    fact("no current task left behind in the selector", await inside(loop, asyncio.current_task) is None)

    async def suspends():
        seen["first"] = asyncio.current_task()
        await asyncio.sleep(0)
        seen["second"] = asyncio.current_task()
        try:
            async with timeout(0.01):
                await asyncio.sleep(1)
        except (TimeoutError, asyncio.TimeoutError):
            seen["timeout"] = True
        return 2

    task = await inside(loop, lambda: start(loop, suspends()))
    begin = time.monotonic()
    await task
    fact("resumes as the same task, timeout() works", seen["first"] is seen["second"] is task and seen.get("timeout"),
         f"after {(time.monotonic() - begin) * 1000:.0f} ms")

    if sys.version_info >= (3, 11):
        async def group():
            async with asyncio.TaskGroup() as g:
                a = g.create_task(asyncio.sleep(0, 3))
                b = g.create_task(asyncio.sleep(0, 4))
            return a.result() + b.result()

        fact("TaskGroup inside", await (await inside(loop, lambda: start(loop, group()))) == 7)

    async def sets():
        before = var.get()
        var.set("mine")
        await asyncio.sleep(0)
        return before, var.get()

    clean = contextvars.copy_context()
    task = await inside(loop, lambda: start(loop, sets(), clean.copy()))
    fact("explicit context: starts clean, keeps its own", await task == ("clean", "mine"))
    fact("and leaves nothing in the loop's", await inside(loop, var.get) == "clean")

    async def raises():
        raise ValueError("x")

    task = await inside(loop, lambda: start(loop, raises()))
    try:
        await task
        fact("exception reaches the task", False)
    except ValueError:
        fact("exception reaches the task, not the selector", True)

    async def interrupted():
        raise SystemExit(3)

    def catches():
        try:
            start(loop, interrupted()).exception()
        except BaseException as e:
            return type(e).__name__

    if EAGER:
        fact("SystemExit comes out of the constructor", await inside(loop, catches) == "SystemExit")

    async def cancelled():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen["cancelled"] = True
            raise

    task = await inside(loop, lambda: start(loop, cancelled()))
    await asyncio.sleep(0)
    await inside(loop, task.cancel)
    await asyncio.wait([task])
    fact("cancel from inside select()", task.cancelled() and seen.get("cancelled"))
    task = await inside(loop, lambda: start(loop, cancelled()))
    fact("all_tasks() knows a suspended one", task in asyncio.all_tasks())
    task.cancel()
    await asyncio.wait([task])

    async def nested():
        return await asyncio.ensure_future(simple())

    fact("a child task of it is scheduled, not eager", await (await inside(loop, lambda: start(loop, nested()))) == 1)
    fact("the user's loop has no task factory of ours", loop.get_task_factory() is None)
    called = []
    await inside(loop, lambda: (loop.call_soon(called.append, 1), loop.call_later(0.005, called.append, 2)))
    await asyncio.sleep(0.02)
    fact("call_soon and call_later from inside are not slept over", called == [1, 2])
    r, w = os.pipe()
    got = asyncio.Event()
    await inside(loop, lambda: loop.add_reader(r, got.set))
    os.write(w, b"x")
    await asyncio.wait_for(got.wait(), 1)
    await inside(loop, lambda: loop.remove_reader(r))
    fact("add_reader and remove_reader from inside", not loop._selector.get_map().get(r))
    os.close(r), os.close(w)


if sys.version_info >= (3, 11):
    timeout = asyncio.timeout
else:
    import contextlib

    @contextlib.asynccontextmanager
    async def timeout(seconds):  # 3.10 has none: what async-timeout does
        task = asyncio.current_task()
        handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
        try:
            yield
        except asyncio.CancelledError:
            raise asyncio.TimeoutError from None
        finally:
            handle.cancel()


def stale(guarded):
    """The app closes an fd it watches, the engine gets the number for a connection, the app unregisters late."""
    selector = engine_selector.EngineSelector()
    r, w = os.pipe()
    selector.register(r, 1)
    spare = os.dup(r)  # so that the number comes back for something else
    os.close(r)
    a, b = os.pipe()   # a: the engine's connection, under the old number
    if a != r:
        os.dup2(a, r), os.close(a)
    selector.control(1, r, 1, engine_selector.ENGINE)
    if guarded:
        selector.engine_fds.add(r)
    selector.unregister(r)
    os.write(b, b"request")
    n = engine_selector.libc.epoll_wait(selector.epoll_fd, selector.batch, 8, 0)
    seen = any(selector.batch[i].data == engine_selector.ENGINE for i in range(n))
    for fd in (r, w, b, spare):
        os.close(fd)
    selector.close()
    return seen


async def cost(loop):
    async def app():
        return None

    async def rounds(batch, total, make):
        def job():
            for _ in range(batch):
                make(app())

        gc.disable()
        best = 1e9
        for _ in range(5):
            begin = time.process_time_ns()
            for _ in range(total // batch):
                loop._selector.jobs.append(job)
                await asyncio.sleep(0)
            best = min(best, (time.process_time_ns() - begin) / total)
        gc.enable()
        return best / 1000

    empty = await rounds(1, 4000, lambda c: c.close())
    row = [f"scheduled, {n} a turn {await rounds(n, 4000, loop.create_task) - empty / n:.2f} us" for n in (1, 8, 50)]
    if EAGER:
        row += [f"eager, {n} a turn {await rounds(n, 4000, lambda c: start(loop, c)) - empty / n:.2f} us" for n in (1, 50)]
    print("  cost of a task beside an empty turn (CPU):", ", ".join(row))


print(f"Python {sys.version.split()[0]}, debug {bool(os.environ.get('PYTHONASYNCIODEBUG'))}")
fact("remove_reader after close makes an engine's connection deaf without a guard", not stale(False))
fact("and does not with one", stale(True))
loop = asyncio.SelectorEventLoop(Selector())
loop.run_until_complete(facts(loop))
if not os.environ.get("PYTHONASYNCIODEBUG"):
    loop.run_until_complete(cost(loop))
loop.close()
sys.exit(failed > 0)
