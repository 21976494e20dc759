"""What works on this machine: everything that a stage needs, tried for real. No version number is read.

    attempt.py         one thing to try, in a child that is thrown away, and what came of it
    names.py files.py rights.py limits.py links.py machine.py      the things, by topic
    report.py          what was found, as text and as JSON

Where this user may not do a thing itself, it is tried in a user namespace first, as an ordinary user's container does it.
"""

from scratchlab.doctor.attempt import Finding
from scratchlab.doctor.report import Report, examine

__all__ = ["Finding", "Report", "examine"]
