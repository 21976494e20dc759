"""The kernel `scratchlab-local`: an ordinary ipykernel on this machine, if Jupyter runs as root; else a word on why not.

python -m scratchlab.vm.kernel_local CONNECTION_FILE
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from scratchlab.errors import HostError, ScratchlabError
from scratchlab.vm.parent import lives_as_long_as_jupyter
from scratchlab.vm.ports import Ports, Shutdown
from scratchlab.vm.standin import stand_in

# Its warning that others on this machine might listen would stand in the terminal of every learner.
IPYKERNEL = ("-m", "ipykernel_launcher", "--log-level=ERROR", "-f")
_INSTEAD = "choose the kernel Scratchlab (root VM), where one is root and can break nothing; or start Jupyter as root"


def refuse(connection: str, problem: ScratchlabError) -> int:
    """Answer each cell with the problem, until Jupyter ends us."""
    print(f"scratchlab: {problem}", file=sys.stderr, flush=True)
    ports = Ports(json.loads(Path(connection).read_text()), lives_as_long_as_jupyter())
    with suppress(Shutdown):
        stand_in(ports, problem, [])
    ports.close()
    return 0


def main(connection: str) -> int:
    """Be the kernel."""
    if sys.platform != "linux":
        return refuse(connection, HostError("containers are a thing of Linux, and this machine runs another system", _INSTEAD))
    if os.geteuid() == 0:
        os.execv(sys.executable, [sys.executable, *IPYKERNEL, connection])
    # No sudo in between: Jupyter could end only that, and a kernel of root's would stay behind.
    return refuse(connection, HostError(f"this kernel wants to be root, and Jupyter runs as user {os.geteuid()}", _INSTEAD))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
