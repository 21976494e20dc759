"""A Jupyter kernel that is ready before anybody asks for it: initialised, warm, and waiting for its key.

It has fixed ports in the agent's network, and a key that nobody knows. A snapshot of the guest is taken while it waits here;
so a restored guest has a kernel that only needs a key and its loop.
"""

import gc
import json
import os
import random
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from scratchlab.vm.guest import files
from scratchlab.vm.guest.frames import ADDRESS, KERNEL_PORTS
from scratchlab.vm.guest.network import OwnNetwork

_CONNECTION = Path("/run/scratchlab-kernel.json")
_OPTIONS = (
    "--IPKernelApp.parent_handle=0",
    "--HistoryManager.enabled=False",
    # It takes 2 seconds for the first Tab here, and 14 for some.
    "--IPCompleter.use_jedi=False",
)


class Prepared:
    """The kernel's process, which waits until `go`."""

    def __init__(self, network: OwnNetwork) -> None:
        ready, says_ready = os.pipe()
        settings, self._settings = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ready)
            os.close(self._settings)
            _run(network, says_ready, settings)
        os.close(says_ready)
        os.close(settings)
        os.read(ready, 1)  # or it died: then its end is told as any other
        os.close(ready)

    def go(self, settings: dict[str, Any]) -> None:
        """Let it run, once."""
        os.write(self._settings, json.dumps(settings).encode())
        os.close(self._settings)


def _run(network: OwnNetwork, says_ready: int, settings: int) -> NoReturn:
    status = 70
    try:
        os.setsid()
        os.chdir("/root")
        app = _initialised(network)
        os.write(says_ready, b"1")
        os.close(says_ready)
        with open(settings, "rb") as stream:
            wanted = json.loads(stream.read() or "null")
        if wanted is not None:
            _adopt(app, **wanted)
            app.start()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    # A kernel that dies must say why where somebody looks; and a copy of pid 1 must not go on here.
    except BaseException:
        with open("/dev/console", "w") as console:
            traceback.print_exc(file=console)
    finally:
        os._exit(status)


def _initialised(network: OwnNetwork) -> Any:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    facts = {**KERNEL_PORTS, "ip": ADDRESS, "transport": "tcp", "key": os.urandom(16).hex(), "signature_scheme": "hmac-sha256"}
    _CONNECTION.write_text(json.dumps(facts))
    app = _application(network)
    app.initialize(["-f", str(_CONNECTION), *_OPTIONS])
    # What the first cells of every lesson need, so that it is in the snapshot.
    app.shell.run_cell("import os, sys, subprocess, socket, ctypes", store_history=False, silent=True)
    app.shell.complete("os.pa")
    files.register(app.shell)
    _warm_library()
    gc.collect()
    gc.freeze()
    return app


def _application(network: OwnNetwork) -> Any:
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelapp import IPKernelApp

    class Kernel(IPythonKernel):  # type: ignore[misc]  # it comes without types
        """ipykernel, but that no interrupt is lost."""

        def _send_interrupt_children(self) -> None:
            super()._send_interrupt_children()
            _wake_main_thread()

    class Application(IPKernelApp):  # type: ignore[misc]  # it comes without types
        """ipykernel, but that its sockets are in the agent's network; its threads, which run cells, are not."""

        def _bind_socket(self, socket: Any, port: int) -> Any:
            with network.inside():
                return super()._bind_socket(socket, port)

        def init_heartbeat(self) -> None:
            with network.inside():
                super().init_heartbeat()

    signal.signal(signal.SIGURG, lambda *_: None)
    return Application.instance(kernel_class=Kernel)


def _wake_main_thread() -> None:
    """Let the main thread notice a signal that came just before it went to sleep.

    Python notes a signal, and acts on it at the next chance. A thread that lets the others run, because it is about to call
    sleep or read, has had its last chance before that call. The thread that interrupts it waits for just this moment: so of
    800 interrupts of a sleeping cell 21 did nothing, on a busy computer of two processors. A later signal ends the call
    (EINTR); Python looks, and finds the interrupt, or else calls again. SIGURG means nothing to anybody here.
    """
    main = threading.main_thread().ident
    for seconds in (0.02, 0.2, 1.0):
        threading.Timer(seconds, signal.pthread_kill, [main, signal.SIGURG]).start()


def _warm_library() -> None:
    """Have the library imported and its keeper up, so that the first Sandbox() of a lesson takes no time."""
    from scratchlab import container, stages  # noqa: F401
    from scratchlab.sandbox import client

    client.keeper()


def _adopt(app: Any, key: str, env: dict[str, str] | None = None, cwd: str = "/root", library: str = "") -> None:
    """Take what belongs to this start alone. A `library` that is not the snapshot's is imported anew when it is first used."""
    random.seed()
    os.environ.update(env or {})
    os.makedirs(cwd, exist_ok=True)
    os.chdir(cwd)
    sys.path[:0] = [] if cwd in sys.path else [cwd]
    if library:
        _forget_library()
    app.session.session = os.urandom(16).hex()  # it begins the number of each message, and no two kernels may count alike
    app.session.key = key.encode()


def _forget_library() -> None:
    from scratchlab.sandbox import client

    client.keeper().close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "scratchlab"]:
        del sys.modules[name]
