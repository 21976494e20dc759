"""How Jupyter learns of our kernels: a directory for each, in one of the places where it looks.

scratchlab            the library in a machine of its own, as root: the usual one
scratchlab-local      on this machine itself, as root, for those who mean it
scratchlab-rootless   on this machine, as root of a user namespace
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab.errors import HostError, InputError
from scratchlab.vm.cache import built_aside

JUPYTER = Path(__file__).with_name("jupyter")  # a directory as those in which Jupyter looks for kernels and more
_OURS = JUPYTER / "kernels"


class Installed(NamedTuple):
    """One of our kernels, where Jupyter finds it."""

    name: str
    directory: Path
    spec: dict[str, Any]

    @property
    def works(self) -> bool:
        """Whether the Python that it would be started with is there."""
        return bool(shutil.which(self.spec["argv"][0]))


def names() -> list[str]:
    """The names of our kernels, the usual one first."""
    return sorted(path.parent.name for path in _OURS.glob("*/kernel.json"))


def install(directory: Path, chosen: list[str], more: list[str]) -> list[Path]:
    """Put kernels below a directory of Jupyter's; the usual one with `more` words for its launcher. Gives their places."""
    unknown = [name for name in chosen if name not in names()]
    if unknown:
        raise InputError(f"there is no kernel {unknown[0]!r}", f"choose of: {', '.join(names())}")
    return [_install(directory / "kernels", name, more if name == "scratchlab" else []) for name in chosen or names()]


def _install(kernels: Path, name: str, more: list[str]) -> Path:
    spec = json.loads((_OURS / name / "kernel.json").read_text())
    # This Python by its whole path: VS Code and a Jupyter in another environment would take their own for "python".
    spec["argv"] = [sys.executable, *spec["argv"][1:-1], *more, spec["argv"][-1]]
    try:
        shutil.rmtree(kernels / name, ignore_errors=True)
        with built_aside(kernels / name) as place:
            (place / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")
    except OSError as error:
        raise HostError(
            f"cannot write in {kernels}: {error.strerror}", "try --user, or as whom the directory belongs to"
        ) from None
    return kernels / name


def find() -> list[Installed]:
    """Our kernels as they are installed for this user, in the order in which Jupyter looks."""
    from jupyter_core.paths import jupyter_path

    paths = [path for place in jupyter_path("kernels") for path in sorted(Path(place).glob("scratchlab*/kernel.json"))]
    return [Installed(path.parent.name, path.parent, spec) for path in paths if (spec := _ours(path))]


def _ours(path: Path) -> dict[str, Any]:
    """What a kernel.json says if it starts a launcher of ours, or {}."""
    try:
        spec: dict[str, Any] = json.loads(path.read_text())
        return spec if spec["display_name"] and spec["argv"][1:3] == _spec(path.parent.name)["argv"][1:3] else {}
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not as Jupyter wants it
        return {}


def _spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((_OURS / name / "kernel.json").read_text())
    return spec


def remove(directory: Path | None) -> list[Path]:
    """Remove our kernels from below a directory of Jupyter's, or from all. Gives where they were."""
    removed = []
    for kernel in [kernel for kernel in find() if not directory or kernel.directory.is_relative_to(directory)]:
        try:
            shutil.rmtree(kernel.directory)
        except OSError as error:
            raise HostError(f"cannot remove {kernel.directory}: {error.strerror}", "ask whom the directory belongs to") from None
        removed.append(kernel.directory)
    return removed


def place(user: bool, prefix: bool) -> Path:
    """The directory of Jupyter's that these options mean; by default the environment's if we run in one, else the user's."""
    from jupyter_core.paths import jupyter_data_dir

    in_environment = sys.prefix != sys.base_prefix or bool(os.environ.get("CONDA_PREFIX"))
    if prefix or (in_environment and not user):
        return Path(sys.prefix, "share", "jupyter")
    return Path(jupyter_data_dir())
