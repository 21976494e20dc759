"""The kernel `scratchlab-rootless`: an ordinary ipykernel as root of a user namespace, with its own mounts and process numbers.

    python -m scratchlab.vm.kernel_rootless CONNECTION_FILE

What it can: all stages that need no right over the machine. It cannot make a cable to the host, or limit what nobody
delegated to this user.
"""

import os
import signal
import sys
import time
from typing import NoReturn

from scratchlab.errors import HostError, ScratchlabError
from scratchlab.vm.kernel_local import IPYKERNEL, refuse
from scratchlab.vm.parent import lives_as_long_as_jupyter

_INSTEAD = "choose the kernel Scratchlab (root VM), which needs nothing of that"


def main(connection: str) -> int:
    """Be the kernel's parent; or answer in its place."""
    if sys.platform != "linux":
        return refuse(connection, HostError("namespaces are a thing of Linux, and this machine runs another system", _INSTEAD))
    lives = lives_as_long_as_jupyter()
    reader, writer = os.pipe()
    child = os.fork()  # a child may fail: this process has changed nothing, and can still tell Jupyter why
    if child == 0:
        os.close(reader)
        _become_kernel(connection, writer)
    os.close(writer)
    with open(reader, "rb") as stream:  # its end comes when ipykernel is executed
        failure = stream.read().decode()
    if failure:
        os.waitpid(child, 0)
        return refuse(connection, HostError(f"this machine gives this user no namespaces: {failure}", _INSTEAD))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(child, signal.SIGKILL if number == signal.SIGTERM else 0))
    # The kernel cannot watch for Jupyter's end, for it sees another process by that number; so we do.
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if not lives():
            os.kill(child, signal.SIGKILL)
        time.sleep(0.2)
    return os.waitstatus_to_exitcode(ended[1]) & 0xFF


def _become_kernel(connection: str, failure: int) -> NoReturn:
    """The stages of a container, as far as a kernel wants them; then ipykernel goes on as process 1."""
    from scratchlab import linux, stages
    from scratchlab.shared import run_directory
    from scratchlab.stages import stage

    uid, gid = os.geteuid(), os.getegid()
    try:
        stage.serve()  # nobody else's process is at stake here
        stages.unshare_user()  # from here on we die with our parent
        for file, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            linux.write_file(f"/proc/self/{file}", line)
        stages.unshare_mount()
        stages.unshare_pid()
        stages.private_mounts()
        stages.proc()
        # Journals of its own: the owners of those outside have other numbers in here, so that each would seem to be dead.
        stages.tmpfs(str(run_directory()), mode=0o700)
        # They go with us. So must all that is written there: a control group would stay, and root's may be made from here.
        stages.readonly("/sys/fs/cgroup")
        os.environ["JPY_PARENT_PID"] = "1"  # the number that it has means somebody else here
        os.execv(sys.executable, [sys.executable, *IPYKERNEL, connection])
    except (ScratchlabError, OSError) as error:
        os.write(failure, str(error).encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
