"""The machine that QEMU makes: its parts, and the words that say so on QEMU's command line.  qemu(1)"""

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# mitigations=off and what follows make an emulated boot quicker: a guest is nobody's but its one user's. A test or an attack
# that may only run where nothing can be lost looks for scratchlab.disposable=1 in /proc/cmdline.
_APPEND = (
    "quiet loglevel=3 panic=-1 oops=panic mitigations=off nokaslr apparmor=0 lsm=landlock cryptomgr.notests "
    "rcupdate.rcu_expedited=1 scratchlab.disposable=1 console={console}"
)

# What QEMU calls itself in the learner's network; it asks this computer's name servers.
RESOLVER = "10.0.2.3"


@dataclass(frozen=True)
class Board:
    """What differs between kinds of machines."""

    machine: str  # QEMU's name for the board
    processor: str  # which to emulate
    console: str
    append: str = ""


BOARDS = {
    # Not microvm: its kernel finds no clock to measure the processor by, and one boot of five hangs.
    "x86_64": Board("q35", "Nehalem-v1", "ttyS0", "no_timer_check noreplace-smp tsc=reliable 8250.nr_uarts=1"),
    "aarch64": Board("virt", "cortex-a72", "ttyAMA0"),
}


@dataclass(frozen=True)
class Hardware:
    """One machine's parts. A snapshot is of use to an equal one only."""

    kind: str = "x86_64"
    accelerator: str = "tcg"
    memory: int = 512  # MB; the host gives what is used
    cpus: int = 1

    @property
    def board(self) -> Board:
        """Its main board."""
        return BOARDS[self.kind]

    @property
    def processor(self) -> str:
        """Its processor: this machine's own where it is not emulated."""
        return self.board.processor if self.accelerator == "tcg" else "host"

    @property
    def append(self) -> str:
        """The kernel's command line."""
        return f"{_APPEND.format(console=self.board.console)} {self.board.append}".strip()


def this_computer() -> str:
    """What its processor calls itself.

    A snapshot counts on its speed, and several computers may share a home directory.
    """
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@dataclass(frozen=True)
class Start:
    """Where a machine starts from: a kernel, or a snapshot."""

    disk: Path
    ram: Path | None = None  # a file that holds its memory
    saves: bool = False  # whether what it writes to disk and memory is kept, for a snapshot to be taken
    kernel: Path | None = None
    initrd: Path | None = None
    more: str = ""  # words for the kernel's command line
    incoming: bool = False  # whether its state comes from a snapshot


def words(hardware: Hardware, start: Start, open_network: bool, console: str) -> list[str]:
    """QEMU's words for this machine, but for the control connections."""
    backend = ",memory-backend=ram" if start.ram else ""
    multi = ",thread=multi" if hardware.accelerator == "tcg" else ""
    command = [
        "-name", "scratchlab", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-rtc", "base=utc,clock=host",
        "-accel", hardware.accelerator + multi, "-cpu", hardware.processor, "-M", hardware.board.machine + backend,
        "-smp", str(hardware.cpus), "-m", str(hardware.memory),
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
    ]  # fmt: skip
    if start.ram:
        shared = "on" if start.saves else "off"
        command += [
            "-object",
            f"memory-backend-file,id=ram,mem-path={_escaped(start.ram)},size={hardware.memory}M,share={shared}",
        ]
    if start.kernel:
        command += [
            "-kernel",
            str(start.kernel),
            "-initrd",
            str(start.initrd),
            "-append",
            f"{hardware.append} {start.more}".strip(),
        ]
    if start.incoming:
        command += ["-incoming", "defer"]
    return command + _devices(start, open_network)


def _devices(start: Start, open_network: bool) -> list[str]:
    # A full disk of ours is an I/O error in the guest; by default the guest would stop, without a word.
    drive = f"if=none,id=disk,format=raw,cache=unsafe,werror=report,file={_escaped(start.disk)}"
    return [
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control,name=scratchlab",
        "-device", "virtio-rng-pci",
        "-drive", drive + f",snapshot={'off' if start.saves else 'on'}", "-device", "virtio-blk-pci,drive=disk",
        *_network("learner", "10.0.2.0/24", "52:54:00:12:34:56", restrict=not open_network),
        *_network("own", "10.0.3.0/24", "52:54:00:12:34:57", restrict=True),
    ]  # fmt: skip


def _network(name: str, net: str, mac: str, restrict: bool) -> list[str]:
    user = f"user,id={name},ipv6=off,net={net},restrict={'on' if restrict else 'off'}"
    return ["-netdev", user, "-device", f"virtio-net-pci,netdev={name},mac={mac},romfile="]


def _escaped(path: Path) -> str:
    """A path within an option of QEMU, where a comma ends it."""
    return str(path).replace(",", ",,")
