"""overlayfs, which says EINVAL and ENOENT of its options, but not of which.  mount(8)"""

import os
import re

from scratchlab.errors import facts
from scratchlab.errors.cause import Asked, Cause


def refused_layer(asked: Asked) -> Cause | None:
    """A layer that is missing, or where the kernel cannot use it."""
    if asked.text("filesystemtype") != "overlay":
        return None
    layers = dict(re.findall(r"(upperdir|workdir)=([^,]*)", asked.text("data")))
    lower = re.search(r"lowerdir=([^,]*)", asked.text("data"))
    for layer in [*(lower[1].split(":") if lower else []), *layers.values()]:
        if layer and not os.path.isdir(layer):
            return Cause(
                f"the layer {layer} {'is not a directory' if os.path.exists(layer) else 'does not exist'}",
                f"ls -ld {layer}",
                "mount(8)",
            )
    return _upper_and_work(layers.get("upperdir", ""), layers.get("workdir", ""))


def layers_overlap(asked: Asked) -> Cause | None:
    """ELOOP of an overlay, which has nothing to do with links: one layer lies in another."""
    if asked.text("filesystemtype") != "overlay":
        return None
    places = " ".join(place for option in asked.text("data").split(",") for place in option.partition("=")[2].split(":"))
    return Cause("upperdir, workdir and the lower layers must not lie in each other", f"realpath {places}", "mount(8)")


def _upper_and_work(upper: str, work: str) -> Cause | None:
    ours, theirs = facts.mount_of(upper), facts.mount_of(work)
    if not upper or not ours:
        return None
    if not work:
        return Cause("an upperdir needs a workdir, on the same filesystem", "findmnt -t overlay", "mount(8)")
    if theirs and ours.number != theirs.number:
        return Cause(
            f"workdir is in the mount {theirs.target}, and upperdir in {ours.target}: they must be in the same",
            f"findmnt -T {work}",
            "mount(8)",
        )
    if ours.fstype == "overlay":
        return Cause(
            f"upperdir lies on an overlay itself ({ours.target}), which it cannot: put it on a tmpfs",
            f"findmnt -T {upper}",
            "mount(8)",
        )
    if facts.lies_in(work, upper) or facts.lies_in(upper, work):
        return Cause("workdir must not be in upperdir, nor the reverse", f"realpath {upper} {work}", "mount(8)")
    return None
