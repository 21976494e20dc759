"""/proc and /sys: what many believe, and experiments that refute it."""

import os
from contextlib import suppress
from typing import Any

from scratchlab import linux, stages
from scratchlab.errors import KernelError
from scratchlab.lessons.beliefs.belief import Belief
from scratchlab.lessons.course.lesson_15 import APART, SWITCH
from scratchlab.linux import Mount
from scratchlab.sandbox import Sandbox
from scratchlab.stages import Step, step
from scratchlab.trials import scoreboard


def switch_works_on_a_read_only_root() -> bool:
    """Make the root read-only, and rename the box by a file in /proc."""

    def rename() -> bool:
        with suppress(OSError):
            linux.write_file("/proc/sys/kernel/hostname", "renamed")
        return os.uname().nodename == "renamed"

    return bool(_told([*APART, step(stages.readonly, "/"), step(rename)]))


def bind_in_one_call_can_be_written() -> bool:
    """Bind the switches read-only, as it seems, in one call, and ask whether one may be written to."""

    def bind() -> bool:
        linux.mount("/proc/sys", "/proc/sys", None, Mount.BIND | Mount.RDONLY)
        return os.access(SWITCH, os.W_OK)

    return bool(_told([*APART, step(bind)]))


def root_takes_a_mask_off() -> bool:
    """Mask a file, and let root of the box take the mask off."""

    def uncover() -> bool:
        with suppress(KernelError):
            linux.umount2("/proc/keys")
        with open("/proc/keys") as keys:
            return bool(keys.read())

    return bool(_told([*APART, step(stages.mask, "/proc/keys"), step(uncover)]))


def a_key_is_read_though_its_file_is_masked() -> bool:
    """Mask the list of keys, and ask the kernel for a key by its system call."""
    with Sandbox("experiment") as box:
        box.play([*APART, step(stages.mask, "/proc/keys")])
        return scoreboard(box, "keyring").got_out == ["keyring"]


def _told(steps: list[Step]) -> Any:
    with Sandbox("experiment") as box:
        return box.play(steps)[-1]["value"]


BELIEFS = {
    "a-read-only-root-is-all": Belief(
        "With a read-only root filesystem, nothing can be changed.",
        "The root of a box is read-only. It writes a name to /proc/sys/kernel/hostname. Does it work?",
        {"no, all is read-only": False, "yes, /proc is another mount": True},
        switch_works_on_a_read_only_root,
    ),
    "bind-and-read-only-at-once": Belief(
        "mount(2) sets the flags that it is given.",
        "/proc/sys is mounted on itself, with the flags BIND and RDONLY. May root in the box write to it?",
        {"no": False, "yes, with BIND the other flag is ignored": True},
        bind_in_one_call_can_be_written,
    ),
    "a-mask-stays": Belief(
        "What is covered by a mount is out of reach.",
        "/proc/keys is covered by /dev/null. Root in the box says umount. Can it read the keys' names then?",
        {"no, that was done by the runtime": False, "yes": True},
        root_takes_a_mask_off,
    ),
    "no-file-no-access": Belief(
        "Without a file in /proc, there is no way to the thing.",
        "/proc/keys is masked. Can root in the box still read a key of the host's root?",
        {"no, it cannot see it": False, "yes, by keyctl(2)": True},
        a_key_is_read_though_its_file_is_masked,
    ),
}  # fmt: skip
