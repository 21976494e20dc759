"""Lesson 13, capabilities: root's power in pieces, five sets that hold them, and a promise that nothing is gained."""

import json
import shutil
from collections.abc import Iterable
from typing import Any

from scratchlab import linux, stages
from scratchlab.lessons.exercise import Answer, Claim, Exercise, Facts
from scratchlab.lessons.outline import Outline
from scratchlab.linux import Cap
from scratchlab.sandbox import Sandbox
from scratchlab.stages import step

# The machine's own Python: another user may not be able to reach that of a virtual environment.
PYTHON = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or "python3"

# A server that has come as far as its port, and says what the kernel says of it.
SERVER = """
import errno, json, socket
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status"))
try:
    socket.socket().bind(("", 80))
    status["port"] = ""
except OSError as error:
    status["port"] = errno.errorcode[error.errno]
print(json.dumps(status))
"""


def serving(answer: Answer) -> Facts:
    """Let the answer take powers away, then start a server, and write down what it has."""
    with Sandbox("exercise") as box:
        box.play([step(stages.unshare_net)])
        answer(box)
        done = box.run(PYTHON, "-c", SERVER)
        if not done.ok:
            return {"error": f"the server does not even start: {done.err.splitlines()[-1] if done.err else done!r}"}
        status: dict[str, Any] = json.loads(done.out)
        return {
            "error": "",
            "port": status["port"],
            "root": "0" in status["Uid"].split(),
            "has": _names(status["CapEff"], status["CapPrm"]),
            "may get": _names(status["CapBnd"]),
            "promise": status["NoNewPrivs"] == "1",
        }


def _names(*masks: str) -> set[str]:
    held = [int(mask, 16) for mask in masks]
    return {cap.name for cap in Cap if any(mask & 1 << cap for mask in held)}


def _too_many(names: Iterable[str], what: str) -> str:
    more = sorted({*names} - {"NET_BIND_SERVICE"})
    shown = ", ".join(more[:3]) + (f" and {len(more) - 3} more" if len(more) > 3 else "")
    return f"{what} {shown}" if more else ""


def confine(box: Sandbox) -> None:
    """Another user first, who keeps the powers; then all but one away; then that one for what is executed."""
    box.apply(stages.user, 1000, keep_capabilities=True)
    box.apply(stages.capabilities, ["NET_BIND_SERVICE"])
    box.apply(stages.ambient, ["NET_BIND_SERVICE"])
    box.apply(stages.no_new_privs)


PORT = Exercise(
    "port-80",
    answer="confine",
    ask="""
    Write `confine(box)`. The box is root, with all powers, in a network of its own. Apply stages to it so that a program
    that is started in there serves on port 80 and can do nothing else that is special: it is not root, has that one
    capability, can never get another one, and gains nothing by executing any program.
    """,
    observe=serving,
    claims=(
        Claim(
            "a program that is started in there serves on port 80",
            lambda facts: facts["error"] or (f"bind to port 80 says {facts['port']}" if facts["port"] else ""),
            (
                "Which capability is it, and does a program that an ordinary user executes have it?",
                "user(…, keep_capabilities=True), then the stage that hands capabilities on to programs.",
            ),
        ),
        Claim(
            "it is not root",
            lambda facts: "the program runs as uid 0" if facts["root"] else "",
            ("Who owns the files that it could write, if somebody took it over?", "stages.user, before its power is gone."),
        ),
        Claim(
            "it has this capability, and no other",
            lambda facts: _too_many(facts["has"], "it also has"),
            ("Print box.snapshot().capabilities. Which set does execve(2) give on to the program?", "Hand on one name only."),
        ),
        Claim(
            "no other can come back: its bounding set is as small",
            lambda facts: _too_many(facts["may get"], "the bounding set also has"),
            (
                "Which set is the limit of what any program can give, a set-user-ID program too?",
                "stages.capabilities drops from the bounding set; it needs CAP_SETPCAP while it does.",
            ),
        ),
        Claim(
            "nothing that it executes gains anything",
            lambda facts: (
                "" if facts["promise"] else "a set-user-ID program would still become root, if a root with one capability"
            ),
            ("Which promise does the kernel keep over every execve(2)?", "stages.no_new_privs, at any place."),
        ),
    ),
    solution=confine,
)

APART = (step(stages.unshare_net), step(stages.unshare_mount), step(stages.private_mounts))

OUTLINE = Outline(
    "Cutting root's powers: capabilities",
    45,
    points={
        "start": APART,
        # Where set-user-ID bits count: the stage `tmpfs` switches them off, as a container would.
        "a place for programs": (*APART, step(linux.mount, "tmpfs", "/mnt", "tmpfs")),
        "another user": (
            *APART,
            step(stages.user, 1000, keep_capabilities=True),
            step(stages.capabilities, ["NET_BIND_SERVICE"]),
        ),
    },
    exercises=(PORT,),
)
