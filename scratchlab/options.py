"""The options of a container as they are typed, read and refused."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from scratchlab.errors import InputError
from scratchlab.stages import STAGES, Step, namespaces, network, step, usernet


def limit(option: str, example: str, stage: Callable[..., Any], asked: Any, check: Callable[[Any], object]) -> list[Step]:
    """A step that sets a limit, or none. Raises InputError for what could not be set, before anything is made."""
    if asked is None:
        return []
    try:
        check(asked)
    except InputError as error:
        raise InputError(
            f"{option} {asked}: {error.message}", error.hint or f"for example {option} {example}, or {option} none"
        ) from None
    return [step(stage, asked)]


def connected(own_network: str, publish: Sequence[str]) -> list[Step]:
    """The steps of a network. Raises InputError for ports that cannot be published, before anything is made."""
    _check_ports(publish, own_network)
    if own_network == "host":
        return []
    alone = [step(namespaces.unshare_net), step(network.loopback)]
    if own_network == "none":
        return alone
    if own_network in usernet.PROGRAMS:
        return [*alone, step(STAGES[own_network], *publish)]
    published = [step(network.publish, text) for text in publish]
    # nat before the others: they are in its table.
    return [*alone, step(network.veth), step(network.nat), step(network.input_drop), *published]


def name_servers(own_network: str, root: str) -> list[Step]:
    """Name servers that can be reached from a network."""
    if own_network in ("none", "host"):
        return []
    asked = [[usernet.DNS[own_network]]] if own_network in usernet.DNS else []
    return [step(network.resolv, *asked, root=root)]


def _check_ports(publish: Sequence[str], own_network: str) -> None:
    if publish and own_network in ("none", "host"):
        raise InputError(
            f"--publish needs a network of its own, and --network is {own_network}",
            "leave out --network; where a note says why there is none, do what it says",
        )
    ports = [network.parse_publish(text)._replace(container=0) for text in publish]
    if twice := [str(port.host) for number, port in enumerate(ports) if port in ports[:number]]:
        raise InputError(f"--publish: port {', '.join(twice)} of the host is given twice", "a port can lead to one place")


def parse_volume(text: str) -> tuple[str, str, bool]:
    """`SRC:DST[:ro|:rw]` as (host path, path inside, read-only). Raises InputError."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise InputError(f"--volume {text}: not SRC:DST[:ro]", "DST is an absolute path inside, as in --volume ./data:/data:ro")
    if not os.path.exists(source):
        raise InputError(f"--volume {text}: {source} does not exist on the host", f"make it first: mkdir -p {source}")
    return os.path.realpath(source), target, mode == "ro"


def human(size: int) -> str:
    """Bytes for people: `2 GB`."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
