"""The machine around it: a place for journals, programs for root filesystems, hardware for a virtual machine."""

import fcntl
import os

from scratchlab.doctor.attempt import Attempt, scratch
from scratchlab.errors import HostError
from scratchlab.journal import Journal
from scratchlab.rootfs import create
from scratchlab.vm import accelerator, image, qemu
from scratchlab.vm.recipe import default_machine

_KVM_CREATE_VM = 0xAE01  # linux/kvm.h


def _journal() -> None:
    Journal.claim("doctor").close()


def _busybox() -> None:
    create(f"{scratch()}/rootfs", "busybox")


def _kvm() -> None:
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"/dev/kvm: {error.strerror}", "switch on virtualization in the firmware; join the group kvm") from None
    os.close(fcntl.ioctl(fd, _KVM_CREATE_VM, 0))
    # Inside some virtual machines it answers all this, and then a guest stands still. Only a boot tells, which wants an image.
    program, built = qemu.find(default_machine()), image.find(default_machine())
    if program and built and accelerator.choose(program, built) == accelerator.EMULATION:
        raise HostError("/dev/kvm opens, and a guest does not boot on it", "nothing: guests are emulated")


ATTEMPTS = [
    Attempt(
        "a place for journals", _journal, ("cpu", "veth", "nat", "mount_points"), (0,), "needs a /run that can be written to",
    ),
    Attempt(
        "a root filesystem of busybox", _busybox, (), (2,), "or make one of this machine's programs: --from host", needed=False,
    ),
    Attempt("KVM", _kvm, (), (11, 12, 15, 18), "a virtual machine without it works, only slower", needed=False),
]  # fmt: skip
