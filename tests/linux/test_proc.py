import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlab.errors import InputError
from scratchlab.linux import Cap, proc
from scratchlab.linux.proc import IdMap, Limit, Membership

ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard"


# -- mounts -----------------------------------------------------------------------------------------------------------


def test_every_field_of_a_mount_is_named():
    (mount,) = proc.parse_mountinfo("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")

    assert mount._asdict() == {
        "mount_id": 36, "parent_id": 35, "device": "98:0", "root": "/mnt1", "target": "/mnt2", "options": "rw,noatime",
        "propagation": "master:1", "fstype": "ext3", "source": "/dev/root", "super_options": "rw,errors=continue",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (ROOT, "propagation", "private"),
        (ROOT.replace(" - ", " shared:1 - "), "propagation", "shared:1"),
        (ROOT.replace(" - ", " shared:3 master:2 propagate_from:1 - "), "propagation", "shared:3 master:2 propagate_from:1"),
        (ROOT.replace(" - ", " unbindable - "), "propagation", "unbindable"),
        (ROOT.replace(" / / ", r" / /a\040b "), "target", "/a b"),
        (ROOT.replace(" / / ", r" / /a\011b\012c\134d\043e "), "target", "/a\tb\nc\\d#e"),
        (ROOT.replace(" / / ", r" / /\134040 "), "target", r"/\040"),
        (ROOT.replace(" / / ", r" / /odd\04 "), "target", r"/odd\04"),
        (ROOT.replace(" / / ", " /gone//deleted / "), "root", "/gone//deleted"),
        (ROOT.replace(" / / ", " net:[4026532181] /run/netns/x "), "root", "net:[4026532181]"),
        (ROOT.replace("/dev/vda", ""), "source", ""),
        (ROOT.replace("/dev/vda", r"a\040-\040b"), "source", "a - b"),
        (ROOT.replace(" / / ", " / /form\x0cfeed\u2028 "), "target", "/form\x0cfeed\u2028"),
        (ROOT.replace(" / / ", " / /" + os.fsdecode(b"\xff") + " "), "target", "/\udcff"),
        (ROOT + " with spaces", "super_options", "rw,discard with spaces"),
    ],
)
def test_odd_mounts_are_read_as_the_kernel_means_them(line, field, value):
    (mount,) = proc.parse_mountinfo(line + "\n")

    assert getattr(mount, field) == value


@pytest.mark.parametrize(
    "line", ["x", "27 1 254:0 / / rw,relatime", "27 one 254:0 / / rw - ext4 a rw", "27 1 254:0 / / rw - ext4"]
)
def test_a_broken_mount_is_an_error_that_shows_the_line(line):
    with pytest.raises(InputError, match=r"proc_pid_mountinfo\(5\)") as caught:
        proc.parse_mountinfo(f"{ROOT}\n{line}\n")

    assert repr(line) in str(caught.value)


@given(st.text(min_size=1))
def test_unescape_undoes_what_the_kernel_does_to_names(name):
    escaped = "".join(f"\\{ord(char):03o}" if char in " \t\n\\#" else char for char in name)

    assert proc.unescape(escaped) == name


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comm", ["sh", "a b", "a) R 1 1", "((", ")", "", ") (", "a (b"])
def test_a_program_may_be_called_anything(comm):
    text = f"42 ({comm}) S 1 42 42 0 -1 4194304 101 0 0 0 0 0 0 0 20 0 3 0 189000 3133440 394\n"

    assert proc.parse_stat(text) == (42, comm, "S", 1, 42, 42, 4194304, 3, 189000)


def test_status_is_a_dictionary_of_its_fields():
    status = proc.parse_status("Name:\ta:b\\n c\nGroups:\t \nNSpid:\t812\t1\n")

    assert status == {"Name": "a:b\\n c", "Groups": "", "NSpid": "812\t1"}


@pytest.mark.parametrize(("text", "pids"), [("", []), ("12 13 \n", [12, 13])])
def test_children_are_numbers(text, pids):
    assert proc.parse_children(text) == pids


def test_limits_have_the_names_of_getrlimit():
    limits = proc.parse_limits(
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 unlimited            files     \n"
        "Max nice priority         0                    0                    \n"
        "Max of a later kernel     1                    2                    things    \n"
    )

    assert limits == {
        "RLIMIT_NOFILE": Limit("1024", "unlimited"), "RLIMIT_NICE": Limit("0", "0"), "Max of a later kernel": Limit("1", "2"),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["no heading\n", "Limit  Soft\nMax open files\n"])
def test_broken_limits_are_an_error(text):
    with pytest.raises(InputError, match=r"proc_pid_limits\(5\)"):
        proc.parse_limits(text)


# -- namespaces, ids, capabilities, groups ----------------------------------------------------------------------------


def test_a_namespace_is_its_inode():
    assert proc.parse_namespace("uts:[4026531838]") == 4026531838
    assert proc.parse_namespace("pid_for_children:[1]") == 1


@pytest.mark.parametrize("link", ["", "uts", "uts:[]", "uts:[-1]", "pipe:[12", "uts:[1]\n", "/etc/passwd", "uts:[٣]"])
def test_other_links_are_no_namespaces(link):
    with pytest.raises(InputError):
        proc.parse_namespace(link)


def test_id_maps_are_rows_of_three():
    text = "         0       1000          1\n         1     100000      65536\n"

    assert proc.parse_id_map(text) == [IdMap(0, 1000, 1), IdMap(1, 100000, 65536)]
    assert proc.parse_id_map("") == []


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("0000000000000000", ()),
        ("0000000000000001", ("CHOWN",)),
        ("0000000000200400", ("NET_BIND_SERVICE", "SYS_ADMIN")),
        ("000001ffffffffff", tuple(cap.name for cap in Cap)),
        ("8000000000000000", ("63",)),
    ],
)
def test_a_mask_is_capabilities_by_name(mask, names):
    assert proc.parse_capabilities(mask) == names


@pytest.mark.parametrize("mask", ["", "x", "-1", "1" + "0" * 17])
def test_what_is_no_mask_is_an_error(mask):
    with pytest.raises(InputError):
        proc.parse_capabilities(mask)


@pytest.mark.parametrize(
    ("line", "group"),
    [
        ("0::/", Membership(0, (), "/")),
        ("0::/a:b/c d (deleted)", Membership(0, (), "/a:b/c d (deleted)")),
        ("4:cpu,cpuacct:/x", Membership(4, ("cpu", "cpuacct"), "/x")),
        ("9:name=systemd:/../..", Membership(9, ("name=systemd",), "/../..")),
    ],
)
def test_a_process_is_in_one_group_of_each_hierarchy(line, group):
    assert proc.parse_cgroup(line + "\n") == [group]


# -- all --------------------------------------------------------------------------------------------------------------

PARSERS: list[Callable[[str], Any]] = [
    proc.parse_mountinfo, proc.parse_status, proc.parse_cgroup, proc.parse_id_map, proc.parse_limits, proc.parse_stat,
    proc.parse_children, proc.parse_namespace, proc.parse_capabilities,
]  # fmt: skip

# Text that has the right shape in places gets further into a parser than random text does.
pieces = st.sampled_from(
    [" ", "\n", ":", " - ", ",", "(", ")", "\t", "\\040", "0", "17", "-1", "/", "Limit ", "Max x", "9" * 5000]
)
shaped = st.lists(pieces | st.text(max_size=4), max_size=40).map("".join)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.text() | shaped)
def test_any_text_gives_a_value_or_our_own_error(parse, text):
    try:
        parse(text)
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (proc.parse_mountinfo, "mountinfo"), (proc.parse_status, "status"), (proc.parse_cgroup, "cgroup"),
        (proc.parse_id_map, "uid_map"), (proc.parse_limits, "limits"), (proc.parse_stat, "stat"),
    ],
)  # fmt: skip
def test_this_kernel_writes_what_we_read(parse, name):
    assert parse(os.fsdecode(Path("/proc/self", name).read_bytes()))
