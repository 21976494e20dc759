from scratchlab.stages import (
    capabilities,
    hostname,
    pivot,
    private_mounts,
    proc,
    unshare_mount,
    unshare_pid,
    unshare_uts,
)
from tests.lessons.wrong.nothing import nothing


def forgets_one():
    return [unshare_uts, hostname, unshare_mount, unshare_pid, pivot, proc, capabilities]


def by_the_alphabet():
    return [capabilities, hostname, pivot, private_mounts, proc, unshare_mount, unshare_pid, unshare_uts]


def mounts_for_the_host():
    return [unshare_uts, hostname, private_mounts, unshare_mount, unshare_pid, pivot, proc, capabilities]


def drops_too_early():
    return [unshare_uts, hostname, unshare_mount, private_mounts, capabilities, unshare_pid, pivot, proc]


def pivots_while_shared():
    return [unshare_uts, hostname, unshare_mount, unshare_pid, pivot, private_mounts, proc, capabilities]


def mounts_proc_in_the_old_root():
    return [unshare_uts, hostname, unshare_mount, private_mounts, unshare_pid, proc, pivot, capabilities]


def mounts_proc_before_it_is_numbered():
    return [unshare_uts, hostname, unshare_mount, private_mounts, pivot, proc, unshare_pid, capabilities]


ANSWERS = {
    "in-order": {
        nothing: "each of the eight is there, once",
        forgets_one: "each of the eight is there, once",
        by_the_alphabet: "no step would act on the host",
        mounts_for_the_host: "no step would act on the host",
        drops_too_early: "the kernel refuses none",
        pivots_while_shared: "the kernel refuses none",
        mounts_proc_in_the_old_root: "inside, /proc shows the box's own processes",
        mounts_proc_before_it_is_numbered: "inside, /proc shows the box's own processes",
    },
}
