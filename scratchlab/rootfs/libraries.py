"""Which shared libraries a program needs, answered by the one who will load them.  ld.so(8)

The rules are many: RPATH and RUNPATH with $ORIGIN, the cache, the default directories, variants for newer CPUs, and all of it
again for the libraries' libraries. The loader knows them, and with --list it says what it would do and does not start the
program. That is also how ldd(1) works; like ldd, use it only on programs that you trust.
"""

from collections.abc import Sequence

from scratchlab.errors import InputError

# Loaded by the C library itself while it runs, by name, so that no program lists them: the first ends threads, the others
# look up users and hosts (before glibc 2.34). What a host does not have is passed over.
_LOADED_LATER = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")


def libraries_of(program: str, loader: str, modules: Sequence[str] = ()) -> list[str]:
    """The paths of all libraries that `program` and its extension `modules` load. Raises InputError if one is missing."""
    found, missing = parse_list(_ask_loader(loader, program))
    if missing:
        raise InputError(f"{program} does not run on this machine: {', '.join(missing)} not found", f"check: ldd {program}")
    # As if the modules were loaded before the program: one question for all of Python's seventy.
    try:
        also = _with_modules(program, loader, modules)
    except InputError:
        # One cannot be loaded on this host either, such as dbm without its library. It is no loss; it takes seventy questions.
        also = [path for module in modules if _loads(module, loader) for path in _with_modules(program, loader, [module])]
    return list(dict.fromkeys(found + also))


def _with_modules(program: str, loader: str, modules: Sequence[str]) -> list[str]:
    found, _ = parse_list(_ask_loader(loader, "--preload", ":".join([*_LOADED_LATER, *modules]), program))
    return found


def _loads(module: str, loader: str) -> bool:
    return not parse_list(_ask_loader(loader, module))[1]


def parse_list(text: str) -> tuple[list[str], list[str]]:
    """Read what `ld.so --list` prints: paths that were found, and names that were not.  ldd(1)

    >>> parse_list("\\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\\n\\tlibx.so => not found\\n\\t/lib64/ld.so.2 (0x00007f)\\n")
    (['/lib/libc.so.6', '/lib64/ld.so.2'], ['libx.so'])
    """
    lines = [line.removeprefix("\t") for line in text.split("\n") if line.startswith("\t")]
    paths = [where.rpartition(" => ")[2] for where, address, _ in (line.rpartition(" (0x") for line in lines) if address]
    missing = [line.partition(" => not found")[0] for line in lines if " => not found" in line]
    # linux-vdso.so.1 has an address but no path: the kernel brings it.  vdso(7)
    return [path for path in paths if path.startswith("/")], missing


def _ask_loader(loader: str, *arguments: str) -> str:
    import subprocess

    # An empty environment: LD_LIBRARY_PATH of this shell will not be there in the container.
    done = subprocess.run([loader, "--list", *arguments], env={}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{loader} cannot list the libraries of {arguments[-1]}", done.stderr.strip())
    return done.stdout
