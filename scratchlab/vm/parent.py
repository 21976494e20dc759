"""A kernel ends with the program that started it, however that ended."""

import os
from collections.abc import Callable


def lives_as_long_as_jupyter() -> Callable[[], bool]:
    """A function that says whether the program that started us still runs. To be called early."""
    if os.name == "nt":
        return _by_handle()
    parent = os.getppid()
    return lambda: os.getppid() == parent  # an orphan gets another parent


def _by_handle() -> Callable[[], bool]:
    """Windows tells nobody, but a handle of Jupyter's process can be waited for."""
    handle = int(os.environ.get("JPY_PARENT_PID", "0"))
    if not handle:
        return lambda: True
    import ctypes

    wait = ctypes.CDLL("kernel32").WaitForSingleObject
    return lambda: bool(wait(handle, 0) == 0x102)  # WAIT_TIMEOUT: it has not ended
