import os
import tarfile
from pathlib import Path

from tests.lessons.wrong.nothing import nothing

# -- look-up ----------------------------------------------------------------------------------------------------------


def only_the_top(layers, path):
    return f"{layers[0]}/{path}" if os.path.exists(f"{layers[0]}/{path}") else None


def the_lowest(layers, path):
    return next((f"{layer}/{path}" for layer in reversed(layers) if os.path.isfile(f"{layer}/{path}")), None)


def the_first_that_is_there(layers, path):
    return next((f"{layer}/{path}" for layer in layers if os.path.exists(f"{layer}/{path}")), None)


def only_files(layers, path):
    return next((f"{layer}/{path}" for layer in layers if os.path.isfile(f"{layer}/{path}")), None)


def whiteouts_at_the_end(layers, path):
    for layer in layers:
        place = Path(layer, path)
        if place.is_char_device():
            return None
        if place.exists():
            return str(place)
    return None


def not_opaque(layers, path):
    for layer in layers:
        places = [Path(layer, *path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
        if any(place.is_char_device() for place in places):
            return None
        if places[-1].exists():
            return str(places[-1])
    return None


# -- commit -----------------------------------------------------------------------------------------------------------


def no_tar(upper, tar):
    Path(tar).write_text("layer")


def whole_paths(upper, tar):
    with tarfile.open(tar, "w") as layer:
        layer.add(upper)


def as_it_is(upper, tar):
    with tarfile.open(tar, "w") as layer:
        layer.add(upper, arcname=".")


def with_whiteouts(upper, tar, name_of, opaque=False, devices=False):
    with tarfile.open(tar, "w") as layer:
        for path in sorted(Path(upper).rglob("*")):
            name = path.relative_to(upper)
            if path.is_char_device():
                layer.addfile(tarfile.TarInfo(name_of(name)))
            if devices or not path.is_char_device():
                layer.add(path, str(name), recursive=False)
            if opaque and path.is_dir() and "trusted.overlay.opaque" in os.listxattr(path):
                layer.addfile(tarfile.TarInfo(f"{name}/.wh..wh..opq"))


def beside(name):
    return str(name.with_name(f".wh.{name.name}"))


def whiteouts_at_the_top(upper, tar):
    with_whiteouts(upper, tar, lambda name: f".wh.{name.name}", opaque=True)


def forgets_opaque(upper, tar):
    with_whiteouts(upper, tar, beside)


def devices_too(upper, tar):
    with_whiteouts(upper, tar, beside, opaque=True, devices=True)


ANSWERS = {
    "look-up": {
        nothing: "a file is found in whichever layer it is",
        only_the_top: "a file is found in whichever layer it is",
        the_lowest: "an upper layer hides a lower one",
        the_first_that_is_there: "what was deleted is not found",
        only_files: "what was deleted is not found",
        whiteouts_at_the_end: "nor what was in a directory that was deleted",
        not_opaque: "a directory that was made anew shows what is in it, and nothing of the old one",
    },
    "commit": {
        nothing: "it is a tar that can be unpacked",
        no_tar: "it is a tar that can be unpacked",
        whole_paths: "what the container has made or changed is in it",
        as_it_is: "what it has deleted is taken away",
        whiteouts_at_the_top: "what it has deleted is taken away",
        forgets_opaque: "a directory that was made anew has nothing of the old one",
        devices_too: "no device is in it",
    },
}
