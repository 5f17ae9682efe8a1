"""wsgi.input, wsgi.errors, wsgi.file_wrapper, wsgi.early_hints, the Worker and the functions of the module."""
import errno
import gzip
import io
import os
import subprocess
import sys
import tempfile
import unittest

from fake import OK, PLAIN, engine, one, reading, request, serve

LINES = b"one\ntwo\nthree"


class Input(unittest.TestCase):
    def each_way(self, function, expected, body=LINES):
        """Buffered, streamed in two parts, streamed byte by byte."""
        single = [body[at:at + 1] for at in range(len(body))]
        for parts, buffered in (([body], 1), ([body[:5], body[5:]], 0), (single, 0), (single, 1)):
            result = one(reading(function), body=[part for part in parts if part], method="POST", buffered=buffered)
            self.assertNotIn("failed", result)
            self.assertEqual(result["body"], expected if isinstance(expected, bytes) else repr(expected).encode())

    def test_read(self):
        self.each_way(lambda stream: stream.read(), LINES)
        self.each_way(lambda stream: stream.read(-1), LINES)
        self.each_way(lambda stream: stream.read(None), LINES)
        self.each_way(lambda stream: [stream.read(0), stream.read(3), stream.read(100), stream.read(), stream.read(5)],
                      [b"", b"one", b"\ntwo\nthree", b"", b""])

    def test_large(self):
        body = os.urandom(60) * 5000
        for buffered in (0, 1):
            parts = [body[at:at + 7001] for at in range(0, len(body), 7001)]
            self.assertEqual(one(reading(lambda stream: stream.read()), body=parts, buffered=buffered)["body"], body)

    def test_lines(self):
        self.each_way(lambda stream: list(stream), [b"one\n", b"two\n", b"three"])
        self.each_way(lambda stream: stream.readlines(), [b"one\n", b"two\n", b"three"])
        self.each_way(lambda stream: stream.readlines(5), [b"one\n", b"two\n"])
        self.each_way(lambda stream: [stream.readline(), stream.readline(2), stream.readline(0), stream.readline(), next(stream),
                                      stream.readline()], [b"one\n", b"tw", b"", b"o\n", b"three", b""])
        self.each_way(lambda stream: list(stream), [b"\n", b"\n"], b"\n\n")

    def test_readinto(self):
        def fill(stream):
            room = bytearray(8)
            return [stream.readinto(room), bytes(room), stream.readinto(room), stream.readinto(room)]
        self.each_way(fill, [8, b"one\ntwo\n", 5, 0])

    def test_read1(self):
        self.assertEqual(one(reading(lambda stream: [stream.read1(2), stream.read1(), stream.read1(), stream.read1()]),
                             body=[b"abc", b"de"], buffered=0)["body"], repr([b"ab", b"c", b"de", b""]).encode())

    def test_no_body(self):
        for how in (lambda s: s.read(), lambda s: s.read(5), lambda s: s.readline(), lambda s: b"".join(s), lambda s: s.read1()):
            self.assertEqual(one(reading(how))["body"], b"")

    def test_seek(self):
        def seek(stream):
            return [stream.seekable(), stream.seek(4), stream.read(3), stream.tell(), stream.seek(-5, 2), stream.read(), stream.seek(1000),
                    stream.read(), stream.seek(0), stream.seek(2, 1), stream.read(2)]
        self.assertEqual(one(reading(seek), body=LINES)["body"], repr([True, 4, b"two", 7, 8, b"three", 13, b"", 0, 2, b"e\n"]).encode())

    def test_seek_refused(self):
        def seek(stream):
            for arguments, error in (((-1,), ValueError), ((0, 3), ValueError), ((-100, 1), ValueError), (("x",), TypeError)):
                with self.assertRaises(error):
                    stream.seek(*arguments)
            return b"fine"
        self.assertEqual(one(reading(seek), body=LINES)["body"], b"fine")

        def streamed(stream):
            with self.assertRaises(OSError) as caught:
                stream.seek(0)
            return [stream.seekable(), caught.exception.errno == errno.ESPIPE]
        self.assertEqual(one(reading(streamed), body=LINES, buffered=0)["body"], b"[False, True]")

    def test_like_a_file(self):
        def wrap(stream):
            text = io.TextIOWrapper(io.BufferedReader(stream), "ascii")
            return [text.readline(), text.read(), stream.closed, stream.readable(), stream.writable()]
        self.assertEqual(one(reading(wrap), body=LINES)["body"], repr(["one\n", "two\nthree", False, True, False]).encode())

    def test_bad_arguments(self):
        def bad(stream):
            for call in (lambda: stream.read("x"), lambda: stream.read(1, 2), lambda: stream.readinto(b"fixed"), lambda: stream.read(1.5)):
                with self.assertRaises((TypeError, BufferError)):
                    call()
            return stream.read()
        self.assertEqual(one(reading(bad), body=LINES)["body"], LINES)

    def test_broken_bodies(self):
        for error, kind, status in ((errno.ECONNRESET, ConnectionResetError, None), (errno.ETIMEDOUT, TimeoutError, 408),
                                    (errno.EPROTO, engine.BodyError, 400), (errno.EFBIG, engine.BodyError, 413)):
            for how in (lambda s: s.read(), lambda s: list(s), lambda s: s.read1() + s.read1() + s.read1(), lambda s: s.readinto(bytearray(50))):
                caught = []

                def app(environ, start_response, how=how, caught=caught):
                    try:
                        how(environ["wsgi.input"])
                    except OSError as exception:
                        caught.append(type(exception))
                        raise
                    return []
                result = one(app, fields=["Content-Length: 20"], body=[b"ab", b"cd"], buffered=0, body_error=error)
                self.assertEqual(caught, [kind])
                self.assertNotIn("failed", result)  # the client's fault: no traceback
                self.assertEqual(result.get("status"), status)

    def test_unreadable_spill_is_our_fault(self):
        result = one(reading(lambda stream: stream.read()), body=[b"ab"], buffered=0, fields=["Content-Length: 20"], body_error=errno.EIO)
        self.assertEqual(result["failed"][0][:2], ("app-raised", "BodyError"))

    def test_broken_after_the_answer_began(self):
        def app(environ, start_response):
            start_response(OK, PLAIN)
            yield b"begun"
            environ["wsgi.input"].read()
        result = one(app, fields=["Content-Length: 20"], body=[b"ab"], buffered=0, body_error=errno.EPROTO)
        self.assertEqual(result["failed"][0][0], "request-bad")  # so that the client sees a cut answer


class FileWrapper(unittest.TestCase):
    def setUp(self):
        self.data = os.urandom(100) * 3000
        handle = tempfile.NamedTemporaryFile()
        handle.write(self.data)
        handle.flush()
        self.path = handle.name
        self.addCleanup(handle.close)

    def send(self, make, *block):
        made = []

        def app(environ, start_response):
            start_response(OK, PLAIN)
            made.append(make())
            return environ["wsgi.file_wrapper"](made[0], *block)
        result = one(app)
        self.assertNotIn("failed", result)
        return result, made[0]

    def test_plain_files_go_as_a_range(self):
        for make in (lambda: open(self.path, "rb"), lambda: open(self.path, "rb", 0), lambda: open(self.path, "rb+")):
            result, file = self.send(make)
            self.assertEqual((result["body"], result["files"], file.closed), (self.data, [(0, len(self.data))], True))

    def test_from_the_logical_position(self):
        def make():
            file = open(self.path, "rb")
            file.read(10)
            return file
        result, _ = self.send(make)
        self.assertEqual((result["body"], result["files"]), (self.data[10:], [(10, len(self.data) - 10)]))

    def test_wrappers_with_a_plain_file_inside(self):
        def make():
            file = tempfile.NamedTemporaryFile()
            file.write(b"hello")
            file.flush()
            file.seek(1)
            return file
        result, _ = self.send(make)
        self.assertEqual((result["body"], result["files"]), (b"ello", [(1, 4)]))

    def test_at_the_end(self):
        def make():
            file = open(self.path, "rb")
            file.seek(0, 2)
            return file
        self.assertEqual(self.send(make)[0]["body"], b"")

    def test_files_that_only_look_plain_are_read(self):
        packed = tempfile.NamedTemporaryFile()
        with gzip.open(packed.name, "wb") as file:
            file.write(self.data)
        result, file = self.send(lambda: gzip.open(packed.name, "rb"))
        self.assertNotIn("files", result)
        self.assertEqual((result["body"], file.closed), (self.data, True))

    def test_memory(self):
        result, file = self.send(lambda: io.BytesIO(self.data), 1000)
        self.assertEqual((result["body"], result["flushes"][0], file.closed), (self.data, 1000, True))

    def test_pipe(self):
        """What is there goes out, though less than a block came."""
        reader, writer = os.pipe()
        os.write(writer, b"some")
        os.close(writer)
        self.assertEqual(self.send(lambda: open(reader, "rb"))[0]["body"], b"some")

    def test_only_read(self):
        class Reader:
            parts = [b"a", b"b", b""]

            def read(self, size):
                return self.parts.pop(0)
        self.assertEqual(self.send(Reader)[0]["body"], b"ab")

    def test_as_an_iterable(self):
        file = open(self.path, "rb")
        wrapper = engine.FileWrapper(file, 1024)
        self.assertEqual(b"".join(wrapper), self.data)
        wrapper.close()
        self.assertTrue(file.closed)

    def test_bad_arguments(self):
        for arguments in ((), (5,), (io.BytesIO(), "x")):
            with self.assertRaises((TypeError, AttributeError)):
                engine.FileWrapper(*arguments)

    def test_text_is_refused(self):
        def app(environ, start_response):
            start_response(OK, PLAIN)
            return environ["wsgi.file_wrapper"](io.StringIO("text"))
        self.assertEqual(one(app)["failed"][0][:2], ("app-response", "TypeError"))

    def test_without_start_response(self):
        file = open(self.path, "rb")
        result = one(lambda environ, start_response: environ["wsgi.file_wrapper"](file))
        self.assertEqual(result["failed"][0][1], "AssertionError")
        self.assertTrue(file.closed)

    def test_no_descriptor_stays(self):
        before = os.listdir("/proc/self/fd")
        for _ in range(20):
            self.send(lambda: open(self.path, "rb"))
        self.assertEqual(os.listdir("/proc/self/fd"), before)


class EarlyHints(unittest.TestCase):
    def hint(self, pairs, before=None):
        def app(environ, start_response):
            if before:
                before(start_response)
            environ["wsgi.early_hints"](pairs)
            start_response(OK, PLAIN)
            return []
        return one(app)

    def test_sent(self):
        result = self.hint([("Link", "</a.css>; rel=preload"), ("X", "y")])
        self.assertEqual(result["interim"], [(103, "Link", "</a.css>; rel=preload"), (103, "X", "y")])

    def test_refused(self):
        for pairs in ([("A", "b\n")], [("A b", "c")], [("A", b"c")], [("A",)], 5, [("A", "b")] * 65):
            self.assertIn(self.hint(pairs)["failed"][0][1], ("ValueError", "TypeError"))

    def test_too_late(self):
        result = self.hint([("A", "b")], before=lambda start_response: start_response(OK, PLAIN)(b"begun"))
        self.assertEqual(result["failed"][0][1], "RuntimeError")


class Errors(unittest.TestCase):
    """Records appear on the log's sink, which is stderr before anything else was set up."""

    def logged(self, code):
        program = f"""
import sys
sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
from fake import *
def app(environ, start_response):
    errors = environ["wsgi.errors"]
    {code}
    start_response(OK, PLAIN)
    return []
one(app)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        return done.stderr

    def test_lines(self):
        said = self.logged('print("one", 2, file=errors); errors.write("th"); errors.write("ree\\n"); errors.writelines(["a\\n", "b\\n"])')
        self.assertEqual([line.rpartition("error: ")[2] for line in said.splitlines()], ["one 2", "three", "a", "b"])

    def test_traceback_stays_together(self):
        said = self.logged('errors.write("first\\n  second\\n  third\\n")')
        self.assertEqual(said.count("error: "), 1)
        self.assertIn("second", said)
        self.assertIn("third", said)

    def test_flush_and_end(self):
        self.assertIn("half", self.logged('errors.write("half"); errors.flush()'))
        self.assertIn("rest", self.logged('errors.write("rest")'))

    def test_escaped(self):
        said = self.logged(r'errors.write("a\x1b[2J\r\x00\u20ac\udc80\n")')
        self.assertNotIn("\x1b", said)
        self.assertIn("\\x1b[2J", said)

    def test_huge(self):
        said = self.logged('errors.write("x" * 1000000 + "\\n"); errors.write("end\\n")')
        self.assertGreater(said.count("x"), 900000)
        self.assertIn("end", said)

    def test_wrong_type(self):
        self.assertIn("fine", self.logged("""
    try: errors.write(b"x")
    except TypeError: errors.write("fine\\n")"""))


class Worker(unittest.TestCase):
    def test_boot(self):
        worker = engine.Worker.alone({"a": "b", "on": True, "off": False, "n": 5, "many": ["x", "y"], "none": None})
        self.assertEqual([worker.setting(key) for key in ("a", "on", "off", "n", "many", "none", "missing")],
                         ["b", "on", "off", "5", "y", "", ""])
        self.assertEqual((worker.number, worker.address, worker.arguments()), (7, "http://127.0.0.1:8000", ["one", "two"]))
        worker.ready({"app": "x:y", "kind": "WSGI", "odd": "a\nb"})
        self.assertEqual(engine.said()[0], "ready app=x:y\nkind=WSGI\nodd=a b\n")
        worker.failed(4, "app-import", "text\nmore")
        self.assertEqual(engine.said()[0], "failed 4 app-import text\nmore")
        worker.failed(4, "app-import", "text", "brief", True)
        self.assertEqual(engine.said()[0], "failed 4 app-import text")
        self.assertTrue(worker.files(b"/a.py\n/b.py"))
        self.assertEqual(engine.said()[0], "files /a.py\n/b.py")
        worker.debugging(True)
        self.assertEqual(engine.said()[0], "debugging on")
        worker.stop(quick=True)
        self.assertEqual(engine.said()[0], "stop quick")

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "nonsense"):
            engine.Worker.alone({"nonsense": "1"})
        with self.assertRaises(TypeError):
            engine.Worker.alone([])
        with self.assertRaises(ValueError):
            engine.Worker.alone({"a": "b\0c"})
        with self.assertRaises(OSError) as caught:
            engine.Worker.inherit(77)
        self.assertEqual((caught.exception.errno, caught.exception.strerror), (errno.EPROTONOSUPPORT, "no master here, fd 77"))
        with self.assertRaises(TypeError):
            engine.Worker()

    def test_one_at_a_time(self):
        worker = engine.Worker.alone({})
        with self.assertRaises(RuntimeError):
            engine.Worker.alone({})
        del worker
        engine.Worker.alone({})

    def test_serve(self):
        worker = engine.Worker.alone({})
        engine.script([request()])
        with self.assertRaises(TypeError):
            worker.serve(None)
        caught = []

        def app(environ, start_response):
            try:
                worker.serve(app)
            except RuntimeError:
                caught.append(1)
            start_response(OK, PLAIN)
            return []
        worker.serve(app)
        engine.script([request()])
        worker.serve(app)  # again, after it returned
        self.assertEqual(caught, [1, 1])

    def test_abandoned(self):
        worker = engine.Worker.alone({})
        worker.abandon()
        for call in (lambda: worker.setting("a"), lambda: worker.serve(print), lambda: worker.ready({})):
            with self.assertRaises(RuntimeError):
                call()

    def test_atoms(self):
        def app(environ, start_response):
            environ["REMOTE_USER"], environ["app.note"] = "j\xf6rg", 5
            start_response(OK, PLAIN)
            return []
        self.assertEqual(one(app)["atoms"], [("REMOTE_USER", "j\xf6rg"), ("app.note", "5")])

    def test_nothing_leaks(self):
        def app(environ, start_response):
            start_response(OK, PLAIN)
            return [environ["wsgi.input"].read()]
        requests = [request(f"/{n}", ["X-A: b", "Cookie: c"], b"body", connection=n % 7) for n in range(200)]
        serve(app, *requests)
        before = sys.getallocatedblocks()
        for _ in range(5):
            serve(app, *requests)
        engine.script([])
        self.assertLess(sys.getallocatedblocks() - before, 500)


class ArenaCache(unittest.TestCase):
    @unittest.skipIf(os.environ.get("PYTHONMALLOC"), "the allocator was chosen by hand")
    def test_no_depth_of_the_stack_is_unlucky(self):
        """Without the cache each call at some depths maps and unmaps memory: 8 us instead of 0.06 on 3.11."""
        program = """
import sys, time
sys.path.insert(0, sys.argv[1])
from fake import *
worker = engine.Worker.alone({"arena_cache": True})
def leaf(): pass
def at(depth):
    if depth:
        return at(depth - 1)
    began = time.perf_counter()
    for _ in range(300): leaf()
    return time.perf_counter() - began
times = sorted(min(at(depth) for _ in range(7)) for depth in range(200))
print(times[-1] / times[100])
"""
        folder = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=60)
        self.assertLess(float(done.stdout), 15, done.stderr)


class Functions(unittest.TestCase):
    def test_messages(self):
        code, level, text = engine.MESSAGES["app-import"]
        self.assertEqual((code, level), (4, "error"))
        self.assertTrue(text.endswith("."))

    def test_log(self):
        for arguments in (("info", None, "text"), ("error", "app-import", "text", "detail\nmore")):
            self.assertIsNone(engine.log(*arguments[:3], *arguments[3:]))
        for arguments in (("loud", None, "text"), ("info", "no-such-key", "text")):
            with self.assertRaises(ValueError):
                engine.log(*arguments)

    def test_title(self):
        program = """
import os, sys
sys.path.insert(0, sys.argv[1])
from fake import *
def title():
    return open("/proc/self/cmdline").read().rstrip("\\0")
engine.set_title("barkeep: worker 2 [app] idle")
seen = [title()]
def app(environ, start_response):
    seen.append(title())
    start_response(OK, PLAIN)
    return []
one(app)
seen.append(title())
engine.set_title("barkeep: " + "x" * 5000 + " idle")
seen.append(title()[-6:])
print(seen)
"""
        folder = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout.strip(), repr([f"barkeep: worker 2 [app] {state}" for state in ("idle", "busy", "idle")] + ["x idle"]),
                         done.stderr)


if __name__ == "__main__":
    unittest.main()
