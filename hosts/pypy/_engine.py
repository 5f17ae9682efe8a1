"""barkeep._engine under PyPy: the names that CPython finds in a C extension. Installed for PyPy only."""
from .pypy.asgi import Asgi, Turner  # noqa: F401
from .pypy.asgi_request import Disconnected  # noqa: F401
from .pypy.engine import MESSAGES, VERSION, Worker, log, set_title  # noqa: F401
from .pypy.objects import BodyError, FileWrapper  # noqa: F401
