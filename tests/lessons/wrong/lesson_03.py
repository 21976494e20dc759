from scratchlab import linux
from scratchlab.linux import Clone, Mount
from tests.lessons.wrong.nothing import nothing


def only_mounts():
    linux.mount("tmpfs", "/tmp", "tmpfs")


def only_leaves():
    linux.unshare(Clone.NEWNS)


def shared_still():
    linux.unshare(Clone.NEWNS)
    linux.mount("tmpfs", "/tmp", "tmpfs")


def private_too_late():
    linux.unshare(Clone.NEWNS)
    linux.mount("tmpfs", "/tmp", "tmpfs")
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)


def private_too_early():
    linux.mount(None, "/", None, Mount.REC | Mount.PRIVATE)
    linux.unshare(Clone.NEWNS)
    linux.mount("tmpfs", "/tmp", "tmpfs")


def only_the_root():
    linux.unshare(Clone.NEWNS)
    linux.mount(None, "/", None, Mount.PRIVATE)
    linux.mount("tmpfs", "/tmp", "tmpfs")


ANSWERS = {
    "own-tmp": {
        nothing: "/tmp is a tmpfs inside",
        only_leaves: "/tmp is a tmpfs inside",
        only_mounts: "the sandbox has a mount table of its own",
        shared_still: "nothing arrived on the host",
        private_too_late: "nothing arrived on the host",
        private_too_early: "the host's own mounts are shared as before",
        only_the_root: "no mount inside hears of the host any more",
    },
}
