"""The machine that filters are written for, in a few lines: tests ask it what a program decides, on any processor."""

import struct
from collections.abc import Sequence

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
WORD = 0xFFFFFFFF


def decide(code: bytes, machine: str, number: int, arguments: Sequence[int] = ()) -> int:
    """What an assembled program answers to a system call."""
    program = list(struct.iter_unpack("HBBI", code))
    words = [argument & (1 << 64) - 1 for argument in [*arguments, *[0] * 6][:6]]
    data = struct.pack("<IIQ6Q", number & WORD, ARCH[machine], 0x1000, *words)
    register, place = 0, 0
    while True:
        operation, if_true, if_false, k = program[place]
        place += 1
        match operation:
            case 0x20:
                (register,) = struct.unpack_from("<I", data, k)
            case 0x54:
                register &= k
            case 0x05:
                place += k
            case 0x06:
                return int(k)
            case 0x15 | 0x25 | 0x35:
                holds = {0x15: register == k, 0x25: register > k, 0x35: register >= k}[operation]
                place += if_true if holds else if_false
            case _:
                raise AssertionError(f"no instruction {operation:#x}")
