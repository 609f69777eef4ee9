"""The ``chainrule`` command: a table from names to functions that live in their own modules.

A function is imported when its command is called, so that ``chainrule --help`` answers at once.
"""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from chainrule import __version__
from chainrule._commands import COMMANDS, Argument, Command

__all__ = ["COMMANDS", "Argument", "Command", "main"]
__dir__ = __all__.copy


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 with one line on stderr for bad input."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may follow, and ends here
        import argcomplete

        argcomplete.autocomplete(parser)
    _known(parser, sys.argv[1:] if arguments is None else arguments, COMMANDS, "command")
    given = vars(parser.parse_args(arguments))
    module, _, name = given.pop("_run").partition(":")
    try:
        code = int(getattr(importlib.import_module(module), name)(**given) or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has had enough, as in "| head"; Python would complain of it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # the exit code of SIGPIPE
    except (ValueError, OSError) as error:
        from chainrule._files import printable  # what it imports, --help has no time for

        lines = map(printable, str(error).split("\n"))
        print("chainrule:", "\n".join(lines), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chainrule",
        description="Gradients that can be seen, checked and compared.",
        epilog='completion in bash and zsh: eval "$(register-python-argcomplete chainrule)"',
    )
    parser.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, entry in COMMANDS.items():
        if isinstance(entry, Command):
            _add(commands, name, entry)
            continue
        summary, verbs = entry
        below = commands.add_parser(name, help=summary).add_subparsers(
            title="verbs", required=True, metavar="VERB"
        )
        for verb, command in verbs.items():
            _add(below, verb, command)
    return parser


def _known(
    parser: argparse.ArgumentParser, given: Sequence[str], names: Mapping[str, Any], what: str
) -> None:
    """End with the nearest name if a command, or a verb of it, is none: argparse lists all."""
    if not given or given[0].startswith("-"):
        return
    if given[0] in names:
        if isinstance(entry := names[given[0]], tuple) and not isinstance(entry, Command):
            _known(parser, given[1:], entry[1], f"verb of {given[0]}")
        return
    near = difflib.get_close_matches(given[0], names, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    parser.error(f"no {what} {given[0]!a}: {meant}")


def _add(commands: Any, name: str, command: Command) -> None:
    parser = commands.add_parser(
        name, help=command.help, epilog=f"example: chainrule {command.example}"
    )
    parser.set_defaults(_run=command.function)
    for names, settings in command.arguments:
        parser.add_argument(*names, **settings)


if __name__ == "__main__":
    sys.exit(main())
