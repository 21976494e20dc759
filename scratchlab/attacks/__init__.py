"""Ways out of a container that is not one: `attacks.ATTACKS` has all of them by name. `scratchlab.scoreboard` runs them."""

from scratchlab.attacks import weaknesses
from scratchlab.attacks.abi import second_abi
from scratchlab.attacks.attack import ATTACKS, Attack, Evidence, about, attack, is_disposable, source
from scratchlab.attacks.files import device_node, double_chroot, file_handle, leaked_directory, setuid_file, shared_mount
from scratchlab.attacks.images import image_tar
from scratchlab.attacks.machine import core_pattern, release_agent
from scratchlab.attacks.network import abstract_socket, arp_spoof, gateway_service
from scratchlab.attacks.processes import foreign_root, host_keys, host_processes, keyring, ptrace_neighbour
from scratchlab.attacks.resources import cpu_hog, fork_bomb, memory_bomb, tmpfs_bomb

__all__ = [
    "ATTACKS", "Attack", "Evidence", "about", "abstract_socket", "arp_spoof", "attack", "core_pattern", "cpu_hog",
    "device_node", "double_chroot", "file_handle", "foreign_root", "fork_bomb", "gateway_service", "host_keys",
    "host_processes", "image_tar", "is_disposable", "keyring", "leaked_directory", "memory_bomb", "ptrace_neighbour",
    "release_agent", "second_abi", "setuid_file", "shared_mount", "source", "tmpfs_bomb", "weaknesses",
]  # fmt: skip
