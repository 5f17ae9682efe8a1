"""environ: the keys, how values are decoded, what never comes through, and the header memo."""
import os
import random
import unittest

from fake import engine, environ, keep, one, request, serve


class Keys(unittest.TestCase):
    def test_union(self):
        seen = environ("/a%20b/%C3%A9?x=%20&y", ["User-Agent: u", "Content-Type: t/x", "X-Thing: 1"], body=b"abc", method="POST")
        errors, stream = seen.pop("wsgi.errors"), seen.pop("wsgi.input")
        wrapper, hints = seen.pop("wsgi.file_wrapper"), seen.pop("wsgi.early_hints")
        self.assertTrue(callable(wrapper) and callable(hints) and hasattr(stream, "read") and hasattr(errors, "write"))
        self.assertEqual(seen, {
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/a b/\xc3\xa9", "QUERY_STRING": "x=%20&y",
            "RAW_URI": "/a%20b/%C3%A9?x=%20&y", "REQUEST_URI": "/a%20b/%C3%A9?x=%20&y", "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "SERVER_SOFTWARE": "barkeep/" + engine.VERSION,
            "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4001", "CONTENT_TYPE": "t/x",
            "CONTENT_LENGTH": "3", "HTTP_HOST": "test", "HTTP_USER_AGENT": "u", "HTTP_X_THING": "1", "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http", "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
            "wsgi.input_terminated": True, "barkeep.request_id": "id1"})

    def test_exact_dict_and_str(self):
        kinds = {}

        def app(given, start_response):
            kinds["environ"] = type(given)
            kinds.update((key, type(value)) for key, value in given.items() if key.isupper())
            start_response("200 OK", [])
            return []
        one(app, "/x", ["A: b"])
        self.assertIs(kinds.pop("environ"), dict)
        self.assertEqual(set(kinds.values()), {str})

    def test_query_is_there_when_empty(self):
        self.assertEqual(environ("/")["QUERY_STRING"], "")

    def test_http_1_0(self):
        self.assertEqual(environ("/", version="HTTP/1.0")["SERVER_PROTOCOL"], "HTTP/1.0")

    def test_scheme_follows_the_exchange(self):
        self.assertEqual([environ("/", https=flag)["wsgi.url_scheme"] for flag in (0, 1)], ["http", "https"])

    def test_multiprocess(self):
        self.assertIs(environ("/", settings={"workers": 4})["wsgi.multiprocess"], True)
        self.assertIs(environ("/", settings={"workers": 1})["wsgi.multiprocess"], False)

    def test_methods(self):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "X"):
            self.assertEqual(environ("/", method=method)["REQUEST_METHOD"], method)


class Paths(unittest.TestCase):
    def test_decoding(self):
        for target, path in (("/%2F%2f", "///"), ("//x/../y", "//x/../y"), ("/%25%32%35", "/%25"), ("/%zz%4", "/%zz%4"),
                             ("/a+b", "/a+b"), ("/%00", "/\0"), ("/%e9", "/\xe9"), ("/" + "%41" * 2000, "/" + "A" * 2000),
                             ("/" + "b" * 3000, "/" + "b" * 3000)):
            seen = environ(target)
            self.assertEqual((seen["PATH_INFO"], seen["RAW_URI"]), (path, target))

    def test_asterisk(self):
        self.assertEqual(environ("*", method="OPTIONS")["PATH_INFO"], "*")

    def test_absolute_form(self):
        seen = environ("http://other:81/p%20q?z")
        self.assertEqual((seen["HTTP_HOST"], seen["PATH_INFO"], seen["QUERY_STRING"], seen["RAW_URI"]),
                         ("other:81", "/p q", "z", "http://other:81/p%20q?z"))
        self.assertEqual(environ("http://other")["PATH_INFO"], "/")

    def test_mount_by_environment(self):
        os.environ["SCRIPT_NAME"] = "/shop/"
        try:
            for target, path in (("/shop", ""), ("/shop/", "/"), ("/sh%6Fp/x", "/x")):
                seen = environ(target)
                self.assertEqual((seen["SCRIPT_NAME"], seen["PATH_INFO"]), ("/shop", path))
            for target in ("/", "/shopping", "/sho"):
                result = one(lambda given, start_response: self.fail("called"), target)
                self.assertEqual((result["status"], result["committed"]), (404, 1))
        finally:
            del os.environ["SCRIPT_NAME"]

    def test_mount_by_a_trusted_proxy(self):
        seen = environ("/m/x", ["Script_Name: /m"], trusted=1)
        self.assertEqual((seen["SCRIPT_NAME"], seen["PATH_INFO"]), ("/m", "/x"))
        seen = environ("/m/x", ["SCRIPT_NAME: /m"], trusted=0)
        self.assertEqual((seen["SCRIPT_NAME"], seen["PATH_INFO"]), ("", "/m/x"))
        self.assertNotIn("HTTP_SCRIPT_NAME", seen)


class Fields(unittest.TestCase):
    def test_repeated(self):
        seen = environ("/", ["X-A: 1", "Accept: a", "x-a: 2", "Cookie: a=1", "ACCEPT: b", "Cookie: b=2", "X-a: 1"])
        self.assertEqual((seen["HTTP_X_A"], seen["HTTP_ACCEPT"], seen["HTTP_COOKIE"]), ("1, 2, 1", "a, b", "a=1; b=2"))

    def test_repeated_one_character(self):
        """One-character strings are shared objects: identity says nothing."""
        self.assertEqual(environ("/", ["X-A: 1", "X-A: 1"])["HTTP_X_A"], "1, 1")

    def test_latin1(self):
        seen = environ("/", ["X-A: caf\xe9", "User-Agent: \xff"])
        self.assertEqual((seen["HTTP_X_A"], seen["HTTP_USER_AGENT"]), ("caf\xe9", "\xff"))

    def test_empty_value(self):
        seen = environ("/", ["X-A:", "Accept: "])
        self.assertEqual((seen["HTTP_X_A"], seen["HTTP_ACCEPT"]), ("", ""))

    def test_proxy_never(self):
        self.assertNotIn("HTTP_PROXY", environ("/", ["Proxy: http://evil", "PROXY: x"]))

    def test_underscores_never_replace_dashes(self):
        for fields in (["X-Real-IP: good", "X_Real_IP: evil"], ["X_Real_IP: evil", "X-Real-IP: good"],
                       ["X_Own: evil", "X-Own: good"], ["X-Own: good", "X_Own: evil"]):
            seen = environ("/", fields)
            self.assertEqual({value for key, value in seen.items() if key.startswith("HTTP_X")}, {"good"})
        seen = environ("/", ["X_Only: fine", "Content_Length: 99", "Content_Type: evil"])
        self.assertEqual(seen["HTTP_X_ONLY"], "fine")
        self.assertFalse({"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(seen))

    def test_chunked_and_buffered_has_a_length(self):
        seen = environ("/", ["Transfer-Encoding: chunked"], body=[b"abc", b"de"], method="POST")
        self.assertEqual(seen["CONTENT_LENGTH"], "5")
        self.assertNotIn("HTTP_TRANSFER_ENCODING", seen)

    def test_chunked_and_streamed_has_none(self):
        seen = environ("/", ["Transfer-Encoding: chunked"], body=[b"abc"], method="POST", buffered=0)
        self.assertNotIn("CONTENT_LENGTH", seen)
        self.assertEqual(seen["HTTP_TRANSFER_ENCODING"], "chunked")

    def test_many_unknown_names(self):
        """More names than the cache has slots, twice, so that slots are taken over."""
        for start in (0, 300, 0):
            fields = [f"X-Name-{number}: {number}" for number in range(start, start + 200)] + ["X-" + "long" * 30 + ": 1"]
            seen = environ("/", fields)
            for number in range(start, start + 200):
                self.assertEqual(seen[f"HTTP_X_NAME_{number}"], str(number))
            self.assertEqual(seen["HTTP_X_" + "LONG" * 30], "1")

    def test_unix_socket(self):
        for host, name, port in (("web.test:81", "web.test", "81"), ("web.test", "web.test", "80"), ("[::1]:5", "[::1]", "5"),
                                 ("[::1]", "[::1]", "80"), ("", "localhost", "80")):
            seen = environ("/", [f"Host: {host}"], listener=1, peer="")
            self.assertEqual((seen["SERVER_NAME"], seen["SERVER_PORT"], seen["REMOTE_ADDR"]), (name, port, ""))
            self.assertNotIn("REMOTE_PORT", seen)
        self.assertEqual(environ("/", listener=1, peer="", https=1)["SERVER_PORT"], "443")


class Memo(unittest.TestCase):
    """With and without the memo each application sees the same, whatever the connections do."""

    PER_REQUEST = ("wsgi.input", "wsgi.early_hints", "wsgi.errors")

    def environs(self, requests, **settings):
        seen = []

        def app(given, start_response):
            seen.append({key: value for key, value in given.items() if key not in self.PER_REQUEST})
            given.clear()  # an application may do what it likes with its environ
            start_response("200 OK", [])
            return []
        engine.script(list(requests))
        worker = engine.Worker.alone(settings)
        worker.serve(app)
        hits = worker.memo[0]
        return seen, hits

    def both(self, requests):
        on, hits = self.environs(requests)
        off, none = self.environs(requests, header_memo="off")
        self.assertEqual(on, off)
        self.assertEqual(none, 0)
        return hits

    def test_hits_from_the_third_request_on(self):
        self.assertEqual(self.both([request(f"/{n}?{n}", ["A: 1"], connection=5, nth=n) for n in range(1, 6)]), 3)

    def test_another_method(self):
        requests = [request("/", ["A: 1"], connection=5, method=method) for method in ("GET", "GET", "POST", "XGET", "GET")]
        self.assertEqual(self.both(requests), 3)

    def test_any_difference_is_a_miss(self):
        first = [request("/", ["A: 1"], connection=5)] * 2
        for other in (request("/", ["A: 2"], connection=5), request("/", ["A: 1", "B: 1"], connection=5),
                      request("/", ["A: 1"], connection=6), request("/", ["A: 1"], connection=5, https=1),
                      request("/", ["A: 1"], connection=5, trusted=1), request("/", ["A: 1"], connection=5, listener=1),
                      request("/", ["A: 1"], connection=5, version="HTTP/1.0"), request("http://h/", ["A: 1"], connection=5),
                      request("/", ["A: 1"], connection=5 + 512)):
            self.assertEqual(self.both(first + [other]), 0)

    def test_chunked_is_never_remembered(self):
        self.assertEqual(self.both([request("/", ["Transfer-Encoding: chunked"], [b"x" * n], connection=5) for n in range(5)]), 0)

    def test_long_fields_are_not_remembered(self):
        self.assertEqual(self.both([request("/", ["A: " + "x" * 5000], connection=5)] * 4), 0)

    def test_connections_that_share_a_slot(self):
        requests = [request("/", [f"A: {n % 2}"], connection=7 + 512 * (n % 2)) for n in range(10)]
        self.assertEqual(self.both(requests), 0)

    def test_idle_connections_are_forgotten_after_five_seconds(self):
        for idle, hits in ((4, 2), (6, 1)):  # seconds between the third request and the fourth
            requests = [request("/", ["A: 1"], connection=5, then_idle=idle if n == 2 else 0) for n in range(4)]
            self.assertEqual(self.both(requests), hits)
            requests[2:2] = [request("/", ["A: 1"], connection=6)] * 2  # others keep theirs only while they come
            self.assertEqual(self.both(requests), hits)

    def test_random_traffic(self):
        pick = random.Random(20261121)
        fields = [[], ["A: 1"], ["A: 1", "A: 2"], ["Cookie: a", "Cookie: b"], ["User-Agent: x", "Accept: */*"], ["X_Y: 1"],
                  ["X-Y: 1", "X_Y: 2"], ["SCRIPT_NAME: /m"]]
        targets = ["/", "/m/x", "/%41?q", "/m/x?a", "http://abs/m", "/m"]
        requests = []
        for _ in range(3000):
            body = pick.choice([None, None, b"body"])
            requests.append(request(pick.choice(targets), pick.choice(fields), body, pick.choice(["GET", "POST"]),
                                    connection=pick.choice([1, 2, 3, 513, 1025]), https=pick.choice([0, 0, 1]),
                                    trusted=pick.choice([0, 0, 1]), listener=pick.choice([0, 0, 1])))
        self.both(requests)
        steady = [request(pick.choice(targets), fields[pick.choice([3, 4])], connection=pick.choice([1, 2])) for _ in range(3000)]
        self.assertGreater(self.both(steady), 300)


class Lifetime(unittest.TestCase):
    def test_objects_of_a_finished_request(self):
        seen, started = {}, []

        def app(given, start_response):
            started.append(start_response)
            return keep(seen)(given, start_response)
        one(app, body=b"abc")
        with self.assertRaisesRegex(ValueError, "is over"):
            seen["wsgi.input"].read()
        with self.assertRaisesRegex(RuntimeError, "is over"):
            started[0]("200 OK", [])
        with self.assertRaisesRegex(RuntimeError, "is over"):
            seen["wsgi.early_hints"]([("A", "b")])

    def test_kept_objects_are_not_reused(self):
        kept = []

        def app(given, start_response):
            kept.append((given["wsgi.input"], start_response, given["wsgi.early_hints"], start_response("200 OK", [])))
            if len(kept) > 1:
                try:
                    kept[0][0].read()
                except ValueError:
                    return [b"over"]
            return [b"first"]
        results = serve(app, request(body=b"one"), request(body=b"two"))
        self.assertEqual([result["body"] for result in results], [b"first", b"over"])
        self.assertEqual(len({id(thing) for row in kept for thing in row}), 8)


if __name__ == "__main__":
    unittest.main()
