import os

from scratchlab import linux
from scratchlab.linux import Mount, Umount
from tests.lessons.wrong.nothing import nothing


def only_chroot(root):
    linux.chroot(root)
    linux.chdir("/")


def chroot_to_a_mount(root):
    linux.mount(root, root, None, Mount.BIND)
    linux.chroot(root)
    linux.chdir("/")


def burns_nothing(root):
    linux.mount(root, root, None, Mount.BIND)
    linux.chdir(root)
    linux.pivot_root(".", ".")


def leaves_it_aside(root):
    linux.mount(root, root, None, Mount.BIND)
    os.mkdir(f"{root}/old")
    linux.pivot_root(root, f"{root}/old")
    linux.chdir("/")


def makes_a_place(root):
    leaves_it_aside(root)
    linux.umount2("/old", Umount.DETACH)
    os.rmdir("/old")


def stays_outside(root):
    linux.mount(root, root, None, Mount.BIND)
    linux.pivot_root(root, root)
    linux.umount2("/", Umount.DETACH)


ANSWERS = {
    "no-trace": {
        nothing: "the root directory is the new one",
        burns_nothing: "nothing of the host is mounted in it",
        leaves_it_aside: "nothing of the host is mounted in it",
        only_chroot: "it is the root of the table, for whoever comes later, too",
        chroot_to_a_mount: "it is the root of the table, for whoever comes later, too",
        makes_a_place: "nothing was made in the root filesystem",
        stays_outside: "the working directory is inside, too",
    },
}
