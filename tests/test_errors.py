"""Errors: what they say, that live facts decide the hint, and that they survive a trip to another process."""

import copy
import errno
import os
import pickle
from pathlib import Path

import pytest

from scratchlab import errors, linux
from scratchlab.errors import (
    HostError,
    InputError,
    KernelError,
    SandboxError,
    ScratchlabError,
    StageError,
    from_wire,
    to_wire,
)
from scratchlab.linux import CapSets, Clone
from tests.conftest import in_child, needs_root

KINDS = [StageError, InputError, HostError, SandboxError, ScratchlabError]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = {line.split()[1] for line in (errors.__doc__ or "").splitlines() if "──" in line}
    assert drawn == {kind.__name__ for kind in descendants(ScratchlabError) if kind.__module__ == errors.__name__}


def descendants(kind: type[ScratchlabError]) -> set[type[ScratchlabError]]:
    return set(kind.__subclasses__()).union(*(descendants(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_and_then_what_to_do(kind: type[ScratchlabError]) -> None:
    assert str(kind("it is so", "do this")) == "it is so\n  hint: do this"
    assert str(kind("it is so")) == "it is so"


def test_errors_are_also_what_python_programmers_catch() -> None:
    assert issubclass(KernelError, OSError)
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("error", [*(kind("m", "h") for kind in KINDS), KernelError("mount", {"a": "1"}, errno.EBUSY, "h")])
def test_errors_survive_the_wire_and_pickle_and_copy(error: ScratchlabError) -> None:
    for twin in (from_wire(to_wire(error)), pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert getattr(twin, "errno", None) == getattr(error, "errno", None)


def test_a_strangers_error_travels_as_a_sandbox_error_and_an_unknown_kind_as_the_base() -> None:
    assert str(from_wire(to_wire(ZeroDivisionError("by nothing")))) == "ZeroDivisionError: by nothing"
    assert type(from_wire({"kind": "SystemExit", "message": "m", "hint": ""})) is ScratchlabError


def test_a_hint_that_came_over_the_wire_is_not_looked_for_again() -> None:
    assert from_wire(to_wire(KernelError("unshare", {}, errno.EPERM, ""))).hint == ""


def without_capabilities() -> None:
    linux.capset(CapSets(0, 0, 0))


@pytest.mark.parametrize(
    ("capability", "act"),
    [
        ("CAP_SYS_ADMIN", lambda: linux.sethostname("x")),
        ("CAP_SYS_ADMIN", lambda: linux.unshare(Clone.NEWNS)),
        ("CAP_SYS_CHROOT", lambda: linux.chroot("/")),
        ("CAP_MKNOD", lambda: linux.mknod("/tmp/scratchlab-never-made", 0o020666, 0x103)),
        ("CAP_SETUID", lambda: linux.setresuid(7, 7, 7)),
        ("CAP_SETGID", lambda: linux.setresgid(7, 7, 7)),
        ("CAP_SETGID", lambda: linux.setgroups([7])),
    ],
)
@needs_root
def test_a_refusal_names_the_capability_that_is_missing(capability: str, act: object) -> None:
    with pytest.raises(KernelError, match=f"{capability} is missing"):
        in_child(lambda: (without_capabilities(), act()))  # type: ignore[operator]


@needs_root
def test_a_refusal_with_some_capabilities_says_how_to_see_them() -> None:
    def act() -> None:
        linux.capset(CapSets(1, 1, 0))
        linux.sethostname("x")

    with pytest.raises(KernelError, match="capsh --decode=0000000000000001"):
        in_child(act)


@needs_root
def test_a_refusal_inside_a_user_namespace_says_that_the_object_is_outside() -> None:
    def act() -> None:
        linux.unshare(Clone.NEWUSER)
        linux.sethostname("x")

    with pytest.raises(KernelError, match=r"another user namespace|restricts user namespaces"):
        in_child(act)


@needs_root
def test_without_proc_a_refusal_still_says_what_is_needed(tmp_path: Path) -> None:
    def act() -> None:
        os.chroot(tmp_path)
        without_capabilities()
        linux.sethostname("x")

    with pytest.raises(KernelError, match="the call needs CAP_SYS_ADMIN"):
        in_child(act)


@needs_root
def test_no_user_namespace_in_a_chroot_is_explained(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="in a chroot"):
        in_child(lambda: (os.chroot(tmp_path), linux.unshare(Clone.NEWUSER)))


def test_threads_are_counted_when_a_call_wants_only_one() -> None:
    import threading

    def act() -> None:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        try:
            linux.unshare(Clone.NEWUSER)
        finally:
            stop.set()
            thread.join()

    with pytest.raises(KernelError, match="2 threads"):
        in_child(act)


@needs_root
def test_entering_the_own_user_namespace_is_explained() -> None:
    def act() -> None:
        fd = os.open("/proc/self/ns/user", os.O_RDONLY)
        linux.setns(fd, Clone.NEWUSER)

    with pytest.raises(KernelError, match="in already"):
        in_child(act)


@needs_root
def test_a_namespace_whose_first_process_has_died_is_explained() -> None:
    def act() -> None:
        linux.unshare(Clone.NEWPID)
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        if linux.fork() == 0:
            os._exit(0)

    with pytest.raises(KernelError, match="pid 1 of the pid namespace"):
        in_child(act)


@needs_root
@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("no filesystem", lambda here: linux.mount("x", here, "nosuchfs")),
        ("not a mount point", lambda here: linux.umount2(here)),
        ("not a mount point", lambda here: linux.mount_setattr(here, attr_set=linux.MountAttr.RDONLY)),
        ("must be a mount point", lambda here: linux.pivot_root(here, here)),
        ("uses it|works there", lambda here: busy(here)),
    ],
)
def test_a_refused_mount_is_explained(tmp_path: Path, message: str, act: object) -> None:
    def in_own_mounts() -> None:
        linux.unshare(Clone.NEWNS)
        linux.mount(None, "/", None, linux.Mount.REC | linux.Mount.PRIVATE)
        act(str(tmp_path))  # type: ignore[operator]

    with pytest.raises(KernelError, match=message):
        in_child(in_own_mounts)


def busy(here: str) -> None:
    linux.mount("tmpfs", here, "tmpfs")
    os.chdir(here)
    linux.umount2(here)


def test_every_cause_gives_text_whatever_the_arguments() -> None:
    for (call, symbol), find in errors.CAUSES.items():
        assert isinstance(find({}), str), (call, symbol)
        assert symbol in errno.errorcode.values()
