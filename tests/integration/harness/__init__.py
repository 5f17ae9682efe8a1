"""What the integration tests stand on: a real server (server), exact bytes (wire), the kernel's view of it (procs)."""
from .procs import until
from .server import Server, ServerFailed
from .wire import Conn, Malformed, Response, get, request

__all__ = ["Conn", "Malformed", "Response", "Server", "ServerFailed", "get", "request", "until"]
