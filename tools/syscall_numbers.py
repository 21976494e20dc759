"""Write scratchlab/linux/numbers.txt: the numbers of the system calls, by machine, as the kernel's headers have them.

    python3 tools/syscall_numbers.py [MORE_HEADERS]

It reads the installed headers (package linux-libc-dev) with the C preprocessor, and then MORE_HEADERS, such as a newer
kernel's include/uapi/asm-generic/unistd.h. What the file knows already stays: headers are often older than kernels.
"""

import re
import subprocess
import sys
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent / "scratchlab/linux/numbers.txt"
X86_64 = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
GENERIC = "/usr/include/asm-generic/unistd.h"

# What arch/arm64/include/uapi/asm/unistd.h asks of the generic table.
ARM64_WANTS = ("RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "TIME32_SYSCALLS", "MEMFD_SECRET", "SYS_CLONE3")

# Since then, every machine gives a new call the same number (424, pidfd_send_signal, in Linux 5.1).
SAME_EVERYWHERE = 424

HEADING = """\
# The numbers of the system calls, by machine; - where a machine has no such call. Machines that came before the generic
# table keep theirs: x86_64 since 2003. Since 424, all machines agree.  syscalls(2); written by tools/syscall_numbers.py
"""

Numbers = dict[str, int]


def defined(header: str, *defines: str) -> Numbers:
    """The `__NR_` numbers that the C preprocessor finds in a header."""
    command = ["cpp", "-dM", "-D__BITS_PER_LONG=64", *(f"-D{name}" for name in defines), header]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = dict(re.findall(r"#define __NR(\w+) (\w+)", text))
    named = {name[1:]: words.get(value.removeprefix("__NR"), value) for name, value in words.items() if name.startswith("_")}
    return {name: int(number) for name, number in named.items() if name not in ("syscalls", "arch_specific_syscall")}


def x86_64() -> Numbers:
    """The table of x86_64, by the installed headers."""
    return defined(X86_64)


def aarch64() -> Numbers:
    """The table of aarch64, by the installed headers."""
    return defined(GENERIC, *(f"__ARCH_WANT_{name}" for name in ARM64_WANTS))


def read(text: str) -> tuple[Numbers, Numbers]:
    """The two columns of the table."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return tuple({row[0]: int(row[column]) for row in rows if row[column] != "-"} for column in (1, 2))  # type: ignore[return-value]


def written(ours: Numbers, theirs: Numbers) -> str:
    """The table as text, in the order of x86_64, with what only aarch64 has at the end."""
    names = sorted(ours.keys() | theirs.keys(), key=lambda name: (ours.get(name, 1 << 20), theirs.get(name, 0)))
    rows = [f"{name:<24} {ours.get(name, '-'):>3} {theirs.get(name, '-'):>3}" for name in names]
    return HEADING + "\n".join(rows) + "\n"


def main(headers: list[str]) -> None:
    """Read the headers, and write the table."""
    kept = read(TABLE.read_text()) if TABLE.exists() else ({}, {})
    newer: Numbers = {}
    for header in headers:
        newer |= {name: number for name, number in defined(header).items() if number >= SAME_EVERYWHERE}
    ours, theirs = {**kept[0], **newer, **x86_64()}, {**kept[1], **newer, **aarch64()}
    TABLE.write_text(written(ours, theirs))
    print(f"{TABLE}: {len(ours)} calls of x86_64, {len(theirs)} of aarch64")


if __name__ == "__main__":
    main(sys.argv[1:])
