"""A machine to be root on, and to throw away: `Machine.start()` restores one in under a second."""

import io
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scratchlab.errors import GoneError, HostError
from scratchlab.vm import accelerator, image, library, qemu, snapshot
from scratchlab.vm.guest import frames
from scratchlab.vm.hardware import Hardware
from scratchlab.vm.link import Guest
from scratchlab.vm.process import Process
from scratchlab.vm.progress import Progress, silent

_PATIENCE = 30.0  # seconds for an answer of a machine that runs

Say = Callable[[str], Any]


class Machine(Guest):
    """A machine of ours: it ends when this closes, or when our program does, however that is."""

    def __init__(self, process: Process, key: str, library_there: str) -> None:
        self._process = process
        self._library_is_new = library_there != library.library_hash()
        super().__init__(self.forward(frames.PORT), key)
        if self._library_is_new:
            self.unpack(io.BytesIO(library.as_tar()), library.PLACE)

    @classmethod
    def start(
        cls,
        *,
        memory: int = 512,
        cpus: int = 1,
        kind: str = "",
        network: bool = False,
        cold: bool = False,
        progress: Progress = silent,
        say: Say = lambda _: None,
    ) -> "Machine":
        """A new machine, from a snapshot that is taken now if there is none, or booted if `cold`.

        It has no way out unless `network`. `say` hears, in a sentence, of a slower start than usual and why.
        Raises HostError for what this computer lacks.
        """
        found = image.have(kind, progress)
        program = qemu.have(found.machine, progress)
        parts = Hardware(found.machine, accelerator.choose(program, found), memory, cpus)
        process = None if cold else _restored(program, parts, found, network, progress, say)
        process = process or snapshot.boot(program, parts, found, network)
        try:
            key = secrets.token_hex(16)
            process.say(do="start", key=key, time=time.time(), seed=secrets.token_hex(64))
            said = process.expect("started", _PATIENCE)
            return cls(process, key, said["library"])
        except BaseException:
            process.stop()
            raise

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """QEMU's process number."""
        return self._process.pid

    def gone(self) -> GoneError:
        """The error to raise when it does not answer any more: it says why."""
        return self._process.gone()

    def console(self) -> str:
        """What its kernel wrote to the console so far."""
        return self._process.console()

    def forward(self, guest_port: int, port: int = 0) -> int:
        """Make a port of the machine reachable at 127.0.0.1. Gives the port here: `port`, or a free one.

        Only now that the guest runs: a connection to one that is not running yet would wait six seconds for its answer.
        """
        for _ in range(20):
            wanted = port or _free_port()
            command = f"hostfwd_add own tcp:127.0.0.1:{wanted}-{frames.ADDRESS}:{guest_port}"
            refused = self._process.qmp("human-monitor-command", **{"command-line": command})
            if not refused.strip():
                return wanted
            if port:
                raise HostError(f"port {port} of this computer is taken", "choose another one, or see who has it: ss -tlnp")
        raise HostError("no free port on this computer", "see who has them: ss -tlnp")

    def start_kernel(self, key: str, env: dict[str, str] | None = None, cwd: str = "/root") -> None:
        """Let the Jupyter kernel that waits in the machine go on, under this key, on the ports frames.KERNEL_PORTS."""
        changed = library.library_hash() if self._library_is_new else ""
        self._process.say(do="kernel", key=key, env=env or {}, cwd=cwd, library=changed)
        self._process.expect("kernel", _PATIENCE)

    def close(self) -> None:
        """Throw it away."""
        self._process.stop()


def _restored(
    program: qemu.Qemu, parts: Hardware, found: image.Image, network: bool, progress: Progress, say: Say
) -> Process | None:
    """A machine from its snapshot; or None, and a word why, if there is no way to get one."""
    for _ in range(2):
        taken = None
        try:
            taken = snapshot.have(program, parts, found, progress)
            return snapshot.restore(program, parts, taken, network)
        except (HostError, GoneError) as error:
            say(f"no machine from a snapshot: {error.message}")
            if taken:
                snapshot.forget(taken.directory)  # damaged: another one is taken, once
    return None


def _free_port() -> int:
    import socket

    with suppress(OSError), socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
    return 0
