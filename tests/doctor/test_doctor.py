"""`scratchlab doctor` as a user has it: text that reads well, JSON that agrees with it, an exit status to rely on."""

import json
import re
import subprocess

import pytest

from scratchlab.doctor import Finding, Report
from tests.command_line import said, scratchlab
from tests.conftest import needs_root

GOOD = Finding("pivot_root", True, True, "", "", "", ("pivot",), (4,))
BAD = Finding("overlay", False, True, "mount(…): EPERM", "because", "do this", ("overlay",), (5, 8))
LESS = Finding("KVM", False, False, "no /dev/kvm", "", "without it", (), (11,))


def report(*findings: Finding) -> Report:
    return Report(findings, "root")


def test_a_report_reads_well() -> None:
    assert repr(report(GOOD, BAD, LESS)).splitlines() == [
        "works  pivot_root  lesson 4         pivot",
        "FAILS  overlay     lessons 5, 8     overlay",
        "       why    mount(…): EPERM",
        "       cause  because",
        "       do     do this",
        "lacks  KVM         lesson 11",
        "       why    no /dev/kvm",
        "       do     without it",
        "",
        "1 of 3 work, as root.",
        "needed and missing: overlay",
        "missing, and done without: KVM",
        "A virtual machine has all that is needed, whatever this one lacks: `scratchlab lab` runs the lessons in one.",
    ]


def test_all_works_if_only_what_is_optional_is_missing() -> None:
    assert report(GOOD, LESS).works
    assert not report(GOOD, BAD).works
    assert report(GOOD, BAD, LESS).missing(needed=True) == ["overlay"]


@pytest.fixture(scope="module")
def text() -> "subprocess.CompletedProcess[str]":
    return scratchlab("doctor")


@needs_root
def test_the_text_and_the_json_agree(text: "subprocess.CompletedProcess[str]") -> None:
    data = json.loads(scratchlab("doctor", "--json").stdout)
    marks = {True: "works", False: "FAILS", None: "lacks"}
    listed = [line for line in text.stdout.splitlines() if line[:5] in marks.values()]

    assert data.keys() == {"works", "user", "needed_and_missing", "optional_and_missing", "findings"}
    assert [(line[:5], line[7:].startswith(found["what"])) for line, found in zip(listed, data["findings"], strict=True)] == [
        (marks[found["works"] or (None if not found["needed"] else False)], True) for found in data["findings"]
    ]
    assert data["works"] == (not data["needed_and_missing"])
    assert all(found["works"] == (not found["why"]) == (not found["do"]) for found in data["findings"])


@needs_root
def test_the_status_says_whether_all_that_is_needed_works(text: "subprocess.CompletedProcess[str]") -> None:
    assert text.returncode == ("\nFAILS" in f"\n{text.stdout}")
    assert text.stderr == ""
    assert scratchlab("doctor", "--strict").returncode == bool(re.search(r"^(FAILS|lacks)", text.stdout, re.MULTILINE))


@needs_root
def test_the_last_lines_are_a_summary(text: "subprocess.CompletedProcess[str]") -> None:
    assert re.search(r"^\d+ of \d+ work, as root\.$", text.stdout, re.MULTILINE)


@needs_root
def test_an_ordinary_user_is_told_what_works_without_root() -> None:
    done = scratchlab("doctor", nobody=True)

    assert done.returncode == 1
    assert "works  pivot_root" in done.stdout and "works  overlay" in done.stdout and "works  joining by pidfd" in done.stdout
    assert "lacks  root" in done.stdout and "use sudo" in done.stdout
    assert re.search(r"^FAILS  limit on memory .*\n +why .*EACCES", done.stdout, re.MULTILINE)
    assert "as user 65534." in done.stdout


def test_the_help_says_what_the_status_and_the_keys_mean() -> None:
    shown = said("doctor", "--help")

    assert "exit status is 0 if everything that is needed works" in shown
    for key in ("works", "user", "needed_and_missing", "optional_and_missing", *Finding._fields):
        assert f'"{key}"' in shown
