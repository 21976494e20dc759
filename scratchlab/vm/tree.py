"""From unpacked packages to a system: the files that the packages' scripts would have written, and only the modules we need."""

import lzma
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from scratchlab.errors import HostError
from scratchlab.vm.recipe import BUSYBOX_NAMES, SETUID, Recipe

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
    "student:x:1000:1000::/home/student:/bin/bash\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\nstudent:x:1000:\n",
    "etc/shadow": "root:*:1:0:99999:7:::\nstudent:*:1:0:99999:7:::\n",
    "etc/subuid": "student:100000:65536\n",
    "etc/subgid": "student:100000:65536\n",
    "etc/hosts": "127.0.0.1 localhost lab\n",
    "etc/hostname": "lab\n",
    # Empty: a name server that does not answer costs five seconds for each name, and there is no network by default.
    "etc/resolv.conf": "",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/os-release": 'PRETTY_NAME="Scratchlab machine"\nNAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME={suite}\n',
    "etc/profile": "PS1='\\[\\e[1;32m\\]\\u@\\h\\[\\e[0m\\]:\\[\\e[1;34m\\]\\w\\[\\e[0m\\]\\$ '\nalias ls='ls --color=auto'\n",
}

_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "home/student", "srv", "var/tmp", "var/lib", "opt/py")


def lay(tree: Path, recipe: Recipe) -> None:
    """Write what no package brought."""
    for directory in _DIRECTORIES:
        (tree / directory).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        path = tree / name
        path.unlink(missing_ok=True)
        path.write_text(text.format(suite=recipe.suite) if "{suite}" in text else text)
    (tree / "root/.bashrc").write_text(". /etc/profile\n")
    for name in SETUID:
        if (program := tree / "usr/bin" / name).exists():
            program.chmod(0o4755)
    _name_programs(tree)
    _trust(tree)


def _name_programs(tree: Path) -> None:
    """The names that packages' scripts make: sh, awk, python3 and those that only busybox answers to."""
    names = {"sh": "dash", "awk": "gawk", "pager": "less", **dict.fromkeys(BUSYBOX_NAMES, "busybox")}
    for name, program in names.items():
        if not any(
            (tree / "usr" / place / name).is_symlink() or (tree / "usr" / place / name).exists() for place in ("bin", "sbin")
        ):
            (tree / "usr/bin" / name).symlink_to(program)
    # Debian keeps two kinds of iptables in its alternatives; neither is here. What nft has is all there is.


def _trust(tree: Path) -> None:
    """All certificates in one file, as update-ca-certificates(8) does it."""
    certificates = sorted((tree / "usr/share/ca-certificates").rglob("*.crt"))
    target = tree / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(path.read_bytes() for path in certificates))


def prune(tree: Path, patterns: Iterable[str]) -> None:
    """Remove what is of no use in a guest."""
    for pattern in patterns:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


# -- kernel modules ---------------------------------------------------------------------------------------------------


def keep_modules(tree: Path, wanted: Sequence[str]) -> None:
    """Remove all kernel modules but these and what they need, and index the rest. A name may be built in."""
    root = modules_directory(tree)
    files = {_module_name(path): path for path in root.rglob("*.ko*")}
    kept = with_dependencies(files, wanted)
    for name, path in files.items():
        if name in kept:
            _unsign(path)
        else:
            path.unlink()
    if runs_here(tree):  # else the guest does it, when it boots for the first time
        run_tool(tree, "depmod", "-b", str(tree), root.name)


def modules_directory(tree: Path) -> Path:
    """The directory of the one kernel's modules."""
    found = sorted((tree / "usr/lib/modules").glob("[0-9]*"))
    if not found:
        raise HostError("the kernel's package brought no modules", "remove the cache directory, and build again")
    return found[-1]


def with_dependencies(files: dict[str, Path], wanted: Iterable[str]) -> list[str]:
    """These modules and those they need, in the order to load them; names that are not files are left out."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in files and name not in order:
            for needed in module_needs(_content(files[name])):
                add(needed)
            order.append(name)

    for name in wanted:
        add(name.replace("-", "_"))
    return order


def module_needs(content: bytes) -> list[str]:
    """The modules that a module says it depends on, in its section .modinfo.  modinfo(8)"""
    found = re.search(rb"\0depends=([^\0]*)\0", content)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def boot_modules(tree: Path, wanted: Sequence[str]) -> list[Path]:
    """The files to load, in order, for these modules."""
    files = {_module_name(path): path for path in modules_directory(tree).rglob("*.ko")}
    return [files[name] for name in with_dependencies(files, wanted)]


def _module_name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


_SIGNED = b"~Module signature appended~\n"


def _unsign(path: Path) -> None:
    """Unpack a module and take its signature off: to check one costs an emulated processor more than to load the module."""
    data = _content(path)
    if data.endswith(_SIGNED):
        (length,) = struct.unpack(">I", data[-len(_SIGNED) - 4 : -len(_SIGNED)])
        data = data[: -len(_SIGNED) - 12 - length]
    path.unlink()
    path.with_name(path.name.removesuffix(".xz")).write_bytes(data)


# -- programs of the tree, run here -----------------------------------------------------------------------------------


def run_tool(tree: Path, name: str, *words: str) -> None:
    """Run a tool: the tree's own, by its own loader and libraries, or this machine's for another kind of processor."""
    command = _own(tree, name) if runs_here(tree) else [_on_this_machine(name)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise HostError(f"{name} failed: {lines[-1]}", "see whether the disk is full: df")


def runs_here(tree: Path) -> bool:
    """Whether this machine can run the tree's programs."""
    try:
        return bool(loader(tree)) and subprocess.run(_own(tree, "true"), capture_output=True, check=False).returncode == 0
    except OSError:  # of another kind of processor
        return False


def python_of(tree: Path) -> str:
    """The version of the tree's Python, such as 3.11."""
    return next(path.name.removeprefix("python") for path in (tree / "usr/bin").glob("python3.[0-9]*"))


def own_python(tree: Path) -> list[str]:
    """How to run the tree's Python here."""
    return _own(tree, f"python{python_of(tree)}")


def _own(tree: Path, name: str) -> list[str]:
    places = [tree / "usr" / place / name for place in ("bin", "sbin")]
    program = next(path for path in places if path.is_symlink() or path.exists())
    libraries = ":".join(str(path) for path in (tree / "usr/lib").glob("*-linux-gnu"))
    return [str(loader(tree)), "--argv0", name, "--library-path", libraries, str(_followed(tree, program))]


def loader(tree: Path) -> Path | None:
    """The tree's program loader.  ld.so(8)"""
    return next((_followed(tree, path) for path in (tree / "usr").glob("lib*/ld-linux*.so.*")), None)


def _followed(tree: Path, path: Path) -> Path:
    """Where links lead to. One to /bin/kmod means that of the tree, and not this machine's."""
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / os.readlink(path)))
        path = path if path.is_relative_to(tree) else tree / path.relative_to("/")
    return path


def _on_this_machine(name: str) -> str:
    # An ordinary user's PATH on Debian lacks the directories of these tools.
    path = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if not path:
        raise HostError(
            f"{name} is not installed, and an image for another kind of processor needs it here", f"apt-get install {name}"
        )
    return path
