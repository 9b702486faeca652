"""A started server for the tests of other people's Python clients.

The server is the one that MEMCARP names, or Debian's memcached.
"""

import os
import pathlib
import subprocess
import time

import pytest

PATIENCE = 20  # seconds that no wait of a test exceeds


class Server:
    """A server process on 127.0.0.1 that can be stopped and started again on its port."""

    def __init__(self, directory, options=()):
        self.binary = os.environ.get("MEMCARP", "/usr/bin/memcached")
        self.ports = pathlib.Path(directory) / "ports"
        self.log = pathlib.Path(directory) / "log"
        self.port = -1
        self.options = list(options)
        self.process = None
        self.start()

    def start(self):
        self.ports.unlink(missing_ok=True)
        command = [self.binary, "-u", "root", "-l", "127.0.0.1", "-p", str(self.port), *self.options]
        environment = dict(os.environ, MEMCACHED_PORT_FILENAME=str(self.ports))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.ports.exists():
            assert self.process.poll() is None, f"{command} ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"{command} does not listen"
            time.sleep(0.01)
        self.port = int(self.ports.read_text().split("TCP INET: ")[1].split()[0])

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def server(tmp_path):
    """A server of the test's own, which it may stop."""
    started = Server(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def two_servers(tmp_path):
    """Two servers, for a client that spreads its keys."""
    started = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(Server(tmp_path / name))
    yield started
    for one in started:
        one.stop()


def until(condition):
    """Waits until the condition holds, not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
