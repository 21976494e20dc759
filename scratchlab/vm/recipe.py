"""What is in the machine: its packages, its Python, the kernel modules that the lessons need.

The hash of a recipe names the image that is built from it. So an image is built once, and again only when this file says
something else.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from scratchlab.errors import InputError

# The first that the machine's package sources know: Debian's kernel for clouds is small and starts quickly.
KERNELS = ("linux-image-cloud-{debian}", "linux-image-virtual", "linux-image-{debian}", "linux-image-generic")

PACKAGES = (
    # a small system
    "busybox-static", "dash", "bash", "coreutils", "tar", "grep", "sed", "gawk", "findutils", "util-linux", "mount", "procps",
    "kmod", "e2fsprogs", "passwd", "login", "ca-certificates", "libstdc++6", "python3-minimal", "libpython3-stdlib",
    # what lessons look with, and what they load
    "iproute2", "iputils-ping", "nftables", "curl", "strace", "iperf3", "stress-ng", "libcap2-bin", "tmux", "socat", "less",
    "psmisc", "lsof", "ncurses-base", "uidmap", "hostname",
    "libc-bin", "linux-libc-dev", "golang-github-containers-common",
    # the engines that Scratchlab is compared with, and what gives an ordinary user a network
    "runc", "crun", "bubblewrap", "passt", "slirp4netns",
)  # fmt: skip

# Packages that others depend on, and that this machine has no use for: apt is told that they are there already.
PRETENDED = (
    "perl", "perl-base", "perl-modules-5.36", "perl-modules-5.38", "perl-modules-5.40", "libperl5.36", "dpkg",
    "openssl", "debconf", "usrmerge", "init-system-helpers", "initramfs-tools", "initramfs-tools-core", "linux-initramfs-tool",
    "libpam-runtime", "criu",
)  # fmt: skip

# The first few find the disk; the first initial file system holds them.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
DEVICE_MODULES = ("virtio_net", "virtio_console", "virtio_rng")
LESSON_MODULES = (
    "overlay", "fuse", "loop", "binfmt_misc", "configs", "tun", "veth", "bridge", "br_netfilter", "macvlan", "ipvlan", "vxlan",
    "dummy", "ifb", "8021q", "af_packet", "tcp_bbr", "inet_diag", "tcp_diag", "unix_diag", "udp_diag", "nf_tables",
    "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct", "nft_redir", "nft_reject_inet", "nft_reject_ipv4", "nft_limit", "nft_log",
    "nft_fib_inet", "nft_compat", "nft_socket", "xt_MASQUERADE", "xt_conntrack", "xt_addrtype", "xt_comment", "xt_nat", "xt_mark",
    "iptable_nat", "iptable_filter", "ip6table_filter", "nf_conntrack_netlink", "nfnetlink_log", "ip_vs", "sch_netem", "sch_tbf",
    "sch_htb", "sch_ingress", "sch_fq_codel", "cls_u32", "act_mirred",
)  # fmt: skip

# The library's own dependencies, and what its tests need.
WHEELS = (
    "ipykernel>=6.29",
    "ipywidgets>=8.1",
    "pyroute2>=0.9.4",
    "cloudpickle>=3",
    "pytest>=8",
    "hypothesis>=6",
    "pexpect>=4.9",
    "nbclient>=0.10",
    "nbval>=0.11",
    "coverage",
)

# Left out of the image; all of it is documentation, or data for other uses than ours.
LEFT_OUT = (
    "opt/py/bin", "opt/py/share/man", "opt/py/share/jupyter/nbextensions", "opt/py/share/jupyter/labextensions",
    "opt/py/debugpy*", "opt/py/tzdata*", "opt/py/*/tests",
    "opt/py/jedi/third_party/django-stubs", "opt/py/jedi/third_party/typeshed/stubs", "usr/lib/python3*/test",
    "usr/lib/python3*/lib2to3", "usr/lib/python3*/idlelib", "usr/lib/python3*/ensurepip", "usr/lib/python3*/pydoc_data",
    "usr/lib/systemd", "usr/lib/udev", "usr/lib/*-linux-gnu/gconv", "usr/lib/*-linux-gnu/perl*", "usr/share/doc",
    "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man", "usr/share/perl*", "usr/share/bug",
    "usr/share/bash-completion", "usr/share/zsh", "usr/share/initramfs-tools", "usr/share/stress-ng",
    "var/cache", "var/lib/dpkg",
)  # fmt: skip

# Programs that ordinary users start with root's rights.
SETUID = ("su", "mount", "umount", "newuidmap", "newgidmap", "newgrp")

# Names that busybox goes by where no package brought the program.
BUSYBOX_NAMES = (
    "wget", "vi", "nc", "httpd", "telnet", "traceroute", "arp", "netstat", "ifconfig", "route", "brctl", "diff", "cmp", "ping",
    "clear", "which", "hexdump", "gzip", "gunzip", "ps", "free", "watch", "killall", "pstree", "unzip", "bzip2", "xz", "patch",
)  # fmt: skip

DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Recipe:
    """All that decides what an image holds."""

    machine: str = "x86_64"
    suite: str = ""
    packages: tuple[str, ...] = PACKAGES
    pretended: tuple[str, ...] = PRETENDED
    kernels: tuple[str, ...] = KERNELS
    modules: tuple[str, ...] = (*BOOT_MODULES, *DEVICE_MODULES, *LESSON_MODULES)
    wheels: tuple[str, ...] = WHEELS
    left_out: tuple[str, ...] = LEFT_OUT
    version: int = 1  # of the code that assembles it

    def __post_init__(self) -> None:
        if self.machine not in DEBIAN_NAMES:
            raise InputError(f"there is no recipe for a {self.machine!r} machine", f"choose one of: {', '.join(DEBIAN_NAMES)}")

    @property
    def hash(self) -> str:
        """The name of what this recipe makes."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def debian(self) -> str:
        """The machine, as Debian's packages call it."""
        return DEBIAN_NAMES[self.machine]


def default_machine() -> str:
    """The kind of machine that this one is, since a guest of the same kind may run without emulation."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def release() -> str:
    """The release of the distribution whose packages this machine gets, such as bookworm; '' if it does not say."""
    for line in _lines(Path("/etc/os-release")):
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip("\"'")
    return ""


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
