"""Answers: start_response, bodies of every kind, close(), failures, lent buffers, back-pressure."""
import gc
import os
import signal
import sys
import threading
import unittest
import weakref
from wsgiref.validate import validator

from fake import OK, PLAIN, engine, one, request, serve


class Body:
    """An iterable that counts close() and can fail."""

    def __init__(self, pieces, fail_at=None):
        self.pieces, self.fail_at, self.given, self.closed = iter(pieces), fail_at, 0, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.given == self.fail_at:
            raise LookupError("midway")
        self.given += 1
        return next(self.pieces)

    def close(self):
        self.closed += 1


def plain(body):
    def app(environ, start_response):
        start_response(OK, PLAIN)
        return body
    return app


class StartResponse(unittest.TestCase):
    def test_status_and_fields(self):
        def app(environ, start_response):
            start_response("299 Odd but fine", [("A", "caf\xe9"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])
            return [b"x"]
        result = one(app)
        self.assertEqual((result["status"], result["reason"], result["body"]), (299, "Odd but fine", b"x"))
        self.assertEqual(result["fields"], [("A", "caf\xe9"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])

    def test_a_missing_reason_is_filled_in(self):
        def app(environ, start_response):
            start_response("404", [])
            return []
        self.assertEqual(one(app)["reason"], "Not Found")

    def refused(self, error, *arguments, **keywords):
        caught = []

        def app(environ, start_response):
            try:
                start_response(*arguments, **keywords)
            except error as exception:
                caught.append(str(exception))
            return []
        result = one(app)
        self.assertEqual(len(caught), 1, arguments)
        self.assertIn("start_response", caught[0])
        self.assertEqual(result["failed"][0][0], "app-response")  # it went on as if nothing had happened
        return caught[0]

    def test_bad_status(self):
        for status in ("", "20", "OK", "2000 OK", " 200 OK", "200OK", "200 \u20ac", "200 a\nb", "099 X", "x00 Y"):
            self.refused(ValueError, status, [])
        for status in (200, b"200 OK", None):
            self.refused(TypeError, status, [])

    def test_bad_fields(self):
        for fields in ([("A", "b\nc")], [("A b", "c")], [("", "c")], [("A", "\u20ac")], [("A", "b\0")], [("A:", "b")]):
            self.refused(ValueError, OK, fields)
        for fields in ([("A", b"b")], [(b"A", "b")], [("A", 5)], [("A", "b", "c")], ["A: b"], None, 5, [None]):
            self.refused(TypeError, OK, fields)

    def test_arguments(self):
        for arguments in ((), (OK,), (OK, [], None, None)):
            self.refused(TypeError, *arguments)
        self.refused(TypeError, OK, [], nonsense=1)

        def app(environ, start_response):
            start_response(status=OK, response_headers=[("A", "b")], exc_info=None)
            return []
        self.assertEqual(one(app)["fields"], [("A", "b")])

    def test_again_after_a_refused_call(self):
        """The first call raised, so the second is the first that counts."""
        def app(environ, start_response):
            try:
                start_response(OK, [("A", "b"), ("C", "d\r\n")])
            except ValueError:
                start_response("500 Oops", [("E", "f")])
            return [b"x"]
        result = one(app)
        self.assertEqual((result["status"], result["fields"], result["body"]), (500, [("E", "f")], b"x"))
        self.assertNotIn("failed", result)

    def test_twice(self):
        def app(environ, start_response):
            start_response(OK, [])
            start_response(OK, [])
        key, kind, text = one(app)["failed"][0]
        self.assertEqual((key, kind), ("app-raised", "AssertionError"))
        self.assertIn("second time", text)

    def test_exc_info_before_anything_was_sent(self):
        def app(environ, start_response):
            start_response(OK, [("A", "b")])
            try:
                raise ValueError("x")
            except ValueError:
                start_response("500 Oops", [("C", "d")], sys.exc_info())
            return [b"page"]
        result = one(app)
        self.assertEqual((result["status"], result["fields"], result["body"]), (500, [("C", "d")], b"page"))

    def test_exc_info_after_something_was_sent(self):
        def app(environ, start_response):
            start_response(OK, PLAIN)
            yield b"begun"
            try:
                raise ValueError("the first one")
            except ValueError:
                start_response("500 Oops", [], sys.exc_info())
            yield b"never"
        result = one(app)
        self.assertEqual((result["body"], result["failed"][0][:2]), (b"begun", ("app-raised", "ValueError")))
        self.assertIn("the first one", result["failed"][0][2])
        self.assertIn('raise ValueError("the first one")', result["failed"][0][2])

    def test_exc_info_of_the_wrong_shape(self):
        def app(environ, start_response):
            start_response(OK, [])
            start_response(OK, [], "nonsense")
        self.assertEqual(one(app)["failed"][0][1], "TypeError")

    def test_hop_by_hop_is_left_out_and_said(self):
        def app(environ, start_response):
            start_response(OK, [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("A", "b")])
            return []
        results = serve(app, request(), request())
        self.assertEqual([result["fields"] for result in results], [[("A", "b")]] * 2)
        self.assertEqual(results[0]["warned"][0][0], "app-response")
        self.assertNotIn("warned", results[1])

    def test_later_changes_do_no_harm(self):
        def app(environ, start_response):
            fields = [("A", "b")]
            start_response(OK, fields)
            fields.clear()
            return []
        self.assertEqual(one(app)["fields"], [("A", "b")])

    def test_a_list_that_changes_while_it_is_refused(self):
        fields = []

        class Evil:
            def __repr__(self):
                fields.clear()
                gc.collect()
                return "evil"
        fields += [("A", Evil()) for _ in range(3)]

        def app(environ, start_response):
            start_response(OK, fields)
        self.assertEqual(one(app)["failed"][0][1], "TypeError")


class Write(unittest.TestCase):
    def test_write_comes_first_and_is_flushed(self):
        def app(environ, start_response):
            write = start_response(OK, PLAIN)
            write(b"one ")
            write(b"")
            write(b"two ")
            return [b"three"]
        result = one(app)
        self.assertEqual((result["body"], result["flushes"]), (b"one two three", [4, 8]))

    def test_not_bytes(self):
        def app(environ, start_response):
            start_response(OK, PLAIN)("text")
        self.assertEqual(one(app)["failed"][0][1], "TypeError")

    def test_client_gone(self):
        seen = []

        def app(environ, start_response):
            write = start_response(OK, PLAIN)
            try:
                write(b"12345")
                write(b"67890")
            except OSError as exception:
                seen.append(type(exception))
                raise
            return []
        result = one(app, gone_after=7)
        self.assertEqual(seen, [BrokenPipeError])
        self.assertNotIn("failed", result)  # nobody's fault


class Bodies(unittest.TestCase):
    def test_kinds(self):
        for body, expected in (([b"a"], b"a"), ([b"a", b"", b"b"], b"ab"), ((b"a", b"b"), b"ab"), ([], b""), ((), b""),
                               (iter([b"a", b"b"]), b"ab"), ({b"k": 1}, b"k"), (Body([b"x", b"", b"y"]), b"xy"),
                               ([b"x" * 5000, b"y", b"z" * 70000], b"x" * 5000 + b"y" + b"z" * 70000)):
            result = one(plain(body))
            self.assertEqual(result["body"], expected)
            self.assertNotIn("failed", result)

    def test_lists_are_not_flushed(self):
        """So the engine can count them and send head and body together."""
        self.assertNotIn("flushes", one(plain([b"a", b"b"])))

    def test_each_item_of_an_iterator_is_flushed(self):
        self.assertEqual(one(plain(iter([b"a", b"", b"bc"])))["flushes"], [1, 3])

    def test_wrong_kinds(self):
        for body, words in ((["text"], "bytes, not str"), ([bytearray(b"x")], "not bytearray"), (None, "NoneType"), (b"raw", "bytes"),
                            ("text", "str"), (5, "int"), ([b"a", None], "not NoneType"), (iter([b"a", 5]), "not int")):
            key, kind, text = one(plain(body))["failed"][0]
            self.assertEqual((key, kind), ("app-response", "TypeError"))
            self.assertIn(words, text)

    def test_start_response_not_called(self):
        for body in ([b"a"], [], iter([b"a"]), iter([])):
            key, kind, text = one(lambda environ, start_response, body=body: body)["failed"][0]
            self.assertEqual((key, kind), ("app-response", "AssertionError"))
            self.assertIn("start_response", text)

    def test_start_response_within_the_iteration(self):
        def app(environ, start_response):
            yield b""
            start_response(OK, PLAIN)
            yield b"late"
        self.assertEqual(one(app)["body"], b"late")

    def test_head_stops_after_the_head(self):
        body = Body([b"a", b"b", b"c"])
        result = one(plain(body), method="HEAD")
        self.assertEqual((body.given, body.closed, result["committed"]), (1, 1, 1))

    def test_subclasses_of_bytes(self):
        class Sub(bytes):
            pass
        self.assertEqual(one(plain([Sub(b"x" * 10000)]))["body"], b"x" * 10000)

    def test_back_pressure(self):
        result = one(plain(Body([b"x" * 1000] * 5)), high=1500)
        self.assertEqual(len(result["body"]), 5000)

    def test_validator(self):
        @validator
        def app(environ, start_response):
            body = environ["wsgi.input"].read(2) + environ["wsgi.input"].readline() + b"".join(environ["wsgi.input"])
            environ["wsgi.errors"].write("said\n")
            start_response(OK, PLAIN)
            return [body]
        for method in ("POST", "HEAD"):
            result = one(app, "/x?y", ["Content-Type: a/b"], b"one\ntwo\n", method)
            self.assertNotIn("failed", result)
            self.assertEqual(result["body"], b"one\ntwo\n")


class Lending(unittest.TestCase):
    def test_large_items_are_lent_and_let_go(self):
        size = 1 << 20
        bodies = [bytes([65 + n]) * size for n in range(3)]
        before = [sys.getrefcount(body) for body in bodies]
        result = one(plain(list(bodies) + [b"small"]))
        self.assertEqual(result["lent"], [3])
        self.assertEqual(result["body"], b"".join(bodies) + b"small")
        self.assertEqual([sys.getrefcount(body) for body in bodies], before)

    def test_a_generator_may_forget_its_item(self):
        def app(environ, start_response):
            start_response(OK, PLAIN)
            for n in range(10):
                yield b"%d" % n * 10000
        self.assertEqual(one(app)["body"], b"".join(b"%d" % n * 10000 for n in range(10)))

    def test_refused_items_are_let_go(self):
        body = b"x" * 100000
        before = sys.getrefcount(body)
        one(plain([body]), gone_after=10)
        self.assertEqual(sys.getrefcount(body), before)


class Closing(unittest.TestCase):
    def test_exactly_once_on_every_path(self):
        for make, options in ((lambda: Body([b"a"]), {}), (lambda: Body([]), {}), (lambda: Body([b"a", b"b"], 1), {}),
                              (lambda: Body([b"a"], 0), {}), (lambda: Body([b"a", "text"]), {}), (lambda: Body([b"a"] * 9), {"gone_after": 2}),
                              (lambda: Body([b"a"]), {"gone_after": 0}), (lambda: Body([b"a"]), {"method": "HEAD"})):
            body = make()
            result = one(plain(body), **options)
            self.assertEqual((body.closed, result["committed"]), (1, 1))

    def test_when_start_response_was_not_called(self):
        body = Body([b"a"])
        one(lambda environ, start_response: body)
        self.assertEqual(body.closed, 1)

    def test_on_anything_that_has_it(self):
        closed = []

        class List(list):
            def close(self):
                closed.append(1)
        one(plain(List([b"a"])))
        self.assertEqual(closed, [1])

        def generator():
            try:
                yield b"a"
                yield b"b"
            finally:
                closed.append(2)
        one(plain(generator()), gone_after=0)
        self.assertEqual(closed, [1, 2])

    def test_after_the_answer_is_out(self):
        order = []

        class Late(Body):
            def close(self):
                order.append(engine.results()[-1].get("committed"))
        one(plain(Late([b"a"])))
        self.assertEqual(order, [1])

    def test_failing_close(self):
        class Failing(Body):
            def close(self):
                raise RuntimeError("in close")
        results = serve(plain(Failing([b"whole"])), request(), request())
        self.assertEqual(results[0]["body"], b"whole")
        self.assertNotIn("failed", results[0])


class Failures(unittest.TestCase):
    def test_traceback_begins_in_the_application(self):
        def inner():
            raise ValueError("what \x1b[2J \u20ac")

        def app(environ, start_response):
            inner()
        key, kind, text = one(app)["failed"][0]
        lines = text.splitlines()
        self.assertEqual((key, kind, lines[0]), ("app-raised", "ValueError", "Traceback (most recent call last):"))
        self.assertIn("in app", lines[1])
        self.assertNotIn("\x1b", text)
        self.assertTrue(lines[-1].startswith("ValueError: what ?[2J \u20ac"))

    def test_midway(self):
        result = one(plain(Body([b"a", b"b"], 1)))
        self.assertEqual((result["body"], result["failed"][0][:2]), (b"a", ("app-raised", "LookupError")))

    def test_long_tracebacks_are_cut(self):
        def app(environ, start_response):
            raise ValueError("x" * 1000000 + "the end")
        text = one(app)["failed"][0][2]
        self.assertLess(len(text), 33000)
        self.assertTrue(text.endswith("the end"))

    def test_unprintable(self):
        class Bad(Exception):
            def __str__(self):
                raise RuntimeError
        def app(environ, start_response):
            raise Bad
        self.assertEqual(one(app)["failed"][0][1], "Bad")

    def test_recursion(self):
        def app(environ, start_response):
            return app(environ, start_response)
        self.assertEqual(one(app)["failed"][0][1], "RecursionError")

    def test_exceptions_are_let_go(self):
        class Mark:
            pass
        marks = []

        def app(environ, start_response):
            mark = Mark()
            marks.append(weakref.ref(mark))
            raise ValueError(mark)
        one(app)
        gc.collect()
        self.assertIsNone(marks[0]())

    def test_exits_end_a_worker_without_a_master(self):
        for error in (SystemExit, KeyboardInterrupt):
            calls = []

            def app(environ, start_response, error=error, calls=calls):
                calls.append(1)
                raise error(3)
            engine.script([request(), request()])
            worker = engine.Worker.alone({})
            with self.assertRaises(error):
                worker.serve(app)
            self.assertEqual(engine.said()[0], "stop quick" if error is KeyboardInterrupt else "stop graceful")
            self.assertEqual(engine.results()[0]["status"], 503)
            del worker

    def test_the_worker_goes_on(self):
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/bad":
                raise ValueError
            start_response(OK, PLAIN)
            return [b"fine"]
        results = serve(app, request("/bad"), request("/good"), request("/bad"), request("/good"))
        self.assertEqual([result["body"] for result in results[1::2]], [b"fine", b"fine"])


class Signals(unittest.TestCase):
    def setUp(self):
        self.caught = []
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, self.handle))
        self.error = None

    def handle(self, number, frame):
        self.caught.append(number)
        if self.error:
            raise self.error

    def test_handlers_run_while_waiting(self):
        self.assertEqual(len(one(plain(Body([b"x" * 100] * 3)), high=50, signals=2)["body"]), 300)
        self.assertEqual(len(self.caught), 2)

    def test_a_handler_that_raises_while_waiting(self):
        self.error = ZeroDivisionError("from the handler")
        body = Body([b"x" * 100] * 3)
        result = one(plain(body), high=50, signals=1)
        self.assertEqual((result["failed"][0][1], body.closed), ("ZeroDivisionError", 1))


class Threads(unittest.TestCase):
    def test_waiting_belongs_to_the_serving_thread(self):
        caught = []

        def app(environ, start_response):
            def read():
                try:
                    environ["wsgi.input"].read()
                except RuntimeError as error:
                    caught.append(str(error))
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
            start_response(OK, PLAIN)
            return [environ["wsgi.input"].read()]
        self.assertEqual(one(app, body=[b"a", b"b"], buffered=0)["body"], b"ab")
        self.assertEqual(len(caught), 1)

    def test_reading_what_is_here_is_free(self):
        def app(environ, start_response):
            read = []
            thread = threading.Thread(target=lambda: read.append(environ["wsgi.input"].read()))
            thread.start()
            thread.join()
            start_response(OK, PLAIN)
            return read
        self.assertEqual(one(app, body=[b"a", b"b"])["body"], b"ab")


class Forks(unittest.TestCase):
    def child(self, app, *requests):
        """Runs app in a worker that forks; the child's exit code and what its serve() raised."""
        engine.script(list(requests))
        worker = engine.Worker.alone({})
        parent = os.getpid()
        try:
            worker.serve(app)
        except BaseException as error:
            if os.getpid() != parent:
                os._exit(getattr(error, "code", None) or 0 if isinstance(error, SystemExit) else 99)
            raise
        if os.getpid() != parent:
            os._exit(98)
        del worker

    def app(self, in_child, codes):
        def app(environ, start_response):
            pid = os.fork()
            if pid == 0:
                return in_child(environ, start_response)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            start_response(OK, PLAIN)
            return [b"parent"]
        return app

    def test_children_end_in_serve(self):
        def returns(environ, start_response):
            return [b"child"]

        def exits(environ, start_response):
            sys.exit(7)

        def uses(environ, start_response):
            for call in (lambda: start_response(OK, []), lambda: environ["wsgi.input"].read()):
                try:
                    call()
                    os._exit(50)
                except (RuntimeError, ValueError):
                    pass
            return iter([b"child"])
        for in_child, code in ((returns, 0), (exits, 7), (uses, 0)):
            codes = []
            self.child(self.app(in_child, codes), request(body=b"x"), request(body=b"y"))
            self.assertEqual(codes, [code, code])
            self.assertEqual([result["body"] for result in engine.results()], [b"parent"] * 2)

    def test_fork_in_a_generator(self):
        codes = []

        def app(environ, start_response):
            start_response(OK, PLAIN)
            yield b"one"
            pid = os.fork()
            if pid:
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            yield b"two"
        self.child(app, request())
        self.assertEqual((codes, engine.results()[0]["body"]), ([0], b"onetwo"))


if __name__ == "__main__":
    unittest.main()
