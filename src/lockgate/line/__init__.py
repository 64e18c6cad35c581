"""The line: each stage of a release composed from ports, as one call for a task.

A task asks for the line of a model and runs one stage of it. What a stage measures goes to the ledger before it is
judged; what travels on is `Progress`. Retries, timeouts and pages are the tasks' matter, judgement is the core's.
"""

from lockgate.line.approval import ask, decide
from lockgate.line.cancelling import take_back_cancelled
from lockgate.line.lifecycle import begin, close, enter, note_failed_run
from lockgate.line.model_line import Line, line_of
from lockgate.line.pictures import illustrated
from lockgate.line.rollout import ask_for_sweep, hand_over, roll_back, roll_out
from lockgate.line.running import Done, run
from lockgate.line.upkeep import announce, reap_line, reconcile_line

__all__ = [
    "Done",
    "Line",
    "announce",
    "ask",
    "ask_for_sweep",
    "begin",
    "close",
    "decide",
    "enter",
    "hand_over",
    "illustrated",
    "line_of",
    "note_failed_run",
    "reap_line",
    "reconcile_line",
    "roll_back",
    "roll_out",
    "run",
    "take_back_cancelled",
]
