"""Pods and exec: what many believe, and experiments that refute it."""

import errno
import os
import socket
from pathlib import Path

from scratchlab import linux, stages
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.observe import Snapshot
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

OWN_FILES = (step(stages.unshare_mount), step(stages.private_mounts))
CONTAINER = (step(stages.unshare_net), step(stages.loopback), *OWN_FILES, step(stages.unshare_pid))


def namespaces_of_an_exec() -> str:
    """Enter a container as exec does, and look for a namespace that is neither its nor the host's."""
    with Sandbox("visited") as box, Sandbox("experiment") as visitor:
        box.play(CONTAINER)
        visitor.play([step(stages.join, box.pid)])
        known = {*box.snapshot().namespaces.values(), *Snapshot.of(os.getpid()).namespaces.values()}
        seen = visitor.snapshot().namespaces
        return "own" if any(seen[kind] not in known for kind in linux.NAMESPACES) else "none"


def parent_of_an_exec() -> int:
    """Enter a container, and ask for the number of one's parent."""
    with Sandbox("visited") as box, Sandbox("experiment") as visitor:
        box.play(CONTAINER)
        visitor.play([step(stages.join, box.pid)])
        number: int = visitor.play([step(os.getppid)])[0]["value"]
        return number


def call_by_loopback() -> str:
    """Two containers with one network: one listens on 127.0.0.1, the other calls."""

    def listen() -> None:
        socket.door = socket.create_server(("127.0.0.1", 80))  # type: ignore[attr-defined]  # or it would be closed at once

    def call() -> str:
        with socket.socket() as caller:
            return errno.errorcode.get(caller.connect_ex(("127.0.0.1", 80)), "answered")

    with Sandbox("web") as web, Sandbox("sidecar") as sidecar:
        web.play([*CONTAINER, step(listen)])
        sidecar.play([step(stages.join, web.pid, "net")])
        return str(sidecar.play([step(call)])[0]["value"])


def file_of_the_neighbour() -> bool:
    """Let one of two containers in a pod write a file to its /mnt, and the other look for it."""

    def write() -> None:
        Path("/mnt/letter").write_text("hello")

    with Sandbox("web") as web, Sandbox("sidecar") as sidecar:
        web.play([*CONTAINER, step(stages.tmpfs, "/mnt"), step(write)])
        sidecar.play([step(stages.join, web.pid, "net"), *OWN_FILES])
        return sidecar.run("cat", "/mnt/letter").ok


BELIEFS = {
    "exec-starts-a-container": Belief(
        "docker exec starts a new container.",
        "A command is brought into a running container by exec. Which namespaces are made for it?",
        {"a set of its own": "own", "none, it enters those that are there": "none"},
        namespaces_of_an_exec,
    ),
    "exec-is-a-child-of-1": Belief(
        "Whatever runs in a container descends from its process 1.",
        "A process has come into a container by exec. It asks for the number of its parent. What is the answer?",
        {"1": 1, "0, nobody who can be seen from there": 0},
        parent_of_an_exec,
    ),
    "localhost-is-mine": Belief(
        "127.0.0.1 is a container's own.",
        "One container of a pod listens on 127.0.0.1, port 80. Another one connects to 127.0.0.1, port 80. What happens?",
        {"it is refused": "ECONNREFUSED", "it is answered": "answered"},
        call_by_loopback,
    ),
    "pods-share-files": Belief(
        "The containers of a pod share their files.",
        "One container of a pod writes /mnt/letter in a /mnt of its own. Can another one read it?",
        {"yes, a pod is like one machine": True, "no": False},
        file_of_the_neighbour,
    ),
}  # fmt: skip
