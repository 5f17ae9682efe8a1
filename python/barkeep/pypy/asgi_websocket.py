"""The messages of a WebSocket over the engine's session. The twin of hosts/cpython/asgi_websocket.c."""
import errno

from . import failure
from .asgi_request import CLOSED, DENIAL, DONE, OPEN, START, WAIT_ACCEPT, WAIT_MESSAGE
from .door import ffi, lib

REFUSED = b"The WebSocket was refused.\n"


def refuse_stage(request, what):
    if request.is_gone() or request.left or request.stage == CLOSED:
        return request.gone()
    how = {START: "before 'websocket.accept'", OPEN: "after 'websocket.accept'"}.get(request.stage, "while the WebSocket is being denied")
    return request.refuse(RuntimeError, f"'{what}' {how}")


def send(request, message, kind):
    """A message of a WebSocket. True: there is no room for more."""
    if kind == "websocket.send":
        return send_data(request, message)
    if kind == "websocket.close":
        return close(request, message)
    if kind == "websocket.accept":
        return accept(request, message)
    if kind == "websocket.http.response.start":  # an answer like any other in place of the session
        if request.stage != START:
            raise refuse_stage(request, kind)
        request.start_answer(message)
        request.stage = DENIAL
        return False
    if kind == "websocket.http.response.body":
        if request.stage != DENIAL:
            raise refuse_stage(request, kind)
        return request.send_body(message)
    raise request.refuse(RuntimeError, f"unknown message '{kind}'")


def accept(request, message):
    if request.stage != START:
        raise refuse_stage(request, "websocket.accept")
    chosen = message.get("subprotocol")
    try:
        subprotocol = b"" if chosen is None else chosen.encode("latin-1")
    except (AttributeError, UnicodeEncodeError):
        raise request.refuse(TypeError, f"a subprotocol is a str, not {chosen!r}") from None
    parts = [part for pair in message.get("headers", ()) for part in request.pair(pair)]
    fields = b"\0".join(parts)
    code = lib.bkpp_ws_accept(request.door, request.ticket, subprotocol, len(subprotocol), fields, len(fields), len(parts) // 2)
    if code == 0:
        request.stage = OPEN
        if request.waits:  # another task waits for messages already
            request.wake(WAIT_ACCEPT)
        return False
    if code == -errno.ENOMEM:
        raise MemoryError
    if code == -errno.EINVAL:
        raise request.refuse(ValueError, f"'websocket.accept': {ffi.string(request.door.why).decode()}")
    raise request.gone()


def close(request, message):
    if request.stage == START:
        if request.is_gone():
            raise request.gone()
        failure.answer_text(request, 403, REFUSED)
        request.commit()
        return False
    if request.stage != OPEN or request.left:
        raise refuse_stage(request, "websocket.close")
    code, reason = message.get("code"), message.get("reason")
    number = 1000 if code is None else int(code)
    text = b"" if reason is None else reason.encode()
    result = -errno.EINVAL if not 0 <= number < 1 << 32 else lib.bkpp_ws_close(request.door, request.ticket, number, text, len(text))
    if result == -errno.EINVAL:
        raise request.refuse(ValueError, f"{number} is no code to close with")
    if result < 0:
        raise request.gone()
    request.stage = CLOSED
    return False


def send_data(request, message):
    if request.stage != OPEN or request.left:
        raise refuse_stage(request, "websocket.send")
    data, text = message.get("bytes"), message.get("text")
    if (data is None) == (text is None):
        raise request.refuse(ValueError, "'websocket.send' has either 'text' or 'bytes'")
    if text is not None:
        if not isinstance(text, str):
            raise request.refuse(TypeError, f"'text' is a str, not {text!r}")
        data = text.encode()
    elif type(data) is not bytes:
        data = bytes(memoryview(data))
    queued = lib.bkpp_ws_send(request.door, request.ticket, 1 if text is not None else 2, data, len(data))
    if queued == -errno.ENOMEM:
        raise MemoryError
    if queued < 0:
        raise request.gone()
    return queued > 0


def next_message(request):
    """(the next message, 0), or (None, what to wait for)."""
    if not request.connected:
        request.connected = True
        return {"type": "websocket.connect"}, 0
    code, reason = 1006, ""
    if request.stage in (OPEN, CLOSED):
        message = ffi.new("struct bkpp_ws_message *")
        got = lib.bkpp_ws_receive(request.door, request.ticket, message)
        if got == -errno.EAGAIN:
            return None, WAIT_MESSAGE
        data = ffi.unpack(message.data, message.len) if got >= 0 and message.len else b""
        if got == 1:
            is_text = message.kind == 1
            return {"type": "websocket.receive", "text": data.decode() if is_text else None, "bytes": None if is_text else data}, 0
        if got == 0:
            code, reason = message.code, data.decode("utf-8", "replace")
        request.left = True
    elif request.stage != DONE and not request.left and not request.is_gone():
        return None, WAIT_ACCEPT
    return {"type": "websocket.disconnect", "code": code, "reason": reason}, 0


def end_session(request, failed):
    """The application is through with a WebSocket: closes it as far as it did not."""
    if request.stage == START:
        if not failed and not request.is_gone():
            failure.answer_text(request, 403, REFUSED)
    elif request.stage == OPEN and not request.left:
        lib.bkpp_ws_close(request.door, request.ticket, 1011 if failed else 1000, b"", 0)
