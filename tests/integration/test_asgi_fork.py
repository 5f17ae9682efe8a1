"""A child that an ASGI application forks and lets run on serves nobody and ends (pitfalls 24)."""
import pytest


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_child_ends(serve, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = serve("asgi_forking:app", "--asgi-loop", loop)
    server.expected_alarm = "."  # whatever the child says before it ends
    with server.connect(timeout=30) as conn:
        for _ in range(3):
            assert int(conn.get("/").body) in (0, 0x100)
