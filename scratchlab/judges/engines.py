"""The same probe in containers of different makers: ours, runc with its default configuration, docker and podman if here."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from scratchlab.container import Container
from scratchlab.errors import HostError
from scratchlab.judges.evidence import Evidence, read
from scratchlab.judges.tools import ENVIRONMENT, PLACE, Tools
from scratchlab.linux import cgroupfs
from scratchlab.sandbox import Sandbox

PATIENCE = 120  # seconds that one engine may take


def default_container(rootfs: str, tools: Tools) -> Container:
    """Ours: nothing but defaults, and the judge's tools."""
    return Container(rootfs, tools.argv, volumes=(f"{tools.place}:{PLACE}:ro",), env=ENVIRONMENT)


def ours(box: Sandbox, container: Container, tools: Tools) -> Evidence:
    """The probe in a container of ours that is there already."""
    done = box.run(
        *container.command, input=tools.question, env=container.environment(), inherit=False, cwd="/", timeout=PATIENCE
    )
    if not done.ok:
        raise HostError(f"the probe failed in our own container: {done!r}"[:500], "please report this")
    return read("ours", json.loads(done.out))


def runc(rootfs: str, tools: Tools, place: Path) -> Evidence:
    """The probe in a container by `runc spec`, of which only the command and the root filesystem are changed."""
    place.mkdir()
    _said(["runc", "spec", "--bundle", str(place)])
    config = json.loads((place / "config.json").read_text())
    config["root"]["path"] = os.path.realpath(rootfs)
    config["process"] |= {"terminal": False, "args": list(tools.argv)}
    config["process"]["env"] += [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    config["mounts"].append({"destination": PLACE, "type": "bind", "source": str(tools.place), "options": ["rbind", "ro"]})
    (place / "config.json").write_text(json.dumps(config))
    name, command = f"scratchlab-judge-{os.getpid()}", ["runc", "--root", str(place / "state")]
    try:
        answer = _said([*command, "run", "--bundle", str(place), name], tools.question.encode())
    finally:
        with suppress(HostError):  # it has gone by itself, unless it was interrupted
            _said([*command, "delete", "--force", name])
    version = _said(["runc", "--version"]).split()[2].partition("+")[0]
    return read(f"runc {version}", json.loads(answer))


def docker(tools: Tools, _place: Path) -> Evidence:
    """The probe in a container of docker by its defaults, without a network, in an empty image."""
    version = _said(["docker", "version", "--format", "{{.Server.Version}}"]).strip()
    image = f"scratchlab-judge-{os.getpid()}"
    _said(["docker", "import", "-", image], _empty_tar())
    try:
        settings = [word for name, value in ENVIRONMENT.items() for word in ("--env", f"{name}={value}")]
        words = ["run", "--rm", "--interactive", "--network=none", "--volume", f"{tools.place}:{PLACE}:ro", *settings]
        answer = _said(["docker", *words, image, *tools.argv], tools.question.encode())
    finally:
        _said(["docker", "rmi", "--force", image])
    return read(f"docker {version.partition('+')[0]}", json.loads(answer))


def podman(tools: Tools, place: Path) -> Evidence:
    """The probe in a container of podman, on top of runc, with all that podman keeps in one directory."""
    version = _said(["podman", "--version"]).split()[2]
    root, group = place / "rootfs", f"/{cgroupfs.NODE}/judge-{os.getpid()}"
    root.mkdir(parents=True)
    # By its own choice it would use crun, which does not run where both versions of control groups are mounted.
    kept = ["--runtime=runc", "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"]
    kept += [f"--{name}={place / name}" for name in ("root", "runroot", "tmpdir")]
    # Its default limits are often above the host's, and who raises a limit needs CAP_SYS_RESOURCE.
    words = ["--network=none", f"--cgroup-parent={group}", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    words += [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
    try:
        words += ["--rm", "--interactive", f"--volume={tools.place}:{PLACE}:ro", "--rootfs", str(root), *tools.argv]
        answer = _said(["podman", *kept, "run", *words], tools.question.encode())
    finally:
        for hierarchy in cgroupfs.layout().hierarchies:
            cgroupfs.remove(f"{hierarchy.mount}{group}")  # podman leaves the group of its monitor
        with suppress(OSError):  # and an empty directory, which is somebody else's if it is not empty
            os.rmdir("/run/runc")
    return read(f"podman {version}", json.loads(answer))


def _empty_tar() -> bytes:
    """An image with one directory: what is not there cannot differ."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        directory = tarfile.TarInfo(PLACE.strip("/"))
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
    return stream.getvalue()


def _said(words: Sequence[str], input: bytes = b"") -> str:
    """What a program of another maker prints. Raises HostError where it fails."""
    try:
        done = subprocess.run(words, input=input, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{words[0]} could not be asked: {error}"[:300], f"check: {words[0]} --version") from None
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise HostError(f"`{words[0]} {words[1]}` failed: {last}", f"check: {words[0]} --version")
    return done.stdout.decode(errors="replace")
