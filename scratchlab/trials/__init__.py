"""Trials: every attack against a container or a sandbox, with bait of our own around it, judged by what the host sees."""

from scratchlab.trials import greed, wires  # noqa: F401  they lay out more bait
from scratchlab.trials.ablation import Ablation, ablate
from scratchlab.trials.board import Scoreboard, scoreboard
from scratchlab.trials.hosts import on_trial

__all__ = ["Ablation", "Scoreboard", "ablate", "on_trial", "scoreboard"]
