"""QEMU as a process of ours: started, asked, listened to, and ended, with the reason why if it ends by itself.

    our program ── QMP ──────────────── QEMU            orders: restore, forward a port, quit
                ── standard files ───── the guest's control line (see guest/agent.py)
                ── an unnamed file ──── the guest's console: why a kernel panicked

All three end with us, and the guest powers off when its control line does. So a killed program leaves nothing behind.
"""

import json
import queue
import re
import signal
import subprocess
import threading
from contextlib import suppress
from typing import Any

from scratchlab.errors import GoneError, HostError
from scratchlab.owner import start_time
from scratchlab.vm import hardware
from scratchlab.vm.plumbing import lines, number_of
from scratchlab.vm.qemu import Qemu
from scratchlab.vm.qmp import Qmp
from scratchlab.vm.registry import Registration

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
        self._errors = b""
        self._qmp: Qmp | None = None
        self._last_console = ""
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.kernel_ending: dict[str, Any] | None = None
        plumbing = lines()
        self._plumbing = plumbing
        words = hardware.words(parts, start, open_network, plumbing.console_path)
        control = ["-chardev", "stdio,id=control,signal=off", "-mon", "chardev=orders,mode=control"]
        try:
            self._process = subprocess.Popen(
                [*qemu.command, *plumbing.words, *control, *words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                # Ctrl-C in our terminal is for us: we end QEMU when we are done.
                start_new_session=True, pass_fds=[*plumbing.inherited, *number_of(start.initrd)],
            )  # fmt: skip
        except OSError as error:
            plumbing.close()
            raise HostError(f"QEMU does not start: {error}", "see `scratchlab vm doctor`") from None
        finally:
            plumbing.close_theirs()
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_events, self._read_errors)]
        for reader in self._readers:
            reader.start()
        try:
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
                said = self._events.get(timeout=patience)
            except queue.Empty:
                raise HostError(
                    f"the machine did not say {event!r} within {patience:.0f} seconds{self._last_words()}",
                    "is this computer very busy? try again, or see `scratchlab vm doctor`",
                ) from None
            if said is None:
                self._events.put(None)  # for whoever asks next
                raise self.gone()
            if said["event"] == event:
                return said

    def _read_events(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "kernel-ended":
                    self.kernel_ending = said
                self._events.put(said)
        self._events.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr
        while data := self._process.stderr.read(4096):
            self._errors = (self._errors + data)[-8192:]

    # -- its end ------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def gone(self) -> GoneError:
        """The error to raise when the machine turns out to have ended; it says why."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        return GoneError(f"the machine has ended: {self.cause()}", "start another one: nothing of it is left")

    def cause(self) -> str:
        """Why it ended, or '' if it runs."""
        status = self._process.poll()
        if status is None:
            return ""
        if panic := _PANIC.search(self.console()):
            return f"its kernel panicked: {panic[1].strip()}"
        if status < 0:
            return f"QEMU was killed by {signal.Signals(-status).name}"
        if status:
            return f"QEMU ended with status {status}: {self._errors.decode(errors='replace').strip()[-400:]}"
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
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(5)
        for file in (self._process.stdin, self._process.stdout, self._process.stderr):
            if file:
                with suppress(OSError):
                    file.close()
        if self._qmp:
            self._qmp.close()
        self._last_console = self.console()
        self._plumbing.close()
