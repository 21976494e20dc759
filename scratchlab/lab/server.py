"""JupyterLab in this process, with what the lessons need: our kernels, our index, and an end that leaves nothing.

A lesson's notebook asks for the kernel `scratchlab`. Which one that is, each start decides, by where Jupyter looks for it
first; so the learner's files are the same in both cases: docs/decisions/0022
"""

import os
import signal
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any

from scratchlab.errors import HostError
from scratchlab.lessons.copies import INDEX
from scratchlab.vm import kernelspecs
from scratchlab.vm.commands import say

_HERE = Path(__file__).parent
_LOCAL = _HERE / "local"  # where `scratchlab` is a kernel on this machine itself


def need_jupyterlab() -> None:
    """Raise HostError where there is none."""
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        raise HostError(
            "JupyterLab is not installed beside this scratchlab", f"{sys.executable} -m pip install jupyterlab"
        ) from None


def serve(folder: Path, local: bool, port: int, browser: bool) -> None:
    """Serve a learner's folder until somebody ends us: with Ctrl-C, a signal, by closing the terminal, or in its menu."""
    os.chdir(folder)  # where a terminal in JupyterLab begins
    os.environ.update(environment(local))  # for the server, and for the kernels and terminals that it starts
    from jupyterlab.labapp import LabApp

    server = LabApp.initialize_server(words(folder, port, browser))
    server.identity_provider.token_generated = False  # or it would tell the address once more, in words of its own
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(AttributeError):  # not on every system
            # Not Jupyter's own answer to Ctrl-C: it asks back, or where it has no terminal leaves its kernels to themselves.
            signal.signal(getattr(signal, name), lambda *_: server.stop(from_signal=True))
    # Its turn comes when the server listens: before us, Jupyter has added that.
    server.io_loop.add_callback(_tell, address(server))
    server.start()


def _tell(address: str) -> None:
    say("JupyterLab runs; Ctrl-C here ends it. Open this address in a browser:")
    print(address, flush=True)


def environment(local: bool) -> dict[str, str]:
    """The variables by which Jupyter finds our kernels, and a terminal in it our command."""
    before = os.environ.get("JUPYTER_PATH")
    places = [str(place) for place in kernels_of(local)] + ([before] if before else [])
    return {
        "JUPYTER_PATH": os.pathsep.join(places),
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
    }


def kernels_of(local: bool) -> list[Path]:
    """Where Jupyter has to look before it looks elsewhere."""
    if local:
        return [_LOCAL]
    found = [kernel for kernel in kernelspecs.find() if kernel.name == "scratchlab"][:1]
    # One that `kernel install` made for this library, perhaps with more memory, is what the learner wants.
    return [] if any(kernel.spec["argv"][0] == sys.executable for kernel in found) else [kernelspecs.JUPYTER]


def words(folder: Path, port: int, browser: bool) -> list[str]:
    """The options of JupyterLab. They count more than files of settings that the user may have."""
    options: dict[str, Any] = {
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": browser,
        "ServerApp.port": port or 8888,
        "ServerApp.port_retries": 0 if port else 50,
        "ServerApp.terminado_settings": {"shell_command": [os.environ.get("SHELL", "sh")]},  # no login, which forgets our PATH
        "LabApp.default_url": f"/lab/tree/{INDEX}",
        "LabApp.app_settings_dir": _HERE / "settings",
        "LabApp.workspaces_dir": folder / ".jupyterlab",  # what was open, which with other folders would make no sense
        "MultiKernelManager.default_kernel_name": "scratchlab",
        "Application.log_level": "ERROR",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def address(server: Any) -> str:
    """The address with which a browser gets in."""
    token = server.identity_provider.token
    where = server.connection_url.rstrip("/") + server.default_url
    return f"{where}?token={token}" if token else where
