"""Build a container around a process, one kernel call at a time, and see what the kernel changed.

>>> from scratchlab import Sandbox, stages
>>> box = Sandbox("web")
>>> box.apply(stages.unshare_uts)
>>> box.apply(stages.hostname, "web")
>>> box.run("hostname").out
'web'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratchlab import attacks as attacks
    from scratchlab import linux as linux
    from scratchlab import stages as stages
    from scratchlab import views as views
    from scratchlab.container import Container as Container
    from scratchlab.errors.explanation import explain as explain
    from scratchlab.lessons import Lesson as Lesson
    from scratchlab.observe import Snapshot as Snapshot
    from scratchlab.observe.diff import diff as diff
    from scratchlab.peers import compare as compare
    from scratchlab.sandbox import Sandbox as Sandbox
    from scratchlab.trials import ablate as ablate
    from scratchlab.trials import scoreboard as scoreboard
    from scratchlab.views import show as show

__version__ = "0.1.0"

# The public names, and the module that each is in; "" for what is a module itself.
_HOMES = {
    "Container": "container",
    "Lesson": "lessons",
    "Sandbox": "sandbox",
    "Snapshot": "observe",
    "ablate": "trials",
    "attacks": "",
    "compare": "peers",
    "diff": "observe",
    "explain": "errors.explanation",
    "linux": "",
    "scoreboard": "trials",
    "show": "views",
    "stages": "",
    "views": "",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import scratchlab` alone costs next to nothing.  PEP 562"""
    if name not in _HOMES:
        raise AttributeError(f"module 'scratchlab' has no attribute {name!r}")
    from importlib import import_module

    home = _HOMES[name]
    return getattr(import_module(f"scratchlab.{home}"), name) if home else import_module(f"scratchlab.{name}")


def __dir__() -> list[str]:
    return list(_HOMES)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext scratchlab`: the cell magics %%inside, %%outside and %%both, and pictures for what is shown."""
    from scratchlab.magics import register

    register(shell)
