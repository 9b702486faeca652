"""docker/Dockerfile's image beside what memcached's image promises. Debian's root is at MEMCARP_DEBIAN."""

import json
import os
import subprocess

import pytest

from image import REPOSITORY, Image, context, instructions


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    root = tmp_path_factory.mktemp("image") / "root"
    return Image(os.environ["MEMCARP_DEBIAN"], root, os.environ["MEMCARP"])


@pytest.fixture
def container(image):
    started = []

    def start(*arguments, health=image.health):
        started.append(image.start(*arguments))
        started[-1].wait_for(health)
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


def status_of_first(container):
    lines = container.inside("cat", "/proc/1/status")[1].splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_the_build_has_all_it_needs(tmp_path):
    for file in context():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((REPOSITORY / file).read_bytes())
    metadata = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    done = subprocess.run(metadata, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (package,) = [package for package in json.loads(done.stdout)["packages"] if package["name"] == "memcarp"]
    assert "memcarp" in [target["name"] for target in package["targets"] if target["kind"] == ["bin"]]
    assert ("RUN", "cargo build --release --locked --bin memcarp") in instructions(stages=True)


def test_the_default_command_serves(image, container):
    running = container()
    assert image.command == ["memcached"] and image.ports == ["11211", "9150"]
    status = status_of_first(running)
    assert status["Name"] == "memcached", "probes look for a process of this name"
    assert status["Uid"].split() == ["11211"] * 4 and status["Gid"].split() == ["11211"] * 4
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert running.inside("touch", "/tmp/x")[0] != 0, "the root is not read-only"
    assert running.stop()[0] == 0


def test_it_is_reached_from_outside_as_memcacheds_image_is(container):
    running = container()
    # An address that is not 127.0.0.1.
    assert running.inside("sh", "-c", r"printf 'set a 0 0 1\r\n1\r\nget a\r\nquit\r\n' | nc 10.0.0.1 11211") == (
        0,
        "STORED\nVALUE a 0 1\n1\nEND\n",
    )
    assert running.inside("nc", "-z", "127.0.0.1", "11211")[0] == 0
    assert running.inside("memcarp", "health", "http://10.0.0.1:9150")[0] == 0


@pytest.mark.parametrize("arguments", [("-m", "96"), ("--memory-limit=96",), ("memcached", "-m 96"), ("memcarp", "-m96")])
def test_options_are_given_as_to_memcacheds_image(container, arguments):
    running = container(*arguments, "-u", "11211")
    said = running.inside("sh", "-c", r"printf 'stats\r\nquit\r\n' | nc 127.0.0.1 11211")[1]
    assert "STAT limit_maxbytes 100663296\n" in said


def test_a_command_is_run_instead(image):
    assert image.run("sh", "-c", "echo $$; id -u; id -g; id -un") == (0, "1\n11211\n11211\nmemcache\n")
    status, said = image.run("memcached", "-V")
    assert status == 0 and said.startswith("memcached 1.6.")
    status, said = image.run("-h")
    assert status == 0 and said.startswith("memcached 1.6.")
    assert image.run("sh", "-c", "ls -l /entrypoint.sh && /entrypoint.sh memcarp --check-config")[0] == 0
    assert image.run("--no-such-option")[0] == 1


def test_an_unhealthy_server_is_seen(container):
    running = container("-p", "11311", health=["memcarp", "health", "127.0.0.1:11311"])
    status, said = running.health()
    assert status == 1 and "127.0.0.1:11211" in said
