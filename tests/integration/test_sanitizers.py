"""That a sanitizer run is one: otherwise it could pass for ever without looking."""
import pytest
from harness import procs
from harness.server import PRELOAD


@pytest.mark.skipif(not PRELOAD, reason="no sanitizer build")
def test_master_and_workers_are_instrumented(serve):
    server = serve("everything")
    for pid in (server.pid, server.worker()):
        assert b"libasan" in procs.read(f"/proc/{pid}/maps"), procs.title(pid)
    engine = next(line.split()[-1] for line in procs.read(f"/proc/{server.worker()}/maps").decode().splitlines() if "_engine" in line)
    for file in (engine, f"/proc/{server.pid}/exe"):
        assert b"__asan_init" in procs.read(file) and b"__ubsan_handle" in procs.read(file), file
