"""The container: all steps, composed. The plan is a list; what has to come before what is said on its line."""

import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scratchlab import auto, security
from scratchlab.auto import AUTO, Means
from scratchlab.errors import GoneError, HostError, InputError, SandboxError, facts
from scratchlab.finished import Finished, Sink
from scratchlab.journal import Entries
from scratchlab.options import connected, human, limit, name_servers, parse_volume
from scratchlab.rootfs.check import PATH, CommandError, check_rootfs
from scratchlab.sandbox.client import KeeperLike
from scratchlab.sandbox.sandbox import Sandbox
from scratchlab.sandbox.steps import pack, unpack
from scratchlab.stages import (
    STAGES,
    Step,
    about,
    cgroups,
    filesystem,
    id_maps,
    idmapped,
    kernel_files,
    namespaces,
    privileges,
    step,
    subids,
)
from scratchlab.stages.arguments import check_fields

# Which stage keeps the host out of what others do to a kind of namespace. Shared mounts travel to the host.  mount_namespaces(7)
APART = {"unshare_user": "user", "unshare_uts": "uts", "unshare_mount": "mnt", "private_mounts": "mnt", "unshare_net": "net"}

# Kinds that a container is born into, by clone3: one fork less for the pid namespace, and no process that only waits; and no
# moment in which an ordinary user's agent has no right to the others. docs/decisions/0006, 0008
BORN = {"unshare_user": "user", "unshare_pid": "pid"}

# Stages that return "", or what they could not do as usual.
TELLING = ("idmap", "sysfs")


class Container(NamedTuple):
    """What to run, and how far apart from the rest of the machine.

    `rootfs` is a directory that holds a root filesystem; `command`, the words of the command as seen from inside it.
    """

    rootfs: str
    command: tuple[str, ...]
    name: str = ""  # as `scratchlab ps` shows it; made from the command if empty
    hostname: str = "container"
    cpus: float | str | None = AUTO  # a share of one CPU: 0.2 is 20 %. "auto" is 0.2, or a note where no limit can be set
    memory: int | str | None = AUTO  # bytes, or with K, M, G; "auto" is 2G
    pids: int | str | None = AUTO  # "auto" is 512
    env: Mapping[str, str] = {}
    workdir: str | None = None
    user: str | None = None  # name or uid, [:group or gid], looked up in the root filesystem
    volumes: tuple[str, ...] = ()  # SRC:DST[:ro]
    network: str = AUTO  # of auto.NETWORKS; "auto" is the best that this user can have
    publish: tuple[str, ...] = ()  # [IP:]HOST:CONTAINER[/udp]
    read_only: bool = False
    cap_add: tuple[str, ...] = ()  # to AUDIT_WRITE, KILL and NET_BIND_SERVICE; DEFAULT is what docker leaves, ALL is all
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()  # seccomp=FILE, no-new-privileges=false …, as docker has it
    chroot: bool = False  # instead of pivot: the weaker wall, which lesson 2 breaks
    left_out: frozenset[str] = frozenset()  # stages by name
    userns: str = ""  # "auto" for ids that nobody else has; an ordinary user has a user namespace in any case

    def plan(self, means: Means | None = None) -> list[Step]:
        """All steps in order. Touches nothing; raises InputError or HostError for what cannot be."""
        check_fields(self)
        means, root = means or self.means(), self._root()
        steps = [
            *self._user_namespace(means, root),  # first: for an ordinary user, it gives the right to all that follows
            *self._limits(means),  # they must cover all that follows
            step(namespaces.unshare_uts),
            step(namespaces.hostname, self.hostname),
            step(namespaces.unshare_ipc),
            *connected(means.network, self.publish),
            step(namespaces.unshare_pid),  # before /proc is mounted, which shows this namespace
            step(filesystem.mount_points, root, *self._mount_points()),  # by the host: from inside, nothing may be left
            step(namespaces.unshare_mount),
            step(filesystem.private_mounts),  # before any mount, or the host gets it too
            *([step(filesystem.bind, root, root)] if self.chroot and self.read_only else []),  # only a mount can be read-only
            *self._files_of_the_host(means, root),
            *name_servers(means.network, root),
            step(kernel_files.proc, root=root),  # while the host's is in sight: else a user namespace gets no new one
            step(kernel_files.sysfs, root=root),  # likewise; after the network namespace, which decides on /sys/class/net
            step(filesystem.devices, root=root),  # while the host's are in sight: a user namespace can make none, but bind them
            step(filesystem.chroot if self.chroot else filesystem.pivot, root),  # after the last mount that needs a host path
            step(filesystem.mask),  # after /dev, whose null covers files
            step(filesystem.readonly),
            *([step(filesystem.readonly, "/")] if self.read_only else []),  # after /dev and all other mounts on it
            # After our own set-up, which a fifth of a CPU would make five times as long, and before the first command.
            *limit("--cpus", "0.2", cgroups.cpu, means.limits.get("cpu"), cgroups.cpu_quota),
            step(namespaces.unshare_cgroup),  # after all limits, whose groups become its root
            *self._privileges(root),  # last: what it takes to do the rest is gone after it
        ]
        return self._leave_out(steps)

    def means(self) -> Means:
        """What this user can have on this machine, with notes on what not. Touches nothing."""
        return auto.decide(self.userns, self.network, {"cpu": self.cpus, "memory": self.memory, "pids": self.pids})

    @property
    def notes(self) -> tuple[str, ...]:
        """What this user cannot have on this machine, why, and what to do."""
        return self.means().notes

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
            return finished._replace(note=self.why_killed(box, finished.code), notes=tuple(box.notes))

    @contextmanager
    def started(self, keeper: KeeperLike | None = None, first: Sequence[Step] = ()) -> Iterator[Sandbox]:
        """The container with everything in place but the command: a sandbox, gone when the `with` block ends.

        `first` are steps before the plan's own: the mistakes of a runtime, in `scratchlab.trials`.
        """
        means = self.means()
        plan = self.plan(means)
        self.check()
        facts = {"command": list(self.command), "again": self._steps_of_exec(means)}
        box = Sandbox(
            self.name or self._made_up_name(),
            keeper=keeper,
            exact=bool(self.name),
            facts=facts,
            controllers=self._controllers(means),
            born=[BORN[item.name] for item in plan if item.name in BORN],
        )
        try:
            self._build(box, [*first, *plan], means)
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
        if code == 128 + signal.SIGSYS:
            return "killed by the seccomp filter: with --security-opt seccomp=log the call passes, and dmesg shows its number"
        # 128 + SIGKILL is also what a shell says whose command was killed.
        most = self.means().limits.get("memory") if code == 137 else None
        if most is not None and box.oom_kills():
            return f"killed: out of memory, limit {human(cgroups.parse_size(most))}"
        return ""

    def _build(self, box: Sandbox, plan: list[Step], means: Means) -> None:
        try:
            todo = [item for item in plan if item.name not in BORN]
            results = box.play(todo)
            told = [result["value"] for item, result in zip(todo, results, strict=True) if item.name in TELLING]
            box.notes = [*means.notes, *filter(None, told)]
        except GoneError:
            if not (why := self.why_killed(box, 137)):
                raise
            raise SandboxError(f"the container could not be built: {why}", "give more: our own set-up needs some too") from None

    # -- parts of the plan --------------------------------------------------------------------------------------------

    def _user_namespace(self, means: Means, root: str) -> list[Step]:
        if not means.userns:
            return []
        if means.ids == 1 and self.user and {*self._user(root)[:2]} != {0}:
            raise HostError(f"--user {self.user}: you have one id to give, and inside it is root's", subids.lacks())
        # In a new user namespace everybody is nobody, until somebody is mapped; then the agent can be its root, as in runc.
        whose = {"outside": AUTO} if means.userns == AUTO else {}
        return [step(namespaces.unshare_user), step(id_maps.map_ids, count=means.ids, **whose), step(privileges.user, 0)]

    def _files_of_the_host(self, means: Means, root: str) -> list[Step]:
        """The root filesystem where it must be translated first, and the volumes."""
        translated = means.userns == AUTO  # else ids mean the same inside, or root inside is who owns the files
        stage = idmapped.idmap if translated else filesystem.bind
        volumes = [step(stage, source, target, readonly, root=root) for source, target, readonly in self._volumes()]
        return [*([step(idmapped.idmap, root, root)] if translated else []), *volumes]

    def _limits(self, means: Means) -> list[Step]:
        return [
            *limit("--memory", "512M", cgroups.memory, means.limits.get("memory"), cgroups.memory_size),
            *limit("--pids", "512", cgroups.pids, means.limits.get("pids"), cgroups.process_count),
        ]

    def _controllers(self, means: Means) -> list[str]:
        """The trees of control groups to be born in; the limits come with their steps."""
        return [name for name in means.limits if name not in self.left_out]

    def _privileges(self, root: str) -> list[Step]:
        identity = self._user(root) if self.user else None
        # Without that promise, the filter needs another place.
        without = ["no-new-privileges=false"] if privileges.no_new_privs.__name__ in self.left_out else []
        return security.steps(identity, self.cap_add, self.cap_drop, [*self.security_opt, *without])

    def _steps_of_exec(self, means: Means) -> list[dict[str, Any]]:
        """The privileges again, for `scratchlab exec`: what joins the container must not be stronger than it."""
        root = [step(privileges.user, 0)] if means.userns else []  # of the user namespace that it joins
        kept = self._leave_out([*root, *self._privileges(self._root())], check=False)
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

    def _user(self, root: str) -> privileges.Identity:
        passwd, group = (facts.text(f"{root}/etc/{name}") for name in ("passwd", "group"))
        return privileges.parse_user(self.user or "0", passwd, group)

    def _home(self) -> str:
        """The user's home directory, by the root filesystem's passwd(5)."""
        root = self._root()
        uid = str(self._user(root).uid)
        users = [line.split(":") for line in facts.text(f"{root}/etc/passwd").splitlines()]
        return next((fields[5] for fields in users if len(fields) > 5 and fields[2] == uid), "/root" if uid == "0" else "/")

    def _made_up_name(self) -> str:
        program = Path(self.command[0] if self.command else "").name
        word = re.sub("[^A-Za-z0-9_-]", "", program)[:20] or "container"
        return f"{word if word[0].isalnum() else 'c' + word}-{os.urandom(2).hex()}"


@contextmanager
def entered(found: Entries, keeper: KeeperLike) -> Iterator[Sandbox]:
    """A sandbox that has joined a running container: its limits, its namespaces, its root, its privileges."""
    init: int = found.facts["init"]
    again = [unpack(data) for data in found.facts["again"]]
    box = Sandbox(f"{found.name[:34]}-exec", keeper=keeper, facts={"enters": found.name})
    try:
        limits = [step(cgroups.join_groups, init)] if cgroups.has_groups(init) else []
        box.play([*limits, step(namespaces.join, init), *again])
        yield box
    finally:
        box.close()
