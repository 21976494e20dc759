"""A machine to be root on, and to throw away: `Machine.start()` restores one in under a second."""

import io
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from scratchlab.errors import GoneError, HostError
from scratchlab.vm import accelerator, hardware, image, library, qemu, registry, snapshot
from scratchlab.vm.guest import frames
from scratchlab.vm.link import Guest
from scratchlab.vm.process import Process
from scratchlab.vm.progress import Progress, silent

_PATIENCE = 30.0  # seconds for an answer of a machine that runs

Say = Callable[[str], Any]


class Machine(Guest):
    """A machine of ours: it ends when this closes, or when our program does, however that is."""

    def __init__(self, started: "Started", registration: registry.Registration) -> None:
        self._process, self._registration = started.process, registration
        self._library_is_new = started.library != library.library_hash()
        super().__init__(self.forward(frames.PORT), started.key, registration.name)
        if self._library_is_new:
            self.unpack(io.BytesIO(library.as_tar()), library.PLACE)
        registration.add(port=self.port, key=self.key)

    @classmethod
    def start(
        cls,
        *,
        name: str = "",
        about: str = "",
        notebook: str = "",
        settings: dict[str, Any] | None = None,
        memory: int = 512,
        cpus: int = 1,
        kind: str = "",
        network: bool = False,
        cold: bool = False,
        progress: Progress = silent,
        say: Say = lambda _: None,
    ) -> "Machine":
        """A new machine, from a snapshot that is taken now if there is none, or booted if `cold`.

        It has no way out unless `network`. `name`, `about` and `notebook` are for `scratchlab vm list` and `shell`, `settings`
        for `reset`. `say` hears, in a sentence, of a slower start than usual and why. Raises HostError for what this
        computer lacks.
        """
        maker = Maker(kind, memory, cpus, network, progress, say)
        registration = registry.register(name, about=about, notebook=notebook, settings=settings)
        started = None
        try:
            started = maker.boot(registration) if cold else maker.restore(registration)
            return cls(started, registration)
        except BaseException:
            if started:
                started.process.stop()
            registration.end()
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

    def cause(self) -> str:
        """Why it ended, or '' if it runs."""
        return self._process.cause()

    def wait(self) -> str:
        """Wait until it ends by itself, or is stopped from elsewhere. Gives the cause."""
        return self._process.wait()

    def kernel_ended(self) -> dict[str, Any] | None:
        """How the Jupyter kernel in it ended, as END in guest/frames.py; None while it runs."""
        return self._process.kernel_ending

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
                raise HostError(
                    f"port {port} of this computer is taken, or not for this user",
                    "choose another one from 1024 on, or see who has it: ss -tlnp",
                )
        raise HostError("no free port on this computer", "see who has them: ss -tlnp")

    def start_kernel(self, key: str, env: dict[str, str] | None = None, cwd: str = "/root") -> None:
        """Let the Jupyter kernel that waits in the machine go on, under this key, on the ports frames.KERNEL_PORTS."""
        changed = library.library_hash() if self._library_is_new else ""
        self._process.say(do="kernel", key=key, env=env or {}, cwd=cwd, library=changed)
        self._process.expect("kernel", _PATIENCE)

    def close(self) -> None:
        """Throw it away."""
        self._process.stop()
        self._registration.end()


class Maker:
    """What a machine is made from, on this computer."""

    def __init__(self, kind: str, memory: int, cpus: int, network: bool, progress: Progress, say: Say) -> None:
        self._network, self._progress, self._say = network, progress, say
        self._image = image.have(kind, progress)
        self._qemu = qemu.have(self._image.machine, progress)
        self._parts = hardware.Hardware(self._image.machine, accelerator.choose(self._qemu, self._image), memory, cpus)

    def restore(self, registration: registry.Registration) -> "Started":
        """A machine from the snapshot, or from a boot where that does not work."""
        for _ in range(2 if snapshot.possible(self._qemu) else 0):
            taken = None
            try:
                taken = snapshot.have(self._qemu, self._parts, self._image, self._progress)
                return self._greet(snapshot.restore(self._qemu, self._parts, taken, self._network, registration))
            except (HostError, GoneError) as error:
                self._say(f"no machine from a snapshot: {error.message}")
                if not taken:
                    break  # what kept us from taking one would do so again
                snapshot.forget(taken)  # damaged: another one is taken, once
        self._say("the machine boots, which takes some seconds")
        return self.boot(registration)

    def boot(self, registration: registry.Registration) -> "Started":
        """A machine that boots."""
        return self._greet(snapshot.boot(self._qemu, self._parts, self._image, self._network, registration))

    def _greet(self, process: Process) -> "Started":
        """Make the machine one of its own: its key, its clock, its random numbers."""
        key = secrets.token_hex(16)
        resolver = hardware.RESOLVER if self._network else ""
        try:
            process.say(do="start", key=key, time=time.time(), seed=secrets.token_hex(64), resolver=resolver)
            return Started(process, key, process.expect("started", _PATIENCE)["library"])
        except BaseException:
            process.stop()
            raise


class Started(NamedTuple):
    """A machine that has become one of its own."""

    process: Process
    key: str
    library: str  # the hash of the library that it has


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError:
            raise HostError("no free port on this computer", "see who has them: ss -tlnp") from None
        port: int = probe.getsockname()[1]
        return port
