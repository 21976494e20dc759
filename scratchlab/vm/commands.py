"""What each `scratchlab vm` command does, once its arguments are parsed."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from scratchlab.errors import HostError, InputError
from scratchlab.vm import keep, registry
from scratchlab.vm.link import Guest
from scratchlab.vm.progress import for_terminal

# Each command imports what it needs itself: `scratchlab vm list` should not wait for the code that builds an image.


def say(sentence: str) -> None:
    """A sentence on standard error, in our name."""
    print(f"scratchlab: {sentence}", file=sys.stderr, flush=True)


def build(arguments: argparse.Namespace) -> int:
    """Build the image, and take the snapshot: all that the first start would do."""
    from scratchlab.vm.ready import prepare

    progress = for_terminal()
    made = prepare(arguments.machine, progress, arguments.fresh)
    progress("", 0, 0)
    print(f"{made.name}: Linux {made.facts['kernel']}, Python {made.facts['python']}, in {made.directory}")
    return 0


def start(arguments: argparse.Namespace) -> int:
    """Start a machine that stays, and print its name."""
    print(keep.start(_settings(arguments, name=arguments.name or "")))
    return 0


def _settings(arguments: argparse.Namespace, **more: Any) -> dict[str, Any]:
    memory = getattr(arguments, "memory", "512")
    if not (re.fullmatch("[0-9]{1,9}", str(memory)) and 128 <= int(memory) <= 1 << 16):
        raise InputError(f"--memory {memory}: not a size for a machine", "give megabytes, from 128 on: --memory 512")
    network = getattr(arguments, "network", "none")
    return {"memory": int(memory), "network": network == "user", "kind": getattr(arguments, "machine", ""), **more}


def stop(arguments: argparse.Namespace) -> int:
    """End machines."""
    if not arguments.names and not arguments.all:
        raise InputError("which machine is to end?", "name it as `scratchlab vm list` does, or say --all")
    found = registry.entries() if arguments.all else [registry.find(name) for name in arguments.names]
    problems = []
    for entry in found:
        try:
            registry.stop(entry)
        except HostError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return 0


def list_(_arguments: argparse.Namespace) -> int:
    """List the machines that run, one line each."""
    rows = [("NAME", "QEMU", "OWNER", "ABOUT")]
    for entry in registry.entries():
        facts = entry.facts
        rows.append((entry.name, str(facts.get("qemu", "")), str(facts.get("owner", "")), facts.get("about", "")))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *columns, last in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(columns, widths, strict=True)] + [last]).rstrip())
    return 0


def shell(arguments: argparse.Namespace) -> int:
    """A shell in a machine, on our terminal; in a new one that ends with it, if none is named."""
    from scratchlab.vm.terminal import need_terminal

    need_terminal()
    words = ["bash", "--login"]
    if arguments.notebook:
        return _attach(registry.of_notebook(arguments.notebook).guest(), words, {}, None)
    if arguments.name:
        return _attach(registry.find(arguments.name).guest(), words, {}, None)
    return _in_new(arguments, "shell", words, {}, None)


def run(arguments: argparse.Namespace) -> int:
    """Run a command in a machine, with our files or terminal. Gives its exit status."""
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not words:
        raise InputError("no command given", "scratchlab vm run -- uname -a")
    env = _environment(arguments.env)
    if arguments.name:
        return _attach(registry.find(arguments.name).guest(), words, env, arguments.workdir)
    return _in_new(arguments, words[0], words, env, arguments.workdir)


def _environment(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, equals, _ in pairs if not name or not equals]:
        raise InputError(f"--env {bad[0]}: no NAME=VALUE", "for example: --env LANG=C.UTF-8")
    return {name: value for name, _, value in pairs}


def _in_new(arguments: argparse.Namespace, about: str, words: list[str], env: dict[str, str], cwd: str | None) -> int:
    from scratchlab.vm.machine import Machine

    with Machine.start(**_settings(arguments), about=about, progress=for_terminal(), say=say) as machine:
        return _attach(machine, words, env, cwd)


def _attach(guest: Guest, words: list[str], env: dict[str, str], cwd: str | None) -> int:
    from scratchlab.vm.terminal import attach

    ending = attach(guest, words, env, cwd)
    if ending.note:
        say(f"{words[0]} was {ending.note}")
    return ending.code


def copy(arguments: argparse.Namespace) -> int:
    """Copy a file or directory between this computer and a machine."""
    source_name, source = _place(arguments.source)
    target_name, target = _place(arguments.target)
    if bool(source_name) == bool(target_name):
        raise InputError("one of the two is in a machine, the other is not", "scratchlab vm copy data.txt web:/root")
    if target_name:
        if not Path(source).exists():
            raise InputError(f"there is no {source}", "name a file or directory of this computer")
        registry.find(target_name).guest().push(Path(source), target or "/root")
    else:
        registry.find(source_name).guest().fetch(source, Path(target))
    return 0


def _place(word: str) -> tuple[str, str]:
    """NAME:PATH in two; a path alone has no name. A single letter is a drive of Windows."""
    name, colon, path = word.partition(":")
    return (name, path) if colon and len(name) > 1 and "/" not in name else ("", word)


def reset(arguments: argparse.Namespace) -> int:
    """Throw a machine away, and start a clean one of the same name."""
    entry = registry.find(arguments.name)
    settings = entry.facts.get("settings")
    if not settings:
        raise InputError(f"{arguments.name} belongs to another program", "restart it there: a notebook's kernel, for example")
    registry.stop(entry)
    print(keep.start(settings))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Say what is here of all that a machine needs."""
    from scratchlab.vm.doctor import examine

    findings = []
    for finding in examine(arguments.machine):
        print(finding, flush=True)
        findings.append(finding)
    return 0 if all(finding.works for finding in findings) else 1


def test(arguments: argparse.Namespace) -> int:
    """Run the library's tests in machines. Gives pytest's exit status."""
    from scratchlab.vm.testing import Run, of_the_kernel

    guests = arguments.guests
    if not 1 <= guests <= 32:
        raise InputError(f"--guests {guests}: not a number of machines", "one for each processor: -n 2")
    memory = _settings(arguments)["memory"]
    words = arguments.words[arguments.words[:1] == ["--"] :]
    if arguments.kernel:
        words = [*of_the_kernel(Path.cwd()), *words]
    run = Run(Path.cwd(), words, guests, memory, Path(arguments.results), arguments.coverage)
    return run.go(say)


def export(arguments: argparse.Namespace) -> int:
    """Write the image to a file."""
    from scratchlab.vm import bundle, image

    progress = for_terminal()
    bundle.export(image.have(arguments.machine, progress), Path(arguments.file), progress)
    print(f"{arguments.file}: {Path(arguments.file).stat().st_size / 1e6:.0f} MB")
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Take an image in from a file."""
    from scratchlab.vm import bundle

    taken = bundle.import_(Path(arguments.file), for_terminal())
    print(f"{taken.name}: Linux {taken.facts['kernel']}, Python {taken.facts['python']}")
    return 0
