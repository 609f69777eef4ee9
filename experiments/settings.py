"""What the experiments have in common: settings, the start of a run, and the command line."""

from chainrule._jobs.settings import (
    Count,
    Digit,
    NotNegative,
    OnDigits,
    Positive,
    Repeated,
    Settings,
    Share,
    Some,
    command,
    now,
)

__all__ = [
    "Count",
    "Digit",
    "NotNegative",
    "OnDigits",
    "Positive",
    "Repeated",
    "Settings",
    "Share",
    "Some",
    "command",
    "now",
]
