"""Messages between Jupyter's ports and the kernel in the machine; and who waits for an answer, should there be none.

    front end ── five ports ── relay ── forwarded ports ── QEMU ── ipykernel
                 ours                   of the machine

The ports are ours and not the machine's, so that they outlive it: the cell that ran when a machine ended gets an answer.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import zmq

from scratchlab.errors import ScratchlabError
from scratchlab.vm.messages import DELIMITER, Frames, Request, part
from scratchlab.vm.ports import Ports, Socket
from scratchlab.vm.standin import kernel_info

_TICK = 0.2  # seconds between looks at the machine
_PATIENCE = 3.0  # seconds after which a front end gets its first answer from us, since the machine is not there yet
_FIRST_WORD = 2.0  # seconds for the kernel to say that it hears us

TOPIC = b"scratchlab.files"  # of a message that is for us: the kernel wants files (guest/files.py)


class Backend(NamedTuple):
    """The kernel behind us."""

    ports: dict[str, int]  # of this computer, forwarded to the kernel's
    ended: Callable[[], ScratchlabError | None]  # why it ended; None while it runs
    wants: Callable[[Frames], None]  # what to do with a message to us


class Starting:
    """A kernel that is not there yet: requests wait, and whoever waits long is told what goes on."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._begin = time.monotonic()
        self._said: dict[str, str] = {}
        self.waiting: list[Request] = []

    def wait(self, doing: str) -> None:
        """Wait a moment. Raises Shutdown."""
        requests, _ = self._ports.wait(0.02)
        self.waiting += requests
        if time.monotonic() - self._begin < _PATIENCE:
            return
        for request in list(self.waiting):
            if request.kind == "kernel_info_request":
                self._ports.publish("status", {"execution_state": "busy"}, request.header)
                self._ports.reply(request, kernel_info())
                self._ports.publish("status", {"execution_state": "idle"}, request.header)
                self.waiting.remove(request)
            elif doing and self._said.get(request.number) != doing and _has_a_reader(request):
                self._ports.print(f"scratchlab: {doing}\n", request)
                self._said[request.number] = doing


def _has_a_reader(request: Request) -> bool:
    """Whether a person waits for this cell: a program such as nbval would compare what we say with what was stored."""
    return request.kind == "execute_request" and bool(part(request.frames, 3).get("allow_stdin"))


class Relay:
    """Passes messages on until the kernel ends."""

    def __init__(self, ports: Ports, backend: Backend) -> None:
        self._ports, self._backend = ports, backend
        self._unanswered: dict[str, Request] = {}
        name = b"scratchlab-relay"  # the same on all: an answer to input() finds back by it
        self._back: dict[str, Socket] = {}
        for channel in ("shell", "control", "stdin"):
            socket = ports.socket(zmq.DEALER)
            socket.identity = name
            self._back[channel] = socket
        self._back["iopub"] = ports.socket(zmq.XSUB)
        for channel, socket in self._back.items():
            socket.connect(f"tcp://127.0.0.1:{backend.ports[f'{channel}_port']}")
        self._channels = {socket: channel for channel, socket in self._back.items()}
        self._back["iopub"].send(b"\x01")  # everything: each front end chooses at our own port

    def run(self, waiting: list[Request]) -> tuple[ScratchlabError, list[Request]]:
        """Carry messages until the kernel ends. Gives why it did, and who still waits for an answer. Raises Shutdown."""
        # What is said before somebody listens is lost; so wait for the first word, which the kernel says to each listener.
        self._back["iopub"].poll(int(_FIRST_WORD * 1000))
        self._forward(waiting)
        looked = 0.0
        while True:
            requests, ready = self._ports.wait(_TICK)
            self._forward(requests)
            for socket in ready:
                self._back_to_front(self._channels[socket], socket)
            if time.monotonic() - looked > _TICK:
                looked = time.monotonic()
                if problem := self._backend.ended():
                    return problem, list(self._unanswered.values())

    def _forward(self, requests: list[Request]) -> None:
        for request in requests:
            if request.channel != "stdin":
                self._unanswered[request.number] = request
            self._back[request.channel].send_multipart(request.frames)

    def _back_to_front(self, channel: str, socket: Socket) -> None:
        frames = socket.recv_multipart()
        if channel == "iopub" and frames[0] == TOPIC:
            self._backend.wants(frames)
            return
        if channel == "iopub" and frames[0] == DELIMITER:
            return  # it has no topic: the welcome to us, which may be signed with the key that the kernel had in the snapshot
        if channel in ("shell", "control"):
            self._unanswered.pop(str(part(frames, 1).get("msg_id")), None)
        self._ports.send(channel, frames)
