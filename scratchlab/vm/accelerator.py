"""Whether this computer can run a guest on its own processor, or must emulate one; found out by trying, once.

That a device such as /dev/kvm can be opened proves nothing: inside some virtual machines it answers every question, and
then the guest stands still. So a kernel is booted, and has a few seconds to say its first words.
"""

import json
import os
import platform
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from scratchlab.vm import cache
from scratchlab.vm.child import Child, Spawned
from scratchlab.vm.hardware import BOARDS, this_computer
from scratchlab.vm.image import Image
from scratchlab.vm.qemu import Qemu
from scratchlab.vm.recipe import default_machine

EMULATION = "tcg"
_BY_SYSTEM = {"linux": "kvm", "darwin": "hvf", "win32": "whpx"}
_PATIENCE = 3.0
_FIRST_WORDS = b"Linux version"


def choose(qemu: Qemu, image: Image) -> str:
    """The accelerator to use. SCRATCHLAB_VM_ACCELERATOR overrules what was found."""
    if chosen := os.environ.get("SCRATCHLAB_VM_ACCELERATOR"):
        return chosen
    own = _BY_SYSTEM.get(sys.platform)
    if not own or image.machine != default_machine():
        return EMULATION
    # Another QEMU, or another kernel or processor of this computer, is another answer.
    record = cache.cache() / "accelerator.json"
    asked = {"qemu": qemu.version, "system": platform.release(), "computer": this_computer(), "accelerator": own,
             "may": _may_use(own)}  # fmt: skip
    if (known := _read(record)).get("asked") != asked:
        known = {"asked": asked, "works": asked["may"] and boots(qemu, image, own)}
        with suppress(OSError):  # a full disk: then the next start tries again
            record.write_text(json.dumps(known) + "\n")
    return own if known["works"] else EMULATION


def _may_use(accelerator: str) -> bool:
    return accelerator != "kvm" or os.access("/dev/kvm", os.R_OK | os.W_OK)


def _read(record: Path) -> dict[str, object]:
    try:
        known: dict[str, object] = json.loads(record.read_text())
    except (OSError, ValueError):  # never written, or not to its end
        return {}
    return known


def boots(qemu: Qemu, image: Image, accelerator: str, patience: float = _PATIENCE) -> bool:
    """Whether a kernel says its first words with this accelerator."""
    board = BOARDS[image.machine]
    processor = board.processor if accelerator == EMULATION else "host"
    command = [
        *qemu.command, "-accel", accelerator, "-cpu", processor, "-M", board.machine, "-m", "256", "-nodefaults",
        "-no-user-config", "-display", "none", "-no-reboot", "-chardev", "stdio,id=console,signal=off",
        "-serial", "chardev:console",
        "-kernel", str(image.kernel), "-append", f"earlycon earlyprintk={board.console} console={board.console} panic=-1",
    ]  # fmt: skip
    trial = Spawned(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    # A guest that stands still is ended by the clock; then the reading below ends too.
    timer = threading.Timer(patience, trial.end)
    timer.start()
    try:
        return _says(trial.wait(), _FIRST_WORDS)
    finally:
        timer.cancel()
        trial.end()


def _says(process: Child, words: bytes) -> bool:
    assert process.stdout
    heard = b""
    with process:  # closes its files
        while data := process.stdout.read(4096):
            heard += data
            if words in heard:
                process.kill()
                return True
    return False
