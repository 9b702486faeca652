"""Every query of the dashboards and alerts is answered by a Prometheus that scrapes a working server."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml

from image import REPOSITORY

PATIENCE = 60  # seconds that no wait of a test exceeds


def dashboard_queries():
    text = (REPOSITORY / "config/grafana-dashboard.json").read_text()
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", []):
            # As Grafana fills them in where everything is chosen.
            yield target["expr"].replace("$__rate_interval", "10s").replace("$job", ".+").replace("$instance", ".+")


def alert_queries():
    for group in yaml.safe_load((REPOSITORY / "config/prometheus-alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def known_queries():
    lines = (REPOSITORY / "tests/packaging/dashboards.txt").read_text().splitlines()
    return [line.replace("[5s]", "[10s]") for line in lines if not line.startswith("#")]


def names(query):
    return set(re.findall(r"\b(?:memcached|memcarp)_[a-z_]+", query))


class Server:
    """A server that has little memory, with a user, rules, and a client at work."""

    def __init__(self, directory):
        ports, metrics = directory / "ports", free_port()
        (directory / "rules.toml").write_text('[[expire_on_update]]\nsource = "photo:{id}"\nderived = ["thumb:{id}"]\n')
        self.log = (directory / "log").open("w+")
        self.process = subprocess.Popen(
            [os.environ["MEMCARP"], "-u", "root", "-p", "-1", "-m", "8", "--config", directory / "rules.toml"]
            + ["-l", "127.0.0.1", "--metrics-listen", f"127.0.0.1:{metrics}"],
            env=dict(os.environ, MEMCACHED_PORT_FILENAME=str(ports)),
            stdout=self.log,
            stderr=self.log,
        )
        wait_until("the server", lambda: ports.exists())
        self.metrics = f"127.0.0.1:{metrics}"
        port = int(ports.read_text().split("TCP INET: ")[1].split()[0])
        self.client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def work(self, turn):
        """Something of everything that is counted."""
        lines = ["get none", "gets photo:1", "touch photo:1 0", "incr n 1", "decr n 1", "delete none", "mg none v", "md none"]
        stores = [(f"item:{turn}:{number}", 20000) for number in range(40)]
        for key, size in [*stores, ("photo:1", 1), ("thumb:1", 1), ("photo:1", 2), ("n", 1)]:
            lines.append(f"set {key} 0 100 {size}\r\n" + "1" * size)
        lines += ["get photo:1 thumb:1", "delete n", "mn"]
        self.client.sendall("".join(line + "\r\n" for line in lines).encode())
        answer = b""
        while not answer.endswith(b"MN\r\n"):
            answer += self.client.recv(1 << 16)

    def scraped(self):
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=PATIENCE) as answer:
            return answer.read().decode()


class Prometheus:
    """One that scrapes a server every second."""

    def __init__(self, directory, target):
        self.address = f"127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "memcached", "static_configs": [{"targets": [target]}]}],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = (directory / "prometheus.log").open("w+")
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        self.process = subprocess.Popen(
            [*command, f"--web.listen-address={self.address}"], cwd=directory, stdout=self.log, stderr=self.log
        )
        wait_until("Prometheus", self.is_ready)

    def is_ready(self):
        assert self.process.poll() is None, (self.log.seek(0), self.log.read())
        try:
            return self.get("-/ready") is not None
        except (urllib.error.URLError, ConnectionError):
            return False

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}/{path}", timeout=PATIENCE) as answer:
            return answer.read()

    def query(self, query):
        """The samples an instant query finds."""
        answer = json.loads(self.get("api/v1/query?" + urllib.parse.urlencode({"query": query})))
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def number(self, query):
        """Whether a query is answered by numbers: 0 / 0, and the quantile of nothing, are none."""
        return any(sample["value"][1] != "NaN" for sample in self.query(query))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("server"))
    started.work(0)
    yield started
    started.process.terminate()
    started.process.wait(PATIENCE)


def test_every_name_is_exported(server):
    exported = {line.split()[2] for line in server.scraped().splitlines() if line.startswith("# TYPE")}
    asked = set().union(*map(names, [*dashboard_queries(), *alert_queries(), *known_queries()]))
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    # Rules of the file itself are no metrics of the server.
    assert base - exported - {"memcached_hit_ratio"} == set()
    assert len(base) > 35


def test_every_query_is_answered(server, tmp_path):
    prometheus = Prometheus(tmp_path, server.metrics)
    try:
        unanswered = [*dashboard_queries(), *known_queries()]
        assert len(unanswered) > 70
        deadline = time.monotonic() + PATIENCE
        turn = 1
        while unanswered:
            server.work(turn)
            turn += 1
            unanswered = [query for query in unanswered if not prometheus.number(query)]
            assert time.monotonic() < deadline, "\n".join(unanswered)
            time.sleep(0.1)
        for query in alert_queries():
            prometheus.query(query)
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(PATIENCE)
