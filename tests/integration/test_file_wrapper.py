"""wsgi.file_wrapper: whole files, parts, and files that change while they are sent; by sendfile and without."""
import os

import pytest
from harness import procs, request, until


@pytest.fixture(params=["on", "off"])
def server(shared, request):
    return shared("everything:application", "--sendfile", request.param)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4000)
    return path


@pytest.mark.parametrize("size", [0, 1, 8192, 65536, 1_000_001])
def test_sizes(server, tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    with server.connect() as conn:
        assert conn.get(f"/file?path={path}").body == path.read_bytes()
        assert conn.get("/hello").status == 200


def test_has_a_length(server, file):
    """A plain file's size is known, so the answer needs no chunks."""
    answer = server.get(f"/file?path={file}")
    assert answer.framing == "length" and len(answer.body) == 1_024_000


def test_head(server, file):
    with server.connect() as conn:
        assert conn.get(f"/file?path={file}", "HEAD").body == b""
        assert conn.get("/hello").status == 200


def test_from_its_position(server, file):
    assert server.get(f"/file?path={file}&from=1000").body == file.read_bytes()[1000:]


def test_declared_length_is_a_part(server, file):
    answer = server.get(f"/file?path={file}&length=5000")
    assert answer.body == file.read_bytes()[:5000]


def test_declared_length_beyond_the_end_is_a_cut(server, file):
    with server.connect() as conn:
        conn.send(request(f"/file?path={file}&length=2000000"))
        raw = conn.recv_all()
    assert raw.partition(b"\r\n\r\n")[2] == file.read_bytes()


def test_1_0(server, file):
    with server.connect() as conn:
        conn.send(f"GET /file?path={file} HTTP/1.0\r\n\r\n".encode())
        assert conn.response().body == file.read_bytes()


def test_the_file_is_closed(server, file):
    server.get(f"/file?path={file}")
    until(lambda: str(file) not in procs.fds(server.worker()).values(), 10, "the file to be closed")


def test_client_leaves(server, tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as made:
        made.truncate(200_000_000)
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request(f"/file?path={path}"))
        conn.recv_exactly(10_000)
        conn.reset()
    until(lambda: str(path) not in procs.fds(server.worker()).values(), 10, "the file to be closed")


def test_slow_reader_of_a_large_file_costs_no_memory(server, tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as made:
        made.truncate(100_000_000)
    before = procs.rss_kb(server.worker())
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request(f"/file?path={path}"))
        conn.recv_exactly(100_000)
        assert server.get("/hello").status == 200
        assert procs.rss_kb(server.worker()) - before < 16 * 1024
        conn.reset()


def test_shrinking_file_is_a_cut(server, tmp_path):
    path = tmp_path / "shrinking"
    with open(path, "wb") as made:
        made.truncate(50_000_000)
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request(f"/file?path={path}"))
        conn.recv_exactly(10_000)
        os.truncate(path, 20_000)
        rest = conn.recv_all()
    assert len(rest) < 50_000_000
    assert server.get("/hello").status == 200


def test_pipelined_files(server, file):
    with server.connect() as conn:
        conn.send(request(f"/file?path={file}") * 5 + request("/hello"))
        for _ in range(5):
            assert conn.response().body == file.read_bytes()
        assert conn.response().body == b"Hello, World!"


def test_pipe(server, tmp_path):
    """Not a plain file: read like any other iterable."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)
    with server.connect() as conn:
        conn.send(request(f"/file?path={path}&length=5"))
        os.write(keep, b"piped")
        try:
            assert conn.recv_until(b"piped").endswith(b"\r\n\r\npiped")
        finally:
            os.close(keep)
            conn.reset()
