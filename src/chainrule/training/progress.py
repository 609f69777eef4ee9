"""The progress of a training, in the terminal."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from chainrule import _require

__all__ = ["Progress"]
__dir__ = __all__.copy

# Entries of every record that the line of an epoch does not list among its numbers.
_TIMES = ("epoch", "step", "seconds", "compile_seconds", "examples_per_second")


class Progress:
    """A progress bar with rate and time left, in a terminal only, and a line for every epoch.

    Args:
      console: where to write; standard output if not given.

    Example:
      >>> import io
      >>> file = io.StringIO()
      >>> with Progress(Console(file=file, width=100)) as progress:
      ...     progress.tick(5, 20)  # moves a bar, but there is none in a file
      ...     progress.report({"epoch": 1, "step": 10, "seconds": 2.0, "compile_seconds": 0.0,
      ...                      "examples_per_second": 500.0, "loss": 0.25})
      >>> print(file.getvalue().rstrip())
      epoch 1  loss 0.25  2.0 s, 500 examples/s
    """

    def __init__(self, console: Console | None = None):
        _require.instance("console", console, Console | None, "a rich.console.Console")
        self.console = Console() if console is None else console
        columns = (MofNCompleteColumn(), BarColumn(), _Rate(), TimeRemainingColumn())
        self._bar = Bar(
            *columns,
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def tick(self, step: int, steps: int) -> None:
        """Show that ``step`` of ``steps`` are done: the ``tick`` of `chainrule.training.fit`."""
        _require.index("step", step)
        _require.index("steps", steps)
        self._bar.update(self._task, completed=step, total=steps)

    def report(self, record: dict[str, Any]) -> None:
        """Write the line of an epoch: the ``report`` of `chainrule.training.fit`.

        Raises:
          ValueError: it is no record of `fit`.
        """
        _require.instance("record", record, dict, "a record of fit")
        if missing := [name for name in ("epoch", *_TIMES[2:]) if name not in record]:
            raise ValueError(f"a record of fit has {', '.join(missing)}: this is {record!r}")
        numbers = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in record.items()
            if name not in _TIMES
        ]
        compiled = record["compile_seconds"]
        times = [
            f"{record['seconds']:.1f} s",
            *([f"{compiled:.1f} s to compile"] if compiled >= 0.05 else []),
            f"{record['examples_per_second']:.0f} examples/s",
        ]
        line = "  ".join([f"epoch {record['epoch']}", *numbers, ", ".join(times)])
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} steps/s")
