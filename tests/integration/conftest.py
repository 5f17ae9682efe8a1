"""Fixtures of the integration tests. `serve` starts servers for one test, `shared` gives the one server that all tests of a
file use with the same options; both hold every server to harness.Server.check after every test."""
import contextlib
import os
from pathlib import Path

import pytest
from harness import Server
from harness.server import PRELOAD, PYTHON
from harness.wire import OVER_TLS


@pytest.fixture
def serve(request):
    """serve(app, *options, bind=, workers=, env=, cwd=) -> a running Server; stopped and checked at the end of the test."""
    servers = []

    def start(app="everything:application", *options, wait=True, **more):
        server = Server(app, *options, **more)
        servers.append(server)
        server.start() if wait else server.launch()
        return server

    yield start
    finish(request, servers)


def finish(request, servers):
    """Checks all, kills what is left, then reports the first complaint; a failed test has complained already."""
    complaint = None
    for server in reversed(servers):
        try:
            if not failed(request):
                server.check()
        except AssertionError as error:
            complaint = complaint or error
        finally:
            server.kill()
        if failed(request):
            print(server.describe())
    if complaint:
        raise complaint


def failed(request):
    report = getattr(request.node, "report_call", None)
    return report is not None and report.failed


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.report_call = outcome.get_result()


@pytest.fixture(scope="module")
def shared_servers():
    servers = {}
    yield servers
    with contextlib.ExitStack() as stack:
        for server in servers.values():
            stack.callback(server.kill)
            server.check()


@pytest.fixture
def shared(request, shared_servers):
    """shared(app, *options, ...) -> a server kept for the file; a failed or dying one is replaced for the next test."""
    used = []

    def get(app="everything:application", *options, **more):
        key = repr((app, options, sorted(more.items(), key=str)))
        if key not in shared_servers:
            shared_servers[key] = Server(app, *options, **more)
            shared_servers[key].start()
        used.append(key)
        return shared_servers[key]

    yield get
    for key in dict.fromkeys(used):
        server = shared_servers[key]
        try:
            if failed(request):
                print(server.describe())
            server.check_running()
        except AssertionError:
            server.kill()
            del shared_servers[key]
            raise


@pytest.fixture
def root_directory():
    return Path(__file__).resolve().parent.parent.parent


def pytest_collection_modifyitems(items):
    if PRELOAD:
        skip = pytest.mark.skip(reason="asserts a rate, a latency or memory; not in the sanitizer build")
        for item in items:
            if item.get_closest_marker("timing"):
                item.add_marker(skip)
    if OVER_TLS:
        skip = pytest.mark.skip(reason="needs a plain socket")
        for item in items:
            if item.get_closest_marker("plain"):
                item.add_marker(skip)
    if os.geteuid() != 0:
        skip = pytest.mark.skip(reason="needs root")
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(skip)


def pytest_report_header():
    return f"barkeep under test: {PYTHON}{' with ' + PRELOAD if PRELOAD else ''}"
