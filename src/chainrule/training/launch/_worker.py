"""One of the processes that `chainrule.training.launch` starts: joins the others, runs a script.

``python _worker.py PIPE SCRIPT ...``, with its rank in the environment. It runs as a file, so that
nothing of this package is imported before the script.

Failures under `jax.distributed` are no exceptions: a process that raises waits for ever for the
others to shut down, and one that has lost its launcher keeps running. So this one always exits by
itself.
"""

import os
import runpy
import sys
import threading
import traceback

RANK = "CHAINRULE_RANK"
PROCESSES = "CHAINRULE_PROCESSES"
COORDINATOR = "CHAINRULE_COORDINATOR"
JOIN_SECONDS = "CHAINRULE_JOIN_SECONDS"

DONE = b"d"
"""What a worker sends to its launcher when its script has ended well."""


def main() -> None:
    """Run the script that the command line names; never returns."""
    told_to_end, launcher = threading.Event(), os.dup(0)
    # The script must not read what the launcher says: it finds its standard input empty.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_listen, args=(launcher, told_to_end), daemon=True).start()
    said, sys.argv = int(sys.argv[1]), sys.argv[2:]
    code = 1
    try:
        if os.environ[JOIN_SECONDS] != "0":
            join()
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 0:
        # The first process to exit breaks the connections of the others: all exit together.
        os.write(said, DONE)
        told_to_end.wait()
    os._exit(code)


def join() -> None:
    """Join the other processes, as the environment says, on the CPU."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize(
        os.environ[COORDINATOR],
        # By default it listens on all interfaces, to anybody.
        coordinator_bind_address=os.environ[COORDINATOR],
        num_processes=int(os.environ[PROCESSES]),
        process_id=int(os.environ[RANK]),
        initialization_timeout=int(os.environ[JOIN_SECONDS]),
        heartbeat_timeout_seconds=10,
    )


def _listen(launcher: int, told_to_end: threading.Event) -> None:
    # One byte is permission to exit; the end of the file means that the launcher is gone.
    if not os.read(launcher, 1):
        os._exit(1)
    told_to_end.set()


if __name__ == "__main__":
    main()
