"""QEMU as a process of ours: started, asked, listened to, and ended, with the reason why if it ends by itself.

    our program ── QMP ──────────────── QEMU            orders: restore, forward a port, quit
                ── standard files ───── the guest's control line (see guest/agent.py)
                ── an unnamed file ──── the guest's console: why a kernel panicked

All three end with us, and the guest powers off when its control line does; the kernel of a Linux host ends a QEMU whose guest
stands still as well (child.py). So a killed program leaves nothing behind.
"""

import json
import queue
import re
import signal
import subprocess
import threading
from contextlib import suppress
from typing import IO, Any

from scratchlab.errors import GoneError, HostError
from scratchlab.owner import start_time
from scratchlab.vm import hardware
from scratchlab.vm.child import Child, Spawned
from scratchlab.vm.plumbing import lines, number_of
from scratchlab.vm.qemu import Qemu
from scratchlab.vm.qmp import Qmp
from scratchlab.vm.registry import Registration

_STOPPED = b"terminating on signal"  # what QEMU says when it is asked to end
_PANIC = re.compile(r"Kernel panic - not syncing: ([^\n\r]*)")


class Process:
    """One QEMU that runs."""

    def __init__(
        self,
        qemu: Qemu,
        parts: hardware.Hardware,
        start: hardware.Start,
        open_network: bool = False,
        registration: Registration | None = None,
    ) -> None:
        self._qmp: Qmp | None = None
        self._heard = Heard()
        self._last_console = ""
        self._plumbing = plumbing = lines()
        words = hardware.words(parts, start, open_network, plumbing.console_path)
        control = ["-chardev", "stdio,id=control,signal=off", "-mon", "chardev=orders,mode=control"]
        self._spawned = Spawned(
            [*qemu.command, *plumbing.words, *control, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=[*plumbing.inherited, *number_of(start.initrd)],
        )  # fmt: skip
        try:
            self._process = self._spawned.wait()
            plumbing.close_theirs()
            self._heard.listen(self._process)
            if registration:
                registration.add(qemu=self.pid, qemu_started=start_time(self.pid))
            self._qmp = Qmp(plumbing.connected())
        except BaseException:
            self.stop()
            raise

    @property
    def qmp(self) -> Qmp:
        """The line for orders."""
        assert self._qmp
        return self._qmp

    @property
    def pid(self) -> int:
        """QEMU's process number."""
        return self._process.pid

    # -- the control line ---------------------------------------------------------------------------------------------

    def say(self, **request: Any) -> None:
        """Send a request to the guest's process 1."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError:
            raise self.gone() from None

    def expect(self, event: str, patience: float) -> dict[str, Any]:
        """Wait for this event. Raises GoneError if the machine ends instead, HostError if it says nothing for so long."""
        while True:
            try:
                said = self._heard.events.get(timeout=patience)
            except queue.Empty:
                raise HostError(
                    f"the machine did not say {event!r} within {patience:.0f} seconds{self._last_words()}",
                    "is this computer very busy? try again, or see `scratchlab vm doctor`",
                ) from None
            if said is None:
                self._heard.events.put(None)  # for whoever asks next
                raise self.gone()
            if said["event"] == event:
                return said

    @property
    def kernel_ending(self) -> dict[str, Any] | None:
        """How the Jupyter kernel in it ended, if it did."""
        return self._heard.kernel_ending

    # -- its end ------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def gone(self) -> GoneError:
        """The error to raise when the machine does not answer; it says why."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self.alive:
            return GoneError("the machine runs, but it hung up on this command", "something in it has killed that too: try again")
        return GoneError(f"the machine has ended: {self.cause()}", "start another one: nothing of it is left")

    def cause(self) -> str:
        """Why it ended, or '' if it runs."""
        status = self._process.poll()
        if status is None:
            return ""
        self._heard.to_the_end()
        if panic := _PANIC.search(self.console()):
            return f"its kernel panicked: {panic[1].strip()}"
        if status < 0:
            return f"QEMU was killed by {signal.Signals(-status).name}"
        if status:
            return f"QEMU ended with status {status}: {self._heard.errors.decode(errors='replace').strip()[-400:]}"
        if _STOPPED in self._heard.errors:
            return "somebody stopped it, as `scratchlab vm stop` does"
        return "it powered off or rebooted"

    def wait(self) -> str:
        """Wait until it ends by itself, or is ended from elsewhere. Gives the cause."""
        self._process.wait()
        return self.cause()

    def console(self) -> str:
        """What the guest wrote to its console so far."""
        try:
            self._plumbing.console.seek(0)
            return self._plumbing.console.read().decode(errors="replace")
        except ValueError:  # closed: nothing is added any more
            return self._last_console

    def _last_words(self) -> str:
        lines = self.console().strip().splitlines()[-3:]
        return "; its last words: " + " / ".join(lines) if lines else ""

    def stop(self) -> None:
        """End it now, and let go of all that belonged to it."""
        self._spawned.end()
        self._heard.close()
        if self._qmp:
            self._qmp.close()
        self._last_console = self.console()
        self._plumbing.close_theirs()
        self._plumbing.close()


class Heard:
    """What QEMU and the guest's process 1 say, taken down by two threads: an unread pipe would stop them.

    The threads know nothing of the Process, so that one which nobody holds any more goes, and its QEMU with it.
    """

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()  # None is the end
        self.kernel_ending: dict[str, Any] | None = None
        self.errors = b""
        self._files: list[IO[bytes]] = []
        self._readers: list[threading.Thread] = []

    def listen(self, process: Child) -> None:
        """Begin."""
        assert process.stdin and process.stdout and process.stderr
        self._files = [process.stdin, process.stdout, process.stderr]
        for read, file in ((self._read_events, process.stdout), (self._read_errors, process.stderr)):
            reader = threading.Thread(target=read, args=[file], daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read_events(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "kernel-ended":
                    self.kernel_ending = said
                self.events.put(said)
        self.events.put(None)

    def _read_errors(self, stderr: IO[bytes]) -> None:
        while data := stderr.read(4096):
            self.errors = (self.errors + data)[-8192:]

    def to_the_end(self) -> None:
        """Have heard all that a process said which has ended."""
        for reader in self._readers:
            reader.join(5)

    def close(self) -> None:
        """Close the lines of a process that has ended."""
        self.to_the_end()
        for file in self._files:
            with suppress(OSError):
                file.close()
