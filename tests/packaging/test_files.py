"""The files operators start from, checked by the tools and schemas of what reads them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import kubernetes_validate
import yaml

from image import REPOSITORY

MEMCARP = os.environ["MEMCARP"]


def said_by(*command, **options):
    """What a command says; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def memory(arguments):
    """-m of a command line, in MiB, after memcarp has found it good."""
    assert said_by(MEMCARP, *arguments, "-u", "root", "--check-config").strip() == "the configuration is good"
    for at, argument in enumerate(arguments):
        if argument == "-m":
            return int(arguments[at + 1])
        if argument.startswith("--memory-limit="):
            return int(argument.split("=")[1])
    raise AssertionError(f"no -m in {arguments}")


def load(path):
    return list(yaml.safe_load_all((REPOSITORY / path).read_text()))


def test_compose_file():
    (compose,) = load("docker/compose.yaml")
    check = pathlib.Path(sys.executable).parent / "check-jsonschema"
    said_by(check, "--builtin-schema", "vendor.compose-spec", REPOSITORY / "docker/compose.yaml")
    nodes = {name: service for name, service in compose["services"].items() if service["image"] == "memcarp"}
    assert len(nodes) == 3
    for node in nodes.values():
        assert int(node["mem_limit"].rstrip("m")) == -(-memory(node["command"]) * 12 // 10)
    (prometheus,) = load("docker/prometheus.yml")
    targets = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{name}:9150" for name in nodes]


def test_what_compose_mounts_is_there_and_read(tmp_path):
    (compose,) = load("docker/compose.yaml")
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source, target, _ = mount.split(":")
            copy = tmp_path / target.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / "docker" / source, copy)
    # Prometheus reads its configuration with the rules it names.
    said_by("promtool", "check", "config", tmp_path / "etc/prometheus/prometheus.yml")
    provider = yaml.safe_load((tmp_path / "etc/grafana/provisioning/dashboards/memcarp.yaml").read_text())
    dashboards = tmp_path / provider["providers"][0]["options"]["path"].lstrip("/")
    assert [json.loads(file.read_text())["title"] for file in dashboards.iterdir()] == ["memcarp"]


def test_kubernetes_manifests():
    documents = load("config/kubernetes.yaml")
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    service, budget, stateful = documents
    assert [document["kind"] for document in documents] == ["Service", "PodDisruptionBudget", "StatefulSet"]
    pod = stateful["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    limit = container["resources"]["limits"]["memory"]
    assert limit == f"{-(-memory(container['args']) * 12 // 10)}Mi"
    assert service["spec"]["clusterIP"] == "None" and stateful["spec"]["serviceName"] == service["metadata"]["name"]
    labels = pod["metadata"]["labels"]
    assert labels == service["spec"]["selector"] == stateful["spec"]["selector"]["matchLabels"]
    assert labels == budget["spec"]["selector"]["matchLabels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"client": 11211, "http-metrics": 9150}
    assert [port["targetPort"] for port in service["spec"]["ports"]] == list(ports)


def test_service_of_systemd(tmp_path):
    text = (REPOSITORY / "config/memcarp.service").read_text()
    unit = tmp_path / "memcarp.service"
    unit.write_text(text.replace("/usr/local/bin/memcarp", MEMCARP))
    assert said_by("systemd-analyze", "verify", "--man=no", unit) == ""
    # 0 is nothing to reach, 100 everything.
    said_by("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit)


def test_alerts_say_what_recorded_data_is_worth(tmp_path):
    shutil.copy(REPOSITORY / "config/prometheus-alerts.yml", tmp_path)
    tests = shutil.copy(REPOSITORY / "tests/packaging/alerts.test.yml", tmp_path)
    said_by("promtool", "check", "rules", tmp_path / "prometheus-alerts.yml")
    said_by("promtool", "test", "rules", tests)
