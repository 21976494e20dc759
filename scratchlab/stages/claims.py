"""Things that are only names, one for each sandbox of this machine: a subnet, an address, a range of ids."""

from scratchlab import shared
from scratchlab.journal import Journal


def claim(journal: Journal, thing: str) -> bool:
    """Reserve something for as long as a journal is open. Gives False where another sandbox has it."""
    if shared.claimed(thing):
        return False
    journal.will("claim", thing=thing, holder=journal.name)
    return shared.claim(thing, journal.name)
