"""The commands as a table: their names, their arguments, and the functions that do them."""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple


class Argument(NamedTuple):
    """An argument of a command, as ``argparse`` takes it."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]


class Command(NamedTuple):
    """A command: what it does, and the function that does it.

    Attributes:
      help: one line.
      function: as ``module:name``; it is called with the arguments by their names, and returns the
        exit code or None.
      arguments: of the command line.
      example: a command line, without ``chainrule``.
    """

    help: str
    function: str
    arguments: tuple[Argument, ...]
    example: str


def _argument(*names: str, **settings: Any) -> Argument:
    return Argument(names, settings)


_Path = pathlib.Path

_OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam")
_ROOT = "where run folders are kept (default runs)"

_PROGRAM = (
    _argument(
        "spec",
        metavar="FILE.py:FUNCTION",
        help="what to look into; in a package also package.module:FUNCTION",
    ),
    _argument(
        "shapes",
        nargs="*",
        metavar="SHAPE",
        help="one for each argument, as float32[8,3] (default: what example_args() beside "
        "the function returns)",
    ),
)
_IGNORED = "what is meant: a function with a custom rule, a trap's operator or line (net.py:12)"
_WAYS = "'compiled' (default), 'op by op', a dtype as float64, bfloat16, tensorfloat32, or a device"

_DIFF = Command(
    "where two executions of a JAX function part, or two functions, and where digits die",
    "chainrule.xray.compare.command:run",
    (*_PROGRAM, _argument("--a", metavar="WAY", help=f"how the first runs: {_WAYS}"),
     _argument("--b", metavar="WAY", help="how the second runs (default: 'op by op')"),
     _argument("--against", metavar="OTHER", help="FILE.py:OTHER, or a file .xray or .safetensors"),
     _argument("--page", type=_Path, metavar="diff.html", help="write the page there"),
     _argument("--check", action="store_true", help="exit with 1 if the two part")),
    "diff model.py:loss --a float32 --b float64",
)  # fmt: skip

_COMPARE = Command(
    "compare two runs of one experiment",
    "chainrule.runs.command:compare",
    (_argument("a", nargs="?", metavar="RUN_A", help="a run folder, or its number in 'runs'"),
     _argument("b", nargs="?", metavar="RUN_B", help="another one (default: the last two)"),
     _argument("--root", type=_Path, default=_Path("runs"), help=_ROOT),
     _argument("--tolerance", type=float, default=1e-6,
               help="values differ where they do by more, relative to the larger (default 1e-6)"),
     _argument("--series",
               help="show the series with this in their name, '' for all (default: the losses)"),
     _argument("--out", type=_Path,
               help="the overlay picture (default RUN_B/compare-<RUN_A>.png)")),
    "compare 1 2",
)  # fmt: skip

_LAUNCH = Command(
    "run a script in several processes, supervised",
    "chainrule.training.launch:launch",
    (_argument("--processes", type=int, default=2, help="how many (default 2)"),
     _argument("--port", type=int, help="of rank 0, on 127.0.0.1 (default: a free one)"),
     _argument("--timeout", type=float, default=86_400.0,
               help="end all after so many seconds (default: a day)"),
     _argument("--linger", type=float, default=60.0,
               help="end all so many seconds after the first one has ended (default 60)"),
     _argument("--join", type=int, default=30, help="seconds to wait for all to join (default 30)"),
     _argument("script", type=_Path, help="a Python file"),
     _argument("arguments", nargs=argparse.REMAINDER, help="its command line")),
    "launch --processes 2 train.py --epochs 3",
)  # fmt: skip

_CLASSIFY = Command(
    "the likeliest classes of photographs by a VGG, or of digits by the one in the package",
    "chainrule._jobs.classify:run",
    (_argument("images", type=_Path, nargs="+", metavar="IMAGE",
               help="a JPEG or PNG of at most 64 million pixels, or a folder of them"),
     _argument("--weights", type=_Path, metavar="FILE",
               help="a .safetensors or .npz in torchvision's layout or timm's (default: the "
               "weights for digits in the package)"),
     _argument("--names", type=_Path, metavar="FILE",
               help="the names of its classes, one a line (default: ImageNet's, if it has 1,000)"),
     _argument("--size", type=int, metavar="PIXELS",
               help="side of what it sees (default: what the file says, or the least that fits)"),
     _argument("--top", type=int, default=5, help="how many classes (default 5)"),
     _argument("--batch", type=int, default=8, help="images at a time (default 8)"),
     _argument("--json", action="store_true", help="print an object with all numbers"),
     _argument("--picture", type=_Path, metavar="FILE.png", help="draw the first 12 images"),
     _argument("--why", type=_Path, metavar="FOLDER",
               help="draw for each image which pixels speak for its first class")),
    "classify photos/ --weights vgg16.safetensors --picture classes.png",
)  # fmt: skip

COMMANDS: Mapping[str, Command | tuple[str, Mapping[str, Command]]] = {
    "compare": _COMPARE,
    "runs": Command(
        "list the runs below a folder",
        "chainrule.runs.command:listing",
        (
            _argument(
                "folder",
                type=_Path,
                nargs="?",
                default=_Path("runs"),
                metavar="FOLDER",
                help="where they are kept (default runs)",
            ),
            _argument(
                "--results", type=int, default=3, help="how many results to show (default 3)"
            ),
            _argument("--json", action="store_true", help="as a list of objects, with all results"),
        ),
        "runs --json | jq '.[-1].results'",
    ),
    "report": Command(
        "write the report.html of run folders anew",
        "chainrule.runs.command:report",
        (_argument("folders", type=_Path, nargs="+", metavar="RUN", help="a run folder"),),
        "report runs/descent/*",
    ),
    "data": (
        "get, prepare and describe the digits",
        {
            "fetch": Command(
                "download the four MNIST files (the only network use)",
                "chainrule.data.command:fetch",
                (_argument("folder", type=_Path, help="where to put them"),),
                "data fetch digits",
            ),
            "prepare": Command(
                "make a TFDS directory from the four files",
                "chainrule.data.command:prepare",
                (
                    _argument("folder", type=_Path, help="the folder of the four files"),
                    _argument("tfds", type=_Path, help="the TFDS directory to make"),
                ),
                "data prepare digits tfds",
            ),
            "show": Command(
                "describe the digits that are there",
                "chainrule.data.command:show",
                (
                    _argument("--source", default="auto", help="auto, idx, embedded or tfds"),
                    _argument("--data-dir", type=_Path, help="the folder of that source"),
                ),
                "data show --source embedded",
            ),
        },
    ),
    "xray": Command(
        "where NaNs are born in a JAX function and gradients die; both on a page",
        "chainrule.runs.command:xray",
        (
            *_PROGRAM,
            _argument("--eager", action="store_true", help="run operator by operator, uncompiled"),
            _argument("--stats", action="store_true", help="keep only statistics: little memory"),
            _argument(
                "--table",
                action="store_true",
                help="print every operator: its value, its gradient and its line",
            ),
            _argument(
                "--check",
                action="store_true",
                help="exit with 1 if a NaN or an Inf reaches the result or a gradient, or was lost "
                "on the way there",
            ),
            _argument("--live", action="store_true", help="a page to drag: numbers follow"),
            _argument("--root", type=_Path, default=_Path("runs"), help=_ROOT),
        ),
        "xray pairs.py:loss 'float32[8,3]' --check",
    ),
    "audit": Command(
        "what is wrong in a JAX function or about to break: custom rules, traps, margins",
        "chainrule.xray.auditing.command:run",
        (
            *_PROGRAM,
            _argument("--check", action="store_true", help="exit with 1 if something is found"),
            _argument("--ignore", nargs="+", default=(), metavar="NAME", help=_IGNORED),
        ),
        "audit pairs.py:loss --check",
    ),
    "diff": _DIFF,
    "autopsy": Command(
        "what a recorder found out about a training step that failed",
        "chainrule.xray.recorder.command:run",
        (
            _argument("folder", type=_Path, metavar="FOLDER", help="a folder step-<number>"),
            _argument(
                "--replay",
                action="store_true",
                help="run the step again; its function is imported, its file must be unchanged",
            ),
            _argument(
                "--function",
                metavar="MODULE:NAME",
                help="replay this function, or FILE.py:NAME, instead of the recorded one",
            ),
        ),
        "autopsy flight/step-20317 --replay",
    ),
    "descent": Command(
        "compare gradient descents, eta = 0.125 against eta = 0.5: pictures, numbers, a page",
        "chainrule._jobs.command:descent",
        (
            _argument("--etas", type=float, nargs="+", help="the rates (default 0.125 0.5)"),
            _argument(
                "--losses",
                nargs="+",
                choices=("two_well", "digits", "quadratic", "rosenbrock", "coupled"),
                help="what to descend on (default two_well digits)",
            ),
            _argument(
                "--optimizer",
                choices=_OPTIMIZERS,
                default="sgd",
                help="its momentum is 0.9 (default sgd)",
            ),
            _argument("--steps", type=int, default=200, help="of a descent (default 200)"),
            _argument("--seeds", type=int, default=5, help="how many networks (default 5)"),
            _argument("--seed", type=int, default=0, help="of the first one (default 0)"),
            _argument("--samples", type=int, default=1000, help="digits (default 1000)"),
            _argument("--hidden", type=int, default=200, help="hidden units (default 200)"),
            _argument("--data-dir", type=_Path, help="the folder of the full MNIST files"),
            _argument("--root", type=_Path, default=_Path("runs"), help=_ROOT),
        ),
        "descent --etas 0.01 0.03 --losses digits --seeds 2",
    ),
    "explore": Command(
        "a page to play with learning rates, on landscapes and digits or on a loss of yours",
        "chainrule._jobs.command:explore",
        (
            _argument(
                "spec",
                nargs="?",
                metavar="FILE.py:LOSS",
                help="a loss of parameters, and of what else example_args() beside it returns; in "
                "a package also package.module:LOSS (default: the landscapes and the digits)",
            ),
            _argument(
                "--start",
                action="append",
                default=[],
                metavar="NUMBERS",
                help="where to begin, as --start=-1,2; again for B's start (default: the first of "
                "example_args())",
            ),
            _argument("--steps", type=int, help="of a descent (default 60)"),
            _argument("--rates", type=int, default=200, help="of a sweep (default 200)"),
            _argument(
                "--optimizers",
                nargs="+",
                choices=_OPTIMIZERS,
                help="of recorded descents (default sgd momentum adam); a landscape has all",
            ),
            _argument("--root", type=_Path, default=_Path("runs"), help=_ROOT),
        ),
        "explore wells.py:loss --start=-1.5 --start=2",
    ),
    "classify": _CLASSIFY,
    "launch": _LAUNCH,
}
"""Name to command, or to a line of help and verbs with a command each."""
