"""Which finder looks for which cause, in order: first those of the call and the errno, then those of the errno alone.

A finder gets the call as it was asked, looks at live facts, and says None where it is something else. What no finder
explains stays without a hint: no advice is better than wrong advice.
"""

from collections.abc import Mapping

from scratchlab.errors.cause import Asked, Cause, Finder
from scratchlab.errors.causes import access, cgroup, execute, ids, mount, network, overlay, path, privilege, process

CAUSES: dict[tuple[str, str], tuple[Finder, ...]] = {
    # privileges
    ("capset", "EPERM"): (ids.capset_refused,),
    ("chmod", "EPERM"): (access.not_the_owner,),
    ("chown", "EPERM"): (access.not_the_owner,),
    ("landlock_restrict_self", "EPERM"): (ids.promise_is_missing,),
    ("mknod", "EPERM"): (privilege.device_in_user_namespace,),
    ("prctl", "EINVAL"): (ids.prctl_unknown,),
    ("prctl", "EPERM"): (ids.prctl_refused,),
    ("seccomp", "EACCES"): (ids.promise_is_missing,),
    ("setgroups", "EINVAL"): (ids.not_mapped,),
    ("setgroups", "EPERM"): (ids.groups_are_kept,),
    ("sethostname", "EINVAL"): (ids.too_long_a_name,),
    ("setdomainname", "EINVAL"): (ids.too_long_a_name,),
    ("setresgid", "EINVAL"): (ids.not_mapped,),
    ("setresuid", "EINVAL"): (ids.not_mapped,),
    ("setrlimit", "EINVAL"): (ids.limit_upside_down,),
    ("setrlimit", "EPERM"): (ids.limit_raised,),
    ("write", "EINVAL"): (ids.map_malformed,),
    ("write", "EPERM"): (ids.map_refused, privilege.clock_refused),
    # namespaces and processes
    ("clone3", "EAGAIN"): (process.group_is_full, process.user_is_full, process.machine_is_full),
    ("clone3", "ENOMEM"): (process.init_is_dead, process.no_memory),
    ("clone3", "ENOSPC"): (process.too_many_namespaces,),
    ("fork", "EAGAIN"): (process.group_is_full, process.user_is_full, process.machine_is_full),
    ("fork", "ENOMEM"): (process.init_is_dead, process.no_memory),
    ("kill", "EPERM"): (process.others_process,),
    ("pidfd_open", "EINVAL"): (process.not_a_pid,),
    ("setns", "EINVAL"): (process.not_a_namespace, process.several_threads, process.own_user_namespace, process.flags_refused),
    ("setns", "EUSERS"): (process.several_threads, process.too_many_namespaces),
    ("unshare", "EINVAL"): (process.several_threads, process.flags_refused),
    ("unshare", "ENOSPC"): (process.too_many_namespaces,),
    ("unshare", "EPERM"): (privilege.no_user_namespace,),
    ("unshare", "EUSERS"): (process.too_many_namespaces,),
    ("write", "EACCES"): (process.clocks_are_set,),
    ("write", "ERANGE"): (process.clock_out_of_range,),
    # programs
    ("execve", "E2BIG"): (execute.too_many_words,),
    ("execve", "EACCES"): (execute.may_not_execute,),
    ("execve", "ENOENT"): (execute.no_program,),
    ("execve", "ENOEXEC"): (execute.not_a_program,),
    # mounts
    ("mount", "EBUSY"): (mount.busy_filesystem,),
    ("mount", "EINVAL"): (
        overlay.refused_layer,
        mount.move_or_bind_refused,
        mount.options_refused,
        mount.no_filesystem_there,
    ),
    ("mount", "ELOOP"): (overlay.layers_overlap,),
    ("mount", "ENODEV"): (mount.unknown_filesystem,),
    ("mount", "ENOENT"): (overlay.refused_layer,),
    ("mount", "ENOSPC"): (mount.too_many_mounts,),
    ("mount", "ENOTBLK"): (mount.no_such_disk,),
    ("mount", "ENOTDIR"): (overlay.refused_layer, mount.file_and_directory),
    ("mount", "EPERM"): (privilege.lacks_capability, privilege.restricted_by_switch, mount.not_for_user_namespaces),
    ("mount_setattr", "EINVAL"): (mount.ids_not_translated, mount.not_mounted),
    ("pivot_root", "EBUSY"): (mount.cannot_pivot,),
    ("pivot_root", "EINVAL"): (mount.cannot_pivot,),
    ("umount2", "EBUSY"): (mount.held_mount,),
    ("umount2", "EINVAL"): (mount.not_mounted,),
    # the network
    ("bind", "EACCES"): (network.low_port,),
    ("connect", "ENOENT"): (network.no_such_socket,),
}

ANY: dict[str, tuple[Finder, ...]] = {
    "EACCES": (
        cgroup.refused,
        access.closed_directory,
        access.mount_forbids_devices,
        access.closed_file,
        process.not_ours_to_look_into,
        privilege.lacks_capability,
        access.shut_by_another_rule,
    ),
    "EADDRINUSE": (network.port_taken,),
    "EADDRNOTAVAIL": (network.no_such_address,),
    "EAGAIN": (cgroup.refused,),
    "EBADF": (process.closed_descriptor,),
    "EBUSY": (cgroup.refused, access.busy_directory),
    "ECONNREFUSED": (network.nobody_listens,),
    "EEXIST": (network.name_taken, path.there_already),
    "EFBIG": (access.file_too_large,),
    "EINVAL": (cgroup.refused,),
    "EISDIR": (path.is_a_directory,),
    "ELOOP": (path.ring_of_links,),
    "EMFILE": (access.too_many_open,),
    "ENAMETOOLONG": (path.name_too_long,),
    "EHOSTUNREACH": (network.no_way_there,),
    "ENETUNREACH": (network.no_way_there,),
    "ENFILE": (access.machine_out_of_files,),
    "ENODEV": (cgroup.refused, network.no_such_link),
    "ENOENT": (cgroup.refused, path.gone_directory, path.missing_part),
    "ENOMEM": (process.no_memory,),
    "ENOSPC": (cgroup.refused, access.full_filesystem),
    "ENOSYS": (privilege.no_such_call,),
    "ENOTDIR": (path.not_a_directory,),
    "ENOTEMPTY": (path.not_empty,),
    "ENXIO": (access.no_such_device,),
    "ENOTSUP": (cgroup.refused,),
    "EOVERFLOW": (ids.owner_not_mapped,),
    "EPERM": (
        privilege.lacks_capability,
        privilege.restricted_by_switch,
        privilege.outside_user_namespace,
        cgroup.refused,
        access.immutable,
        privilege.seccomp_filter,
        privilege.device_group,
        privilege.security_module,
        mount.held_by_landlock,
    ),
    "ERANGE": (cgroup.refused,),
    "EROFS": (cgroup.refused, access.read_only),
    "ESRCH": (cgroup.refused, process.no_such_process),
    "ETXTBSY": (access.text_busy,),
    "EXDEV": (path.other_filesystem,),
}

# What a look at the facts can meet: files that went, text that is not as expected, arguments that are not there.
_FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError)


def find(call: str, symbol: str, arguments: Mapping[str, str]) -> Cause | None:
    """The cause of a failure, or None if no finder knows it. Never raises."""
    asked = Asked(call, symbol, arguments)
    for finder in (*CAUSES.get((call, symbol), ()), *ANY.get(symbol, ())):
        try:
            if cause := finder(asked):
                return cause
        except _FAULTS:
            continue
    return None
