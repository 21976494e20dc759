"""The container: all steps, composed. The plan is a list; what has to come before what is said on its line."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab.errors import GoneError, InputError, SandboxError
from scratchlab.journal import Entries
from scratchlab.rootfs.check import PATH, CommandError, check_rootfs
from scratchlab.sandbox.client import KeeperLike
from scratchlab.sandbox.run import Finished, Sink
from scratchlab.sandbox.sandbox import Sandbox
from scratchlab.sandbox.steps import pack, unpack
from scratchlab.stages import STAGES, Step, about, cgroups, filesystem, namespaces, network, privileges, step
from scratchlab.stages.sizes import machine_memory

# 2 GB, or all that the machine has.
DEFAULT_MEMORY = "2G" if machine_memory() >= 2 << 30 else str(machine_memory())
NETWORKS = ("veth", "none", "host")

# Which stage keeps the host out of what others do to a kind of namespace. Shared mounts travel to the host.  mount_namespaces(7)
APART = {"unshare_uts": "uts", "unshare_mount": "mnt", "private_mounts": "mnt", "unshare_net": "net"}


class Container(NamedTuple):
    """What to run, and how far apart from the rest of the machine.

    `rootfs` is a directory that holds a root filesystem; `command`, the words of the command as seen from inside it.
    """

    rootfs: str
    command: tuple[str, ...]
    name: str = ""  # as `scratchlab ps` shows it; made from the command if empty
    hostname: str = "container"
    cpus: float | str | None = 0.2  # a share of one CPU: 0.2 is 20 %
    memory: int | str | None = DEFAULT_MEMORY  # bytes, or with K, M, G
    pids: int | str | None = 512
    env: Mapping[str, str] = {}
    workdir: str | None = None
    user: str | None = None  # name or uid, [:group or gid], looked up in the root filesystem
    volumes: tuple[str, ...] = ()  # SRC:DST[:ro]
    network: str = "veth"
    publish: tuple[str, ...] = ()  # [IP:]HOST:CONTAINER[/udp]
    read_only: bool = False
    chroot: bool = False  # the seed's way, which lesson 2 breaks
    left_out: frozenset[str] = frozenset()  # stages by name

    def plan(self) -> list[Step]:
        """All steps in order. Touches nothing; raises InputError for what cannot be right."""
        root = self._root()
        steps = [
            *self._limits(),  # first: they must cover all that follows
            step(namespaces.unshare_uts),
            step(namespaces.hostname, self.hostname),
            step(namespaces.unshare_ipc),
            *self._network(),
            step(namespaces.unshare_pid),  # before /proc is mounted, which shows this namespace
            step(filesystem.mount_points, root, *self._mount_points()),  # by the host: from inside, nothing may be left
            step(namespaces.unshare_mount),
            step(filesystem.private_mounts),  # before any mount, or the host gets it too
            *([step(filesystem.bind, root, root)] if self.chroot and self.read_only else []),  # only a mount can be read-only
            *([step(network.resolv, root=root)] if self.network == "veth" else []),
            *(step(filesystem.bind, source, target, readonly, root=root) for source, target, readonly in self._volumes()),
            step(filesystem.chroot if self.chroot else filesystem.pivot, root),  # after the last mount that needs a host path
            step(filesystem.proc),
            step(filesystem.sysfs),  # after the network namespace, which decides what /sys/class/net shows
            step(filesystem.devices),
            step(filesystem.mask),
            step(filesystem.readonly),
            *([step(filesystem.readonly, "/")] if self.read_only else []),  # after /dev and all other mounts on it
            # After our own set-up, which a fifth of a CPU would make five times as long, and before the first command.
            *_limit("--cpus", "0.2", cgroups.cpu, self.cpus, cgroups.cpu_quota),
            step(namespaces.unshare_cgroup),  # after all limits, whose groups become its root
            *self._privileges(root),
        ]
        return self._leave_out(steps)

    def without(self, *stages: str) -> "Container":
        """The same container with some stages left out, by name: to see what each is for."""
        return self._replace(left_out=self.left_out | set(stages))

    def check(self) -> None:
        """Look at the root filesystem for what would make the command fail. Raises InputError that says exactly what."""
        if filesystem.pivot.__name__ not in self.left_out and filesystem.chroot.__name__ not in self.left_out:
            try:
                search, workdir = self.environment()["PATH"], self.workdir or "/"
                check_rootfs(self.rootfs, self.command[0] if self.command else None, search, workdir)
            except CommandError:
                if not self.volumes:  # one may bring the command; then execve(2) will tell
                    raise

    def run(self, *, input: str | bytes = b"", timeout: float | None = None, stream: bool | Sink = False) -> Finished:
        """Run the command and wait for it. Nothing of the container is left afterwards."""
        with self.started() as box:
            finished = box.run(
                *self.command,
                input=input,
                timeout=timeout,
                env=self.environment(),
                inherit=False,
                cwd=self.workdir or "/",
                stream=stream,
            )
            return finished._replace(note=self.why_killed(box, finished.code))

    @contextmanager
    def started(self, keeper: KeeperLike | None = None, first: Sequence[Step] = ()) -> Iterator[Sandbox]:
        """The container with everything in place but the command: a sandbox, gone when the `with` block ends.

        `first` are steps before the plan's own: the mistakes of a runtime, in `scratchlab.trials`.
        """
        plan = self.plan()
        self.check()
        facts = {"command": list(self.command), "again": self._steps_of_exec()}
        box = Sandbox(
            self.name or self._made_up_name(),
            keeper=keeper,
            exact=bool(self.name),
            facts=facts,
            controllers=self._controllers(),
            init=any(item.stage is namespaces.unshare_pid for item in plan),
        )
        try:
            self._build(box, [*first, *plan])
            # Only now may `scratchlab exec` enter: at any moment before, it would have found itself with the host's files.
            box.note(init=box.pid, env=self.environment(), workdir=self.workdir)
            yield box
        finally:
            box.close()

    def environment(self) -> dict[str, str]:
        """The environment of the command: nothing of ours but the terminal's kind."""
        terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
        return {"PATH": PATH, "HOME": self._home(), "HOSTNAME": self.hostname, **terminal, **self.env}

    def why_killed(self, box: Sandbox, code: int) -> str:
        """What to say of a command that ended with `code`: the kernel's out-of-memory killer leaves a counter."""
        # 128 + SIGKILL is also what a shell says whose command was killed.
        if code == 137 and self.memory is not None and box.oom_kills():
            return f"killed: out of memory, limit {_human(cgroups.parse_size(self.memory))}"
        return ""

    def _build(self, box: Sandbox, plan: list[Step]) -> None:
        try:
            # Born as pid 1 already, by clone3: one fork less, and no process that only waits. docs/decisions/0006
            box.play(item for item in plan if item.stage is not namespaces.unshare_pid)
        except GoneError:
            if not (why := self.why_killed(box, 137)):
                raise
            raise SandboxError(f"the container could not be built: {why}", "give more: our own set-up needs some too") from None

    # -- parts of the plan --------------------------------------------------------------------------------------------

    def _limits(self) -> list[Step]:
        return [
            *_limit("--memory", "512M", cgroups.memory, self.memory, cgroups.memory_size),
            *_limit("--pids", "512", cgroups.pids, self.pids, cgroups.process_count),
        ]

    def _controllers(self) -> list[str]:
        """The trees of control groups to be born in; the limits come with their steps."""
        wanted = {"memory": self.memory, "cpu": self.cpus, "pids": self.pids}
        return [name for name, limit in wanted.items() if limit is not None and name not in self.left_out]

    def _network(self) -> list[Step]:
        if self.network not in NETWORKS:
            raise InputError(f"--network {self.network}: no such network", f"choose one of {', '.join(NETWORKS)}")
        if self.publish and self.network != "veth":
            raise InputError(f"--publish needs a network of its own, and --network is {self.network}", "leave out --network")
        ports = [network.parse_publish(text) for text in self.publish]  # a malformed one is found before anything is made
        if twice := [str(port.host) for number, port in enumerate(ports) if port._replace(container=0) in _hosts(ports[:number])]:
            raise InputError(f"--publish: port {', '.join(twice)} of the host is given twice", "a port can lead to one place")
        if self.network == "host":
            return []
        alone = [step(namespaces.unshare_net), step(network.loopback)]
        if self.network == "none":
            return alone
        published = [step(network.publish, text) for text in self.publish]
        # nat before the others: they are in its table.
        return [*alone, step(network.veth), step(network.nat), step(network.input_drop), *published]

    def _privileges(self, root: str) -> list[Step]:
        return [
            step(privileges.capabilities),  # while there is the one that it takes to drop them
            *([step(privileges.user, *self._user(root))] if self.user else []),
            step(privileges.no_new_privs),  # last: nothing that follows could give back what is gone
        ]

    def _steps_of_exec(self) -> list[dict[str, Any]]:
        """The privileges again, for `scratchlab exec`: what joins the container must not be stronger than it."""
        kept = self._leave_out(self._privileges(self._root()), check=False)
        return [pack(item) for item in kept]

    def _leave_out(self, steps: list[Step], check: bool = True) -> list[Step]:
        unknown = self.left_out - set(STAGES)
        if unknown:
            raise InputError(f"--without {' '.join(sorted(unknown))}: no such stage", f"stages: {' '.join(sorted(STAGES))}")
        kept = [item for item in steps if item.name not in self.left_out]
        if check:
            self._refuse_harm(kept)
        return kept

    def _refuse_harm(self, steps: list[Step]) -> None:
        """A stage whose namespace is left out would act on the host itself: never, whatever was asked."""
        there = {item.name for item in steps}
        for first, kind in APART.items():
            harmed = [item.name for item in steps if kind in about(item.stage).needs]
            if harmed and first not in there:
                raise InputError(
                    f"without {first}, these stages would act on the host itself: {', '.join(dict.fromkeys(harmed))}",
                    "leave them out too: " + " ".join(f"--without {name}" for name in dict.fromkeys([first, *harmed])),
                )

    def _root(self) -> str:
        return os.path.realpath(self.rootfs)

    def _mount_points(self) -> list[str]:
        files = [target + ("" if Path(source).is_dir() else ":file") for source, target, _ in self._volumes()]
        return ["/proc", "/sys", "/dev", *files]

    def _volumes(self) -> list[tuple[str, str, bool]]:
        return [parse_volume(text) for text in self.volumes]

    def _user(self, root: str) -> tuple[int, int, list[int]]:
        passwd, group = (_text(Path(root, "etc", name)) for name in ("passwd", "group"))
        uid, gid, groups = privileges.parse_user(self.user or "0", passwd, group)
        return uid, gid, list(groups)

    def _home(self) -> str:
        """The user's home directory, by the root filesystem's passwd(5)."""
        root = self._root()
        uid = str(self._user(root)[0])
        users = [line.split(":") for line in _text(Path(root, "etc/passwd")).splitlines()]
        return next((fields[5] for fields in users if len(fields) > 5 and fields[2] == uid), "/root" if uid == "0" else "/")

    def _made_up_name(self) -> str:
        word = "".join(c for c in Path(self.command[0]).name if c.isascii() and (c.isalnum() or c in "-_"))[:20] or "container"
        return f"{word if word[0].isalnum() else 'c' + word}-{os.urandom(2).hex()}"


@contextmanager
def entered(found: Entries, keeper: KeeperLike) -> Iterator[Sandbox]:
    """A sandbox that has joined a running container: its limits, its namespaces, its root, its privileges."""
    init: int = found.facts["init"]
    again = [unpack(data) for data in found.facts["again"]]
    box = Sandbox(f"{found.name[:34]}-exec", keeper=keeper, facts={"enters": found.name})
    try:
        box.play([step(cgroups.join_groups, init), step(namespaces.join, init), *again])
        yield box
    finally:
        box.close()


def _limit(option: str, example: str, stage: Callable[..., Any], asked: Any, check: Callable[[Any], object]) -> list[Step]:
    """A step that sets a limit, or none. Raises InputError for what could not be set, before anything is made."""
    if asked is None:
        return []
    try:
        check(asked)
    except InputError as error:
        raise InputError(
            f"{option} {asked}: {error.message}", error.hint or f"for example {option} {example}, or {option} none"
        ) from None
    return [step(stage, asked)]


def _hosts(ports: list[network.Port]) -> list[network.Port]:
    return [port._replace(container=0) for port in ports]


def parse_volume(text: str) -> tuple[str, str, bool]:
    """`SRC:DST[:ro|:rw]` as (host path, path inside, read-only). Raises InputError."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise InputError(f"--volume {text}: not SRC:DST[:ro]", "DST is an absolute path inside, as in --volume ./data:/data:ro")
    if not Path(source).exists():
        raise InputError(f"--volume {text}: {source} does not exist on the host", f"make it first: mkdir -p {source}")
    return os.path.realpath(source), target, mode == "ro"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _human(size: int) -> str:
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
