from dataclasses import replace
from typing import Any

import pytest

from scratchlab.linux import Cap
from scratchlab.linux.netlink import Address, Link, Route
from scratchlab.linux.proc import IdMap, Limit, MountPoint
from scratchlab.observe import Change, Changes, OpenFile, Snapshot, diff, names_of

HOST, WEB = 4026531838, 4026532177

PROC = MountPoint(30, 27, "0:40", "/", "/proc", "rw,nosuid,nodev,noexec,relatime", "private", "proc", "proc", "rw")
ETH0 = Link("eth0", 4, "veth", "02:fc:00:00:00:01", True, 1500, "")


def changes(where: str = "inside", names: Any = None, **fields: tuple[Any, Any]) -> Changes:
    """The difference of two snapshots that differ in these fields."""
    empty = Snapshot(1)
    before = replace(empty, **{name: pair[0] for name, pair in fields.items()})
    after = replace(empty, **{name: pair[1] for name, pair in fields.items()})
    return diff(before, after, where, names)


def test_equal_snapshots_have_no_difference():
    assert changes() == ()
    assert repr(changes()) == "nothing changed that a snapshot shows"


@pytest.mark.parametrize(
    ("field", "before", "after", "text"),
    [
        ("hostname", "vm", "web", "hostname   vm → web"),
        ("root", "/", "/srv/root", "root directory   / → /srv/root"),
        ("mounts", (), (PROC,), "mounts   + /proc  proc  nosuid,nodev,noexec   inside"),
        ("mounts", (PROC,), (), "mounts   - /proc  proc  nosuid,nodev,noexec   inside"),
        ("links", (), (ETH0,), "links   + eth0  veth up mtu 1500   inside"),
        ("links", (ETH0._replace(up=False),), (ETH0,), "links   ~ eth0  veth down mtu 1500 → veth up mtu 1500   inside"),
        ("links", (ETH0,), (ETH0._replace(index=9),), "links   ~ eth0  veth up mtu 1500 → veth up mtu 1500 (another)   inside"),
        ("addresses", (), (Address("eth0", "172.22.0.2/24"),), "addresses   + 172.22.0.2/24  eth0   inside"),
        ("routes", (), (Route("default", "172.22.0.1", "eth0"),), "routes   + default via 172.22.0.1 on eth0   inside"),
        ("cgroups", {"pids": "/81f"}, {"pids": "/scratchlab/a"}, "control groups   ~ pids  the host's → /scratchlab/a   inside"),
        ("cgroup_values", {"pids.max": "max"}, {"pids.max": "9"}, "limits   ~ pids.max  max → 9   inside"),
        ("rlimits", {"N": Limit("1", "2")}, {"N": Limit("2", "2")}, "resource limits   ~ N  soft 1, hard 2 → 2   inside"),
        ("uids", (0, 0, 0, 0), (0, 5, 5, 5), "user   0 → real 0, effective 5, saved 5, filesystem 5"),
        ("groups", (0, 4), (), "more groups   0, 4 → none"),
        ("uid_map", (), (IdMap(0, 1000, 1),), "uid map   none → 0 is 1000 outside"),
        ("uid_map", (), (IdMap(0, 100000, 65536),), "uid map   none → 0-65535 is 100000-165535 outside"),
        ("no_new_privs", False, True, "no_new_privs   off → on"),
        ("seccomp", "off", "filter", "seccomp   off → filter"),
        ("files", (), (OpenFile(3, "pipe:[81234]"),), "open files   + 3  pipe   inside"),
        ("capabilities", {"ambient": ()}, {"ambient": ("KILL",)}, "capabilities   ~ ambient  none → KILL   inside"),
    ],
)
def test_a_change_reads_as_one_line_without_numbers_of_the_run(field, before, after, text):
    (change,) = changes(**{field: (before, after)})

    assert repr(change) == text


def test_after_pivot_root_the_root_is_another_of_the_same_name():
    (change,) = changes(root=("/", "/"), root_inode=("8:1 2", "0:50 2"))

    assert repr(change) == "root directory   / → / (another)"
    assert change.detail() == "root directory   / → / (another)   (8:1 2 → 0:50 2)"


def test_a_rule_of_nft_is_one_change():
    table = "table ip scratchlab-web {\n\tchain nat {\n\t\ttype nat hook postrouting priority srcnat;\n%s\t}\n}\n"
    before, after = ({"ip scratchlab-web": table % rule} for rule in ("", "\t\tmasquerade\n"))

    (change,) = changes(nft_tables=(before, after))

    assert repr(change) == "nft rules   + scratchlab-web nat: masquerade   inside"


# -- namespaces -------------------------------------------------------------------------------------------------------


def test_namespaces_have_the_names_of_their_owners():
    names = {HOST: "host", WEB: "web-2"}

    (joined,) = changes(names=names, namespaces=({"mnt": HOST}, {"mnt": WEB}))
    (unshared,) = changes(names=names, namespaces=({"mnt": HOST}, {"mnt": 17}))
    (twice,) = changes(names=names, namespaces=({"mnt": 17}, {"mnt": 18}))

    assert repr(joined) == "mount namespace   host → web-2"
    assert repr(unshared) == "mount namespace   host → new"
    assert repr(twice) == "mount namespace   its own → new"
    assert unshared.detail() == "mount namespace   host → new   (4026531838 → 17)"


def test_a_new_pid_namespace_says_who_is_pid_1():
    before = {"pid": HOST, "pid_for_children": HOST}
    names = {HOST: "host"}

    (unshared,) = changes(names=names, namespaces=(before, {"pid": HOST, "pid_for_children": 0}))
    (entered,) = changes(names=names, nspid=((8,), (8, 1)), namespaces=(before, {"pid": WEB, "pid_for_children": WEB}))

    assert repr(unshared) == "pid namespace of children   host → new (its first child will be pid 1)"
    assert repr(entered) == "pid namespace   host → new (pid 1 in it)"


def test_names_of_snapshots_are_names_for_all_their_namespaces():
    assert names_of("db", Snapshot(1, namespaces={"uts": 3, "net": 4})) == {3: "db", 4: "db"}


# -- mounts -----------------------------------------------------------------------------------------------------------


def test_a_mount_over_a_mount_is_one_added_and_nothing_altered():
    over = PROC._replace(mount_id=31, parent_id=30, device="0:50")

    (change,) = changes(mounts=((PROC,), (PROC, over)))

    assert (change.sign, change.item) == ("+", "/proc")


def test_a_copy_of_all_mounts_is_no_change_but_another_proc_is():
    assert changes(mounts=((PROC,), (PROC._replace(mount_id=90, parent_id=80),))) == ()

    (change,) = changes(mounts=((PROC,), (PROC._replace(device="0:50"),)))
    assert change.after == "proc  nosuid,nodev,noexec (another)"


def test_propagation_is_shown_when_it_is_what_changed():
    shared = PROC._replace(propagation="shared:12")

    (change,) = changes(mounts=((shared,), (PROC,)))

    assert (change.before, change.after) == ("shared", "private")
    assert changes(mounts=((shared,), (PROC._replace(propagation="shared:99"),))) == ()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"root": "/etc", "fstype": "ext4"}, "ext4 /etc  nosuid,nodev,noexec"),
        ({"options": "ro,relatime"}, "proc  ro"),
        ({"options": "rw", "super_options": "ro"}, "proc  ro"),
        ({"root": "net:[4026532181]", "fstype": "nsfs", "options": "rw"}, "nsfs net"),
    ],
)
def test_a_mount_says_what_is_out_of_the_ordinary(fields, text):
    (change,) = changes(mounts=((), (PROC._replace(**fields),)))

    assert change.after == text


# -- what is left out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [
        ("cgroup_values", {"memory.current": "1", "cpu.usage_usec": "1"}, {"memory.current": "2", "cpu.usage_usec": "2"}),
        ("pid", 1, 2),
        ("children", (), (7,)),
        ("threads", 1, 2),
        ("addresses", (), (Address("eth0", "fe80::fc:ff:fe00:1/64"),)),
        ("routes", (), (Route("fe80::/64", "", "eth0"),)),
        ("files", (OpenFile(3, "pipe:[1]"),), (OpenFile(3, "pipe:[2]"),)),
    ],
)
def test_what_moves_on_its_own_is_in_the_snapshot_and_not_in_the_difference(field, before, after):
    assert changes(**{field: (before, after)}) == ()


def test_on_the_host_only_what_belongs_to_the_machine_is_compared():
    found = changes(
        "host", hostname=("a", "b"), files=((), (OpenFile(3, "/x"),)), uids=((0,), (1,)), namespaces=({"uts": 1}, {"uts": 2})
    )

    assert [change.what for change in found] == ["hostname"]


def test_what_can_no_longer_be_read_is_said_once_and_not_taken_for_gone():
    (lost,) = changes(mounts=((PROC,), ()), missing=({}, {"mounts": "not permitted"}))
    (found,) = changes(mounts=((), (PROC,)), missing=({"mounts": "x"}, {}))

    assert repr(lost) == "mounts   readable → not readable: not permitted"
    assert repr(found) == "mounts   not readable: x → readable"
    assert changes(missing=({"mounts": "x"}, {"mounts": "x"}), mounts=((PROC,), ())) == ()


# -- many changes -----------------------------------------------------------------------------------------------------


def test_changes_are_aligned_and_a_word_that_repeats_is_said_once():
    tmp = PROC._replace(target="/tmp", fstype="tmpfs", options="rw")

    found = changes(
        names={HOST: "host"}, namespaces=({"uts": HOST}, {"uts": 5}), hostname=("vm", "web"), mounts=((), (PROC, tmp))
    )

    assert repr(found).splitlines() == [
        "uts namespace   host → new",
        "hostname        vm → web",
        "mounts          + /proc  proc  nosuid,nodev,noexec   inside",
        "                + /tmp  tmpfs                        inside",
    ]


def both(change: Change, inside: int, host: int) -> list[str]:
    same = replace(change, where="inside", namespace=("mnt", inside)), replace(change, where="host", namespace=("mnt", host))
    return [line[45:].strip() for line in repr(Changes(same)).splitlines()]


def test_what_the_host_sees_too_is_said_with_the_reason():
    mounted = Change("inside", "mounts", None, "proc  nosuid,nodev,noexec", "/proc")

    assert both(mounted, 1, 2) == ["inside", "on the host too  ← propagated"]
    assert both(mounted, 1, 1) == ["inside", "on the host too  ← the same mount namespace"]
    assert repr(replace(mounted, where="host")).endswith("   on the host")


def test_many_that_change_alike_are_one_line_and_long_lists_are_cut():
    shared = [PROC._replace(target=f"/m{n}", propagation="shared:1") for n in range(30)]
    private = [mount._replace(propagation="private") for mount in shared]

    altered = changes(mounts=(tuple(shared), tuple(private)))
    removed = changes(mounts=(tuple(shared), ()))

    assert repr(altered) == "mounts   ~ 30 of them  shared → private   inside"
    assert len(altered) == len(removed) == 30
    assert len(repr(removed).splitlines()) == 11
    assert repr(removed).splitlines()[-1].split() == ["-", "and", "20", "more", "inside"]


def test_a_long_text_goes_on_in_the_next_line():
    kept = tuple(cap.name for cap in Cap)[:20]

    text = repr(changes(capabilities=({"bounding": ()}, {"bounding": kept}))).splitlines()

    assert text[0].endswith("   inside")
    assert text[1].startswith(" " * len("capabilities") + "       ")
    assert all(len(line) < 120 for line in text)
