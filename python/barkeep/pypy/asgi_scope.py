"""The scope of a request: a copy of a template per listener, or of the connection's last scope when the field lines are the
same bytes (the header memo). What an application may change (headers, asgi, extensions, state) is its own each time.
"""
import os

from .door import ffi, lib

MEMO_HIT, MEMO_KEEP, WEBSOCKET = lib.BKPP_MEMO_HIT, lib.BKPP_MEMO_KEEP, lib.BKPP_WEBSOCKET
NAMED, METHOD, QUERY, RAW, PATH = lib.BKPP_KEY_NAME, lib.BKPP_KEY_METHOD, lib.BKPP_KEY_QUERY, lib.BKPP_KEY_RAW_URI, lib.BKPP_KEY_PATH
PROTOCOL, ADDRESS, PORT, MOUNT = lib.BKPP_KEY_PROTOCOL, lib.BKPP_KEY_REMOTE_ADDR, lib.BKPP_KEY_REMOTE_PORT, lib.BKPP_KEY_SCRIPT_NAME
VERSION = {"version": "3.0", "spec_version": "2.5"}
EXTENSIONS = {"1.0": ("http.response.pathsend", "http.response.zerocopysend"),
              "1.1": ("http.response.pathsend", "http.response.zerocopysend", "http.response.early_hint")}
PROTOCOLS_ROOM = 8192


class Scopes:
    def __init__(self, host, root_path, root_bytes):
        self.host, self.root_path, self.root_bytes, self.state = host, root_path, root_bytes, None
        self.templates = list(self.make_templates(host.worker._live))

    def make_templates(self, worker):
        names, lengths = ffi.new("const char *[3]"), ffi.new("size_t[3]")
        for n in range(lib.bkpp_listener_count(worker)):
            lib.bkpp_listener(worker, n, names, lengths)
            name, port, address = (os.fsdecode(ffi.unpack(names[part], lengths[part])) if lengths[part] else "" for part in range(3))
            server = (address[5:], None) if address.startswith("unix:") else (name, int(port) if port.isdigit() else None)
            for scheme in ("http", "https"):
                yield {"type": "http", "scheme": scheme, "root_path": self.root_path, "server": server, "client": None}

    def make(self, door, request):
        """A new scope; None: there is nothing at this path."""
        memo, flags = door.memo, door.flags
        kept = self.host.memo[door.slot] if memo == MEMO_HIT else None
        if kept is not None and kept[0] != door.memo_version:
            lib.bkpp_describe_scope(door, request.ticket)
            memo, kept = door.memo, None
        scope = kept[1].copy() if kept is not None else self.templates[door.template_index].copy()
        if not self.fill(scope, door):
            return None
        if memo == MEMO_KEEP:
            self.host.memo[door.slot] = (door.memo_version, scope.copy())
        scope["headers"] = scope["headers"].copy()
        scope["asgi"] = VERSION.copy()
        scope["extensions"] = {name: {} for name in EXTENSIONS[scope["http_version"]]}
        if self.state is not None:
            scope["state"] = self.state.copy()
        if flags & WEBSOCKET:
            self.make_websocket(scope, door, request)
        return scope

    def fill(self, scope, door):
        data, marks = ffi.unpack(door.text, door.text_len), door.marks
        headers, name, address, mounted = [], None, None, None
        for n in range(door.count):
            mark = marks[n]
            key, part = mark.key, data[mark.at:mark.at + mark.len]
            if key == NAMED:
                name = part
            elif name is not None:
                headers.append((name, part))
                name = None
            elif key == METHOD:
                scope["method"] = part.decode("latin-1")
            elif key == QUERY:
                scope["query_string"] = part
            elif key == RAW:
                scope["raw_path"] = self.root_bytes + part if self.root_bytes and part[:1] == b"/" else part
            elif key == PATH:
                path = part.decode("utf-8", "replace")
                scope["path"] = self.root_path + path if self.root_bytes and path[:1] == "/" else path
            elif key == PROTOCOL:
                scope["http_version"] = part.decode()
                scope["headers"] = headers
            elif key == ADDRESS:
                address = part.decode("latin-1")
            elif key == PORT:
                scope["client"] = (address, int(part))
            elif key == MOUNT:
                mounted = part.decode("utf-8", "replace")
        return mounted is None or self.put_mount(scope, mounted)

    @staticmethod
    def put_mount(scope, root):
        """The mount point that SCRIPT_NAME names, in the environment or from a trusted proxy: the path is to lie below it."""
        root, path = root[:-1] if root.endswith("/") else root, scope["path"]
        if not path.startswith(root) or root and path[len(root):len(root) + 1] not in ("", "/"):
            return False
        scope["root_path"] = root
        return True

    @staticmethod
    def make_websocket(scope, door, request):
        room = ffi.new("char[]", PROTOCOLS_ROOM)
        length = lib.bkpp_ws_protocols(door, request.ticket, room, PROTOCOLS_ROOM)
        offered = ffi.unpack(room, length).decode("latin-1") if length > 0 else ""
        scope["subprotocols"] = offered.split("\0") if offered else []
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["extensions"] = {"websocket.http.response": {}}
        del scope["method"]
