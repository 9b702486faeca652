"""Builds the last stage of docker/Dockerfile over a Debian root, and starts containers of it: both without Docker."""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).parent.parent.parent
PATIENCE = 30  # seconds that no wait of a test exceeds

# What `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` makes of a root: "$1" is the root, "$2"
# and "$3" the user's and group's ids, the rest the command. A second address stands for the container's own.
CONTAINER = """
set -e
root=$1 uid=$2 gid=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
ip link set lo up
ip address add 10.0.0.1/32 dev lo
exec chroot "$root" setpriv --reuid="$uid" --regid="$gid" --clear-groups --inh-caps=-all --bounding-set=-all \
    --no-new-privs "$@"
"""


def instructions(stages=False):
    """The Dockerfile's instructions as (name, rest), of the last stage only unless all `stages` are asked for."""
    text = (REPOSITORY / "docker/Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    last = max(at for at, (name, _) in enumerate(found) if name == "FROM")
    return [(name, rest.strip()) for name, rest in (found if stages else found[last + 1 :])]


def context():
    """The files that .dockerignore lets into the build."""
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().split() if line.startswith("!")]
    listed = subprocess.run(
        ["git", "ls-files", *(line[1:] for line in lines)], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


class Image:
    """What the Dockerfile's last stage makes of a root, with `binary` in place of what the first stage builds."""

    def __init__(self, base, root, binary):
        self.root = pathlib.Path(root)
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.user, self.entrypoint, self.command, self.ports, self.health = "root", [], [], [], []
        subprocess.run(["cp", "-a", str(base), str(root)], check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        for name, rest in instructions():
            getattr(self, "do_" + name.lower())(rest, binary)

    def do_run(self, rest, _):
        command = ["chroot", str(self.root), "/bin/sh", "-c", rest]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"

    def do_copy(self, rest, binary):
        *options, source, target = rest.split()
        if options:
            assert (options, source) == (["--from=build"], "/src/target/release/memcarp"), rest
            source = binary
        else:
            assert source in context(), f"{source} is kept out by .dockerignore"
            source = REPOSITORY / source
        shutil.copy(source, self.root / target.lstrip("/"))

    def do_env(self, rest, _):
        name, value = shlex.split(rest)[0].split("=", 1)
        self.environment[name] = value

    def do_user(self, rest, _):
        self.user = rest

    def do_expose(self, rest, _):
        self.ports = rest.split()

    def do_healthcheck(self, rest, _):
        self.health = exec_form(rest.split(" CMD ", 1)[1])

    def do_entrypoint(self, rest, _):
        self.entrypoint = exec_form(rest)

    def do_cmd(self, rest, _):
        self.command = exec_form(rest)

    def ids(self):
        """The user's uid and gid."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, uid, gid = line.split(":")[:4]
            if name == self.user:
                return uid, gid
        raise AssertionError(f"no user {self.user}")

    def start(self, *arguments):
        """`docker run -d IMAGE ARGUMENTS...`."""
        return Container(self, arguments)

    def run(self, *arguments):
        """`docker run --rm IMAGE ARGUMENTS...`: its exit status, and what it said."""
        container = Container(self, arguments)
        said = container.process.communicate(timeout=PATIENCE)[0]
        return container.process.returncode, said


class Container:
    """A started container: namespaces of its own, a root that cannot be written, no capabilities."""

    def __init__(self, image, arguments):
        self.image = image
        command = [*image.entrypoint, *(arguments or image.command)]
        # The shell is process 1 of the new namespace, and by exec what it starts.
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts"]
        self.process = subprocess.Popen(
            [*unshare, "sh", "-c", CONTAINER, "sh", str(image.root), *image.ids(), *command],
            env=image.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def first(self):
        """The id, outside, of process 1; 0 while there is none."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text() or 0)

    def inside(self, *command):
        """`docker exec`: the exit status and what was said."""
        first = str(self.first())
        enter = ["nsenter", "--target", first, "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wdns=/"]
        uid, gid = self.image.ids()
        limits = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--bounding-set=-all"]
        done = subprocess.run(
            [*enter, *limits, *command], env=self.image.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.returncode, done.stdout + done.stderr

    def wait_for(self, health):
        """Until the command for health says it is well."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            # Process 1 is not there at once.
            if self.first() and self.inside(*health)[0] == 0:
                return
            assert time.monotonic() < deadline, self.inside(*health)
            time.sleep(0.05)
        raise AssertionError(self.process.stdout.read())

    def health(self):
        """What the HEALTHCHECK says now."""
        return self.inside(*self.image.health)

    def stop(self):
        """`docker stop`: SIGTERM to process 1. Its exit status, and all it said."""
        os.kill(self.first(), signal.SIGTERM)
        said = self.process.communicate(timeout=PATIENCE)[0]
        return self.process.returncode, said


def exec_form(text):
    """["a", "b"]."""
    return re.findall(r'"([^"]*)"', text)
