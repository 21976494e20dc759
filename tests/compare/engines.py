"""Containers of other engines, to look at: each a context manager that gives the pid of its process on the host."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conftest import eventually

SLEEP = ["sleep", "1000"]


def done(*words: object, **options: Any) -> str:
    """What a program says that is expected to work."""
    # Output to pipes that the container's process would inherit is never at its end.
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "check": True, "text": True, "timeout": 60}
    return str(
        subprocess.run([str(word) for word in words], **{"capture_output": True, **settings, **options}).stdout or ""
    ).strip()


def quietly(*words: object) -> None:
    """The same for a program whose children stay."""
    done(*words, capture_output=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def comm(pid: int) -> str:
    """The name of the program that a process runs."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


@contextmanager
def oci(program: str, rootfs: Path, place: Path, change: dict[str, Any] | None = None) -> Iterator[int]:
    """A container of runc or crun by its default configuration, `program spec`; `change` goes into its "process"."""
    place.mkdir()
    done(program, "spec", cwd=place)
    config = json.loads((place / "config.json").read_text())
    config["root"]["path"] = str(rootfs)
    config["process"] |= {"terminal": False, "args": SLEEP, **(change or {})}
    (place / "config.json").write_text(json.dumps(config))
    name, state = f"{place.name}-{os.getpid()}", ("--root", place / "state")
    quietly(program, *state, "run", "--detach", "--bundle", place, "--pid-file", place / "pid", name)
    try:
        yield int((place / "pid").read_text())
    finally:
        done(program, *state, "delete", "--force", name)


@contextmanager
def bubblewrap(rootfs: Path, *options: str) -> Iterator[int]:
    """A bubblewrap sandbox as its manual page shows one."""
    reader, writer = os.pipe()
    usual = [
        "--unshare-all",
        "--die-with-parent",
        "--as-pid-1",
        "--ro-bind",
        str(rootfs),
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    words = ["bwrap", "--info-fd", str(writer), *usual, *options, *SLEEP]
    with subprocess.Popen(words, pass_fds=[writer], stdin=subprocess.DEVNULL) as outer:
        os.close(writer)
        with open(reader) as told:
            pid = int(json.loads(told.read())["child-pid"])
        assert eventually(lambda: comm(pid), "sleep") == "sleep"
        yield pid
        outer.kill()  # the sandbox dies with it


class Docker:
    """A Docker daemon of our own, with all that it keeps below one directory, and one image: a busybox."""

    def __init__(self, place: Path, rootfs: Path) -> None:
        self.place, self.address = place, f"unix://{place}/socket"
        self.client = ("docker", "--host", self.address, "--config", place / "client")
        (place / "daemon.json").write_text("{}")  # not the machine's own /etc/docker/daemon.json
        places = [f"--{name}={place / name}" for name in ("data-root", "exec-root", "pidfile")]
        alone = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]
        words = ["dockerd", *places, *alone, f"--config-file={place}/daemon.json", f"--host={self.address}"]
        with open(place / "log", "w") as log:
            self.daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        up = (
            eventually(lambda: (place / "socket").exists() or self.daemon.poll() is not None, True) and self.daemon.poll() is None
        )
        assert up, (place / "log").read_text()[-3000:]
        with subprocess.Popen(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE) as tar:
            self.do("import", "-", "busybox", stdin=tar.stdout)

    def do(self, *words: object, **options: Any) -> str:
        """One command of the docker client."""
        return done(*self.client, *words, **options)

    @contextmanager
    def container(self, *options: str) -> Iterator[int]:
        """A container with docker's defaults, but without a network, and with these options."""
        name = self.do("run", "--detach", "--network", "none", *options, "busybox", *SLEEP)
        try:
            yield int(self.inspect(name)["State"]["Pid"])
        finally:
            self.do("rm", "--force", name)

    def inspect(self, name: str) -> Any:
        """What docker itself knows of a container."""
        return json.loads(self.do("inspect", name))[0]

    def close(self) -> None:
        """End the daemon, which ends its containerd."""
        self.daemon.terminate()
        self.daemon.wait(60)


@contextmanager
def docker(place: Path, rootfs: Path) -> Iterator[Docker]:
    """A daemon for a while; afterwards nothing of it is left, on disk, in the control groups, or mounted."""
    with without_trace("docker", "/run/docker/plugins", "/run/docker", "/run/containerd/s", "/run/containerd"):
        daemon = Docker(place, rootfs)
        try:
            yield daemon
        finally:
            daemon.close()
            shutil.rmtree(place)  # 20 MB; and it would fail if something were still mounted there


@contextmanager
def podman(rootfs: Path, *options: str) -> Iterator[int]:
    """A container of podman by runc, since crun does not run where both versions of control groups are mounted."""
    # Its default limits are above ours, and raising a limit takes CAP_SYS_RESOURCE.
    usual = ("--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
    with TemporaryDirectory(prefix="podman-") as place, without_trace("libpod_parent/conmon", "libpod_parent", "/run/runc"):
        kept = [f"--root={place}/root", f"--runroot={place}/run", f"--tmpdir={place}/tmp", "--storage-driver=vfs"]
        podman = ("podman", "--runtime=runc", *kept, "--cgroup-manager=cgroupfs", "--events-backend=none")
        quietly(*podman, "run", "--detach", "--name=peer", *usual, *options, "--rootfs", rootfs, *SLEEP)
        try:
            yield int(json.loads(done(*podman, "inspect", "peer"))[0]["State"]["Pid"])
        finally:
            done(*podman, "rm", "--force", "--time=0", "peer")


@contextmanager
def without_trace(*shared: str) -> Iterator[None]:
    """Remove what an engine makes for all of its containers and never takes back, unless it was there before.

    A name without a slash in front is a control group, in all trees.
    """
    trees = list(Path("/sys/fs/cgroup").iterdir())
    places = [place for name in shared for place in ([Path(name)] if name[0] == "/" else [tree / name for tree in trees])]
    made = [place for place in places if not place.exists()]
    try:
        yield
    finally:
        assert [place for place in made if not eventually(lambda place=place: _removed(place), True)] == []  # type: ignore[misc]


def _removed(place: Path) -> bool:
    with suppress(OSError):  # a process in it is about to end
        place.rmdir()
    return not place.exists()
