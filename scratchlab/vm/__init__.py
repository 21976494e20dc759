"""A machine to be root on: a small virtual machine that restores from a snapshot in under a second, and is thrown away.

>>> from scratchlab.vm import Machine
>>> with Machine.start() as machine:
...     machine.run(["uname", "-a"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratchlab.vm.machine import Machine

__all__ = ["Machine"]


def __getattr__(name: str) -> Any:
    """Import `Machine` when it is first used: process 1 of a guest imports this package too.  PEP 562"""
    if name != "Machine":
        raise AttributeError(f"module 'scratchlab.vm' has no attribute {name!r}")
    from scratchlab.vm.machine import Machine

    return Machine
