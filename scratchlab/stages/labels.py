"""The labels of SELinux and AppArmor, by which a policy of the machine decides at each access, beyond users and modes."""

import os

from scratchlab import linux
from scratchlab.errors import InputError, KernelError, StageError, facts
from scratchlab.stages.stage import inside


@inside(
    "proc_pid_attr(5)",
    "runcon(1)",
    shell="runcon system_u:system_r:container_t:s0 COMMAND",
    engine="docker run --security-opt label=type:container_t",
)
def selinux_label(context: str) -> None:
    """A SELinux context for every program that is executed from here on, as the machine's policy knows it.  proc_pid_attr(5)"""
    _label_programs("selinux", context, "/proc/self/attr/exec", context)


@inside(
    "proc_pid_attr(5)",
    "aa-exec(1)",
    shell="aa-exec --profile docker-default COMMAND",
    engine="docker run --security-opt apparmor=docker-default",
)
def apparmor_profile(name: str) -> None:
    """An AppArmor profile for every program that is executed from here on; it must be loaded already.  apparmor(7)"""
    own = "/proc/self/attr/apparmor/exec"  # since Linux 5.8: modules that were loaded together had to share one file before
    _label_programs("apparmor", name, own if os.path.exists(own) else "/proc/self/attr/exec", f"exec {name}")


def _label_programs(module: str, label: str, file: str, text: str) -> None:
    if not label or "\0" in label:
        raise InputError(f"{label!r} is no label", "see `ls -Z` for SELinux, `aa-status` for AppArmor")
    active = active_modules()
    if module not in active:
        raise StageError(
            f"{module} is not active here, so nothing would heed the label {label!r}; "
            f"active are {', '.join(active) or 'none that this kernel tells of'}",
            f"leave it out, or boot a kernel that has {module}, with lsm=…,{module} on its command line",
        )
    linux.write_file(file, text)


def active_modules() -> list[str]:
    """The security modules that decide in this kernel.  lsm_list_modules(2)"""
    try:
        return linux.lsm_list_modules()
    except KernelError:  # before Linux 6.8, or refused by a filter
        listed = facts.text("/sys/kernel/security/lsm")
        return listed.split(",") if listed else _by_their_files()


def _by_their_files() -> list[str]:
    """What each leaves elsewhere, where securityfs is not mounted."""
    found = ["selinux"] if "selinuxfs" in facts.text("/proc/filesystems") else []
    return [*found, "apparmor"] if facts.text("/sys/module/apparmor/parameters/enabled") == "Y" else found
