"""Process 1 of the guest: answers the host, forks a session for each command, reaps what ends, and never dies.

The control line is a virtio serial port, whose other end is QEMU's own standard input and output. One JSON object a line:

    host                                             guest
                                                 <-  {"event": "ready"}                    a snapshot is taken now
    {"do": "warm"}                               ->                                        run each tool once
                                                 <-  {"event": "warm"}
    {"do": "clock"}                              ->                                        does it run as fast as the host's?
                                                 <-  {"event": "clock", "seconds": 17.4, "mhz": 2594.8}
    {"do": "start", "key": "…", "time": 1.5e9,
     "seed": "hex", "resolver": ""}              ->                                        another machine from here on
                                                 <-  {"event": "started", "library": "…"}  the hash of the library here
    {"do": "kernel", "key": "…", "env": {…},
     "cwd": "/root", "library": "…"}             ->                                        the Jupyter kernel goes on
                                                 <-  {"event": "kernel"}
                                                 <-  {"event": "kernel-ended", "signal": 9, …}    as END in frames.py
    {"do": "power-off"}                          ->
    (the end of the line: the host's program is gone; power off)

After `start`, commands come over TCP: see frames.py.
"""

import json
import os
import random
import select
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scratchlab.vm.guest import kernel, session
from scratchlab.vm.guest.network import OwnNetwork

_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207  # random(4)
_RESTART = 0x01234567  # reboot(2); QEMU is told not to, so it ends


class Agent:
    """The state of process 1."""

    def __init__(self) -> None:
        self._received = b""
        self._key = ""
        network = OwnNetwork()
        self._kernel = kernel.Prepared(network)  # first, so that it inherits none of the files below
        self._listener = network.listen()
        self._control = control_line()
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(_child_signals(), select.POLLIN)

    def serve(self) -> None:
        """Answer for ever."""
        self._say(event="ready")
        while True:
            ready = dict(self._poll.poll())
            self._reap()
            if self._listener.fileno() in ready:
                self._accept()
            if ready.get(self._control, 0) & select.POLLIN:
                self._listen()
            if ready.get(self._control, 0) & select.POLLHUP:
                self._hung_up()

    def _say(self, **event: Any) -> None:
        os.write(self._control, json.dumps(event).encode() + b"\n")

    def _listen(self) -> None:
        self._received += os.read(self._control, 1 << 16)
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            request = json.loads(line)
            verb = _VERBS[request.pop("do")]
            verb(self, **request)

    def _hung_up(self) -> None:
        """The host's program is gone, or QEMU has not opened its end yet: look again before the machine ends."""
        time.sleep(0.2)
        poll = select.poll()
        poll.register(self._control, 0)
        if poll.poll(0):
            power_off()

    # -- what the host asks for ---------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Run each tool once, so that its pages and modules are in the snapshot."""
        subprocess.run(["sh", str(Path(__file__).with_name("warm.sh"))], check=False)
        self._say(event="warm")

    def clock(self) -> None:
        """Say how long this machine runs by its own clock, and how fast it believes its processor to count."""
        mhz = [line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("cpu MHz")]
        self._say(event="clock", seconds=time.monotonic(), mhz=float(mhz[0]) if mhz else 0.0)

    def start(self, key: str, time: float, seed: str, resolver: str = "") -> None:
        """Become a machine of its own: no two that are restored from one snapshot may be alike."""
        set_clock(time)
        reseed(bytes.fromhex(seed))
        # Without a network there is no name server either: one that does not answer costs five seconds for each name.
        Path("/etc/resolv.conf").write_text(f"nameserver {resolver}\n" if resolver else "")
        self._key = key
        library = Path("/opt/scratchlab/hash")
        self._say(event="started", library=library.read_text() if library.exists() else "")

    def kernel(self, **settings: Any) -> None:
        """Let the Jupyter kernel go on, under its own key."""
        self._kernel.go(settings)
        self._say(event="kernel")

    def power_off(self) -> None:
        """End the machine."""
        power_off()

    # -- children -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if os.fork() == 0:
            os.close(self._control)
            self._listener.close()
            signal.set_wakeup_fd(-1)
            session.run(connection, self._key)
        connection.close()

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(_signal_pipe[0], 4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._kernel.pid:
                    ending = session.ending_of(ended[1], session.killed_for_memory() > 0)
                    self._say(event="kernel-ended", **ending)


_VERBS: dict[str, Callable[..., None]] = {
    "warm": Agent.warm,
    "clock": Agent.clock,
    "start": Agent.start,
    "kernel": Agent.kernel,
    "power-off": Agent.power_off,
}

_signal_pipe: list[int] = []


def _child_signals() -> int:
    """A pipe that has something to read when a child has ended.  signal(7)"""
    _signal_pipe[:] = os.pipe()
    for end in _signal_pipe:
        os.set_blocking(end, False)
    signal.set_wakeup_fd(_signal_pipe[1], warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return _signal_pipe[0]


def set_clock(now: float) -> None:
    """The clock of a restored guest stands where it was when the snapshot was taken.  clock_settime(2)"""
    time.clock_settime(time.CLOCK_REALTIME, now)


def reseed(seed: bytes) -> None:
    """Two guests from one snapshot would draw the same random numbers.  random(4)"""
    import fcntl

    with open("/dev/urandom", "wb") as device:
        fcntl.ioctl(device, _RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(device, _RNDRESEEDCRNG)
    random.seed()


def power_off() -> None:
    """End the machine at once."""
    import ctypes

    os.sync()
    ctypes.CDLL(None).reboot(_RESTART)


def control_line() -> int:
    """The port that QEMU connects to its own standard files."""
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == "scratchlab":
            return os.open(f"/dev/{name.parent.name}", os.O_RDWR | os.O_CLOEXEC)
    raise SystemExit("this machine has no control line")


if __name__ == "__main__":
    # What is started here must not wait for somebody who types on the console.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    Agent().serve()
