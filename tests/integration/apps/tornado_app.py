"""A tornado.web.Application with what handlers can do. What happened to a request that left no answer is told by /events."""
import asyncio
import json

import tornado.ioloop
import tornado.web
import tornado.websocket

events = []
ticks = []


class Say(tornado.web.RequestHandler):
    """Writes what it was asked, as JSON."""

    def prepare(self):
        request = self.request
        self.seen = {"method": request.method, "uri": request.uri, "path": request.path, "query": request.query,
                     "version": request.version, "remote_ip": request.remote_ip, "protocol": request.protocol, "host": request.host,
                     "headers": {name: request.headers.get_list(name) for name in request.headers.keys()}}

    def get(self):
        self.set_cookie("a", "b")
        self.write(self.seen)

    def post(self):
        self.write(self.seen | {"body": self.request.body.decode("latin-1"), "name": self.get_body_argument("name", None),
                                "files": {key: [(f.filename, len(f.body)) for f in files] for key, files in self.request.files.items()}})

    put = delete = patch = post
    head = get


class Slow(tornado.web.RequestHandler):
    async def get(self, milliseconds):
        events.append("begun")
        await asyncio.sleep(int(milliseconds) / 1000)
        self.write("slow")
        events.append("finished")

    def on_connection_close(self):
        events.append("closed")


class Stream(tornado.web.RequestHandler):
    async def get(self, count):
        for i in range(int(count)):
            self.write(f"{i}\n" * 200)
            await self.flush()
        self.finish("end")


@tornado.web.stream_request_body
class Upload(tornado.web.RequestHandler):
    def initialize(self):
        self.sizes = []

    async def data_received(self, chunk):
        self.sizes.append(len(chunk))
        await asyncio.sleep(0)

    def put(self):
        self.write({"total": sum(self.sizes), "pieces": len(self.sizes)})


class Refuse(Upload):
    def prepare(self):
        raise tornado.web.HTTPError(403)


class Raise(tornado.web.RequestHandler):
    def get(self, where):
        if where == "late":
            self.write("half")
            self.flush()
        raise ValueError("on purpose")


class Empty(tornado.web.RequestHandler):
    def get(self, status):
        self.set_status(int(status))


class Loop(tornado.web.RequestHandler):
    async def get(self):
        waiting = asyncio.get_running_loop().create_future()
        tornado.ioloop.IOLoop.current().add_callback(waiting.set_result, "called")
        in_thread = await tornado.ioloop.IOLoop.current().run_in_executor(None, sum, [1, 2])
        self.write({"callback": await waiting, "thread": in_thread, "task": asyncio.current_task() is not None})


class Later(tornado.web.RequestHandler):
    """Its method returns before the answer is there."""

    def get(self):
        self._auto_finish = False
        tornado.ioloop.IOLoop.current().call_later(0.05, self.finish, "later")


class Spoiled(tornado.web.RequestHandler):
    def initialize(self):
        raise RuntimeError("in initialize")


class Fields(tornado.web.RequestHandler):
    def get(self):
        self.set_header("X-Text", "caf\u00e9")
        self.add_header("X-Many", "1")
        self.add_header("X-Many", "2")
        self.set_header("X-Number", 3)
        self.write("Date" in self._headers and self.request.host_name)


class Events(tornado.web.RequestHandler):
    def get(self):
        self.write({"events": events})


class Talk(tornado.websocket.WebSocketHandler):
    def select_subprotocol(self, offered):
        return "chat" if "chat" in offered else None

    def check_origin(self, origin):
        return "evil" not in origin

    async def open(self, name="nobody"):
        self.set_nodelay(True)
        await self.write_message(f"hello {name}")

    async def on_message(self, message):
        if message == "bye":
            self.close(4001, "as asked")
        elif message == "raise":
            raise ValueError("on purpose")
        elif message == "many":
            for i in range(100):
                await self.write_message(json.dumps(i))
        else:
            await asyncio.sleep(0)
            await self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self):
        events.append(f"ws closed {self.close_code} {self.close_reason}")


app = tornado.web.Application([
    ("/say.*", Say), ("/slow/(.*)", Slow), ("/stream/(.*)", Stream), ("/upload", Upload), ("/refuse", Refuse), ("/raise/(.*)", Raise),
    ("/empty/(.*)", Empty), ("/loop", Loop), ("/events", Events), ("/later", Later),
    ("/spoiled", Spoiled), ("/fields", Fields), ("/talk", Talk), ("/talk/(.*)", Talk)])


debugged = tornado.web.Application([("/say.*", Say), ("/slow/(.*)", Slow), ("/later", Later), ("/events", Events)], debug=True,
                                   autoreload=False)


def wsgi(environ, start_response):
    """For -k tornado with WSGI: the loop runs beside the requests."""
    if environ["PATH_INFO"] == "/tick":
        tornado.ioloop.IOLoop.current().call_later(0.01, ticks.append, 1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/stream":
        return (b"x" * 1000 for _ in range(3000))
    return [str(len(ticks)).encode()]
