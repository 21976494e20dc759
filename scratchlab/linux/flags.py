"""The kernel's flags by the kernel's names, as IntFlag and IntEnum, so that messages can say them."""

from enum import IntEnum, IntFlag


class Clone(IntFlag):
    """Which namespaces to leave or to join.  unshare(2), setns(2), clone(2)"""

    NEWTIME = 0x00000080
    FS = 0x00000200
    FILES = 0x00000400
    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000


# The names in /proc/PID/ns, in the order of namespaces(7), and the flag that makes a new one of each.
NAMESPACES: dict[str, Clone] = {
    "cgroup": Clone.NEWCGROUP,
    "ipc": Clone.NEWIPC,
    "net": Clone.NEWNET,
    "mnt": Clone.NEWNS,
    "pid": Clone.NEWPID,
    "time": Clone.NEWTIME,
    "user": Clone.NEWUSER,
    "uts": Clone.NEWUTS,
}


class Mount(IntFlag):
    """How to mount, and what to change on a mount.  mount(2)"""

    RDONLY = 1 << 0
    NOSUID = 1 << 1
    NODEV = 1 << 2
    NOEXEC = 1 << 3
    REMOUNT = 1 << 5
    NOSYMFOLLOW = 1 << 8
    NOATIME = 1 << 10
    BIND = 1 << 12
    MOVE = 1 << 13
    REC = 1 << 14
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    STRICTATIME = 1 << 24


class MountAttr(IntFlag):
    """What mount_setattr can set on mounts without touching the rest.  mount_setattr(2)"""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    IDMAP = 0x00100000
    NOSYMFOLLOW = 0x00200000


class OpenTree(IntFlag):
    """What open_tree gives: a mount, or a copy of it.  open_tree(2)"""

    CLONE = 0x0001
    RECURSIVE = 0x8000
    CLOEXEC = 0o2000000


class MoveMount(IntFlag):
    """How move_mount understands its paths.  move_mount(2)"""

    F_EMPTY_PATH = 0x0004
    T_SYMLINKS = 0x0010
    T_EMPTY_PATH = 0x0040


class At(IntFlag):
    """How a call that takes a directory and a path understands them.  open_tree(2), mount_setattr(2)"""

    SYMLINK_NOFOLLOW = 0x0100
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


class Umount(IntFlag):
    """How to take a mount away.  umount2(2)"""

    FORCE = 1
    DETACH = 2
    EXPIRE = 4
    NOFOLLOW = 8


class Resolve(IntFlag):
    """How openat2 may walk a path.  openat2(2)"""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


class InterfaceFlag(IntFlag):
    """The state of a network interface.  netdevice(7)"""

    UP = 1 << 0
    LOOPBACK = 1 << 3
    RUNNING = 1 << 6


class SeccompOp(IntEnum):
    """What seccomp(2) can be asked for; of strict mode, which came first, we make no use."""

    SET_MODE_FILTER = 1


class SeccompFlag(IntFlag):
    """How to install a filter.  seccomp(2)"""

    TSYNC = 1 << 0
    LOG = 1 << 1


class CloseRange(IntFlag):
    """What to do with a range of file descriptors instead of closing them at once.  close_range(2)"""

    UNSHARE = 1 << 1
    CLOEXEC = 1 << 2


class LandlockFs(IntFlag):
    """What Landlock can allow on files, in the order in which kernels learned it.  landlock(7)"""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class LandlockNet(IntFlag):
    """What Landlock can allow on TCP ports.  landlock(7)"""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


class LandlockScope(IntFlag):
    """What Landlock can keep to processes under the same rules.  landlock(7)"""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


class Cap(IntEnum):
    """The capabilities, by number.  capabilities(7)"""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_PACCT = 20
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TIME = 25
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31
    MAC_OVERRIDE = 32
    MAC_ADMIN = 33
    SYSLOG = 34
    WAKE_ALARM = 35
    BLOCK_SUSPEND = 36
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


class Prctl(IntEnum):
    """The operations of prctl that we use.  prctl(2)"""

    SET_PDEATHSIG = 1
    SET_DUMPABLE = 4
    SET_KEEPCAPS = 8
    SET_NAME = 15
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    SET_CHILD_SUBREAPER = 36
    SET_NO_NEW_PRIVS = 38
    GET_NO_NEW_PRIVS = 39
    CAP_AMBIENT = 47
    SET_PTRACER = 0x59616D61


class Ptrace(IntEnum):
    """The operations of ptrace that we use.  ptrace(2)"""

    TRACEME = 0
    PEEKDATA = 2
    CONT = 7
    ATTACH = 16
    DETACH = 17
    SYSCALL = 24
    SETOPTIONS = 0x4200
    GET_SYSCALL_INFO = 0x420E
