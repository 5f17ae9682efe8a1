"""WebSocketHandler on the engine's WebSocket: handlers get a protocol object that speaks through the engine instead of one that
parses frames. Used by tornado_worker.py when the application has imported tornado.websocket.
"""
import asyncio
from types import SimpleNamespace

from tornado import websocket
from tornado.ioloop import IOLoop

from .tornado_bridge import Connection, wrapped


def use_engine():
    own = websocket.WebSocketHandler.get_websocket_protocol

    def get_websocket_protocol(handler):
        connection = handler.request.connection
        if isinstance(connection, Connection):
            return Protocol(handler, connection) if connection.websocket else None
        return own(handler)
    websocket.WebSocketHandler.get_websocket_protocol = get_websocket_protocol


class Protocol(websocket.WebSocketProtocol):
    """tornado.websocket.WebSocketProtocol over a session of the engine."""

    def __init__(self, handler, connection):
        super().__init__(handler)
        self.connection, self.protocol_name = connection, None
        self.stream = SimpleNamespace(io_loop=IOLoop.current())  # all that Tornado 6.5 asks of it

    selected_subprotocol = property(lambda self: self.protocol_name)

    async def accept_connection(self, handler):
        offered = [name.strip() for name in handler.request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
        self.protocol_name = handler.select_subprotocol(offered)
        if self.protocol_name:
            handler.set_header("Sec-WebSocket-Protocol", self.protocol_name)
        handler.clear_header("Content-Type")
        handler.set_status(101)
        handler.finish()
        await self.run(handler.open, *handler.open_args, **handler.open_kwargs)
        await self._receive_frame_loop()

    async def run(self, callback, *args, **more):
        waiting = self._run_callback(callback, *args, **more)
        if waiting is not None:
            await waiting

    async def _receive_frame_loop(self):
        code, reason = 1006, None
        try:
            while True:
                message = await self.connection.receive()
                if message["type"] == "websocket.disconnect":
                    code, reason = message.get("code"), message.get("reason") or None
                    return
                text = message.get("text")
                await self.run(self.handler.on_message, message["bytes"] if text is None else text)
        finally:
            self.client_terminated = self.server_terminated = True
            self.handler.on_ws_connection_close(code, reason)
            self.connection.end()

    def write_message(self, message, binary=False):
        if self.is_closing():
            raise websocket.WebSocketClosedError()
        if binary:
            item = {"type": "websocket.send", "bytes": message.encode() if isinstance(message, str) else bytes(message)}
        else:
            item = {"type": "websocket.send", "text": message if isinstance(message, str) else bytes(message).decode()}
        return asyncio.ensure_future(wrapped(self.connection.send(item)))

    def close(self, code=None, reason=None):
        if self.server_terminated:
            return
        self.server_terminated = True
        try:
            self.connection.send({"type": "websocket.close", "code": code or 1000, "reason": reason or ""})
        except OSError:  # the client was quicker
            pass

    def _abort(self):
        self.close(1011)
        self.client_terminated = True

    def is_closing(self):
        return self.client_terminated or self.server_terminated

    def write_ping(self, data):
        pass  # the engine pings by itself (--ws-ping-interval)

    def start_pinging(self):
        pass

    def set_nodelay(self, value):
        pass

    def _process_server_headers(self, key, headers):
        raise NotImplementedError("for clients")
