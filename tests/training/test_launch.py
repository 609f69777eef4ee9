import contextlib
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from chainrule import runs
from chainrule.training.checkpoints import manifest
from chainrule.training.launch import launch, supervisor
from tests.training import killed

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, capfd):
    """Launch some lines of Python in two processes that do not join: code, output, complaints."""

    def launched(lines, *arguments, **settings):
        script = tmp_path / "script.py"
        script.write_text("import os, signal, sys, time\nrank = os.environ['CHAINRULE_RANK']\n")
        with open(script, "a") as file:
            file.write(textwrap.dedent(lines))
        code = launch(script, arguments, **{"processes": 2, "join": 0} | settings)
        said = capfd.readouterr()
        return code, said.out, said.err

    return launched


def test_a_process_that_said_all_it_will_say_is_listened_to_no_more():
    read, write = os.pipe()
    os.write(write, b"last words")
    os.close(write)
    with selectors.DefaultSelector() as selector, os.fdopen(read, "rb", buffering=0) as said:
        selector.register(said, selectors.EVENT_READ, lambda: said.read(100))
        supervisor._hear(selector)
        assert len(selector.get_map()) == 1
        supervisor._hear(selector)
        assert len(selector.get_map()) == 0


def alive(pid):
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        # A zombie that nobody waits for is dead.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def gone(pids, seconds=10):
    until = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_every_process_runs_the_script_and_the_first_one_is_heard(run):
    code, out, err = run(
        "print(rank, sys.argv[1:]); print('note', rank, file=sys.stderr)", "--a", "1"
    )
    assert code == 0
    assert out == "0 ['--a', '1']\n"
    assert sorted(err.splitlines()) == ["[0] note 0", "[1] note 1"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("raise ValueError('boom')", r"with code 1 (ValueError: boom)"),
        ("sys.exit(3)", r"with code 3"),
        ("sys.exit('no data')", r"with code 1 (no data)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"by SIGKILL"),
        ("os._exit(0)", r"with code 0"),  # gone without leave: the others would wait
    ],
)
def test_who_fails_is_named_with_the_cause_and_the_others_are_ended(run, tmp_path, lines, message):
    clock = time.monotonic()
    code, _, err = run(
        f"""
        open({str(tmp_path)!r} + "/" + rank, "w").write(str(os.getpid()))
        while rank == "0":
            time.sleep(1)
        while not os.path.exists({str(tmp_path)!r} + "/0"):
            time.sleep(0.01)
        {lines}
        """
    )
    assert code == 1
    assert time.monotonic() - clock < 10 + 20  # named within 10 seconds, on a busy machine
    (line,) = [line for line in err.splitlines() if line.startswith("launch: ")]
    assert line == f"launch: rank 1 ended {message}; all 2 processes are ended"
    assert gone([int((tmp_path / rank).read_text()) for rank in "01"], seconds=0)


def test_who_stops_early_does_not_let_the_others_wait_for_ever(run):
    code, _, err = run("while rank == '0': time.sleep(1)", linger=0.5)
    assert code == 1
    assert "launch: ranks [0] still ran 0.5 s after ranks [1] had ended; all 2" in err


def test_there_is_a_limit_of_time(run):
    code, _, err = run("time.sleep(60)", timeout=1.0)
    assert code == 1
    assert "launch: ranks [0, 1] still ran after 1 s; all 2 processes are ended" in err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_whatever_ends_the_launcher_leaves_no_orphan(tmp_path, number, code):
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(tmp_path)!r} + "/" + os.environ["CHAINRULE_RANK"], "w").write(str(os.getpid()))
time.sleep(60)
"""
    )
    command = "from chainrule.cli import main; import sys; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", command, "launch", "--join", "0", str(script)],
        stdin=subprocess.DEVNULL,
    ) as launcher:
        pids = []
        while len(pids) < 2:
            time.sleep(0.05)
            texts = [f.read_text() for f in (tmp_path / "0", tmp_path / "1") if f.exists()]
            pids = [int(text) for text in texts if text]
        assert all(map(alive, pids))
        launcher.send_signal(number)
        assert launcher.wait(20) == code
    assert gone(pids)


def test_a_taken_port_is_said_before_anything_starts(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=rf"port {port} on 127\.0\.0\.1 cannot be used \(Address"
        ):
            run("raise ValueError", port=port)


def test_what_cannot_be_launched_is_refused(tmp_path, unchecked):
    with pytest.raises(FileNotFoundError, match=r"no script .*nothing\.py"):
        launch(tmp_path / "nothing.py", processes=2)
    with pytest.raises(FileNotFoundError, match=r"no script "):
        launch(tmp_path, processes=2)
    with pytest.raises(ValueError, match=r"script must be a path, .* not an int"):
        launch(3, processes=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("processes", 0),
        ("processes", 1.5),
        ("timeout", 0.0),
        ("timeout", float("nan")),
        ("linger", -1.0),
        ("linger", float("inf")),
        ("join", -1),
        ("port", 0),
        ("port", 99_999),
        ("port", "80"),
        ("arguments", "--verbose"),
        ("arguments", [1]),
    ],
)
def test_settings_out_of_range_are_refused_with_their_value(name, value, unchecked):
    with pytest.raises(ValueError, match=rf"{name} must be .*, not {re.escape(repr(value))}"):
        launch(**{"script": __file__, "processes": 2} | {name: value})


def test_standard_input_is_empty(run):
    code, _, err = run("print(sys.stdin.read() == '', file=sys.stderr); input()")
    assert code == 1
    assert "[0] True" in err
    assert "with code 1 (EOFError: EOF when reading a line)" in err.splitlines()[-1]


def test_only_the_first_process_writes_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_RANK", "1")
    with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
        run.append({"step": 1})
    assert not run.path.exists()
    assert not list(tmp_path.iterdir())


TWO = """
import os, sys
import jax
import numpy as np
from chainrule.training import devices
from tests.training import killed

assert jax.process_count() == jax.device_count() == 2
mesh = devices.mesh()
end = killed.fit(2, mesh=mesh)
if jax.process_index() == 0:
    np.save(sys.argv[1], end.params["kernel"])
assert devices.agree(3 + jax.process_index()) == 4
port = int(os.environ["CHAINRULE_COORDINATOR"].rpartition(":")[2])
rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/self/net/{name}")]
listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
assert listening and all(f"0100007F:{port:04X}" in one for one in listening), listening  # 127.0.0.1
"""


def test_two_processes_train_as_one_and_agree_on_a_number(tmp_path, capfd, monkeypatch):
    (tmp_path / "two.py").write_text(TWO)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    code = launch(tmp_path / "two.py", [str(tmp_path / "end.npy")], processes=2, timeout=150.0)
    assert code == 0, capfd.readouterr().err
    one = killed.fit(2)
    np.testing.assert_allclose(np.load(tmp_path / "end.npy"), one.params["kernel"], atol=1e-5)


# --- with JAX's own runtime, which takes its time ------------------------------------------------


LONG = """
import os, signal, sys
import jax
from chainrule import training
from chainrule.training import devices
from tests.training import killed

mesh, first = devices.mesh(), jax.process_index() == 0
def tick(step, steps):
    if step >= 32 and not first:
        {}
with training.Checkpoints(sys.argv[1]) as checkpoints:
    killed.fit(100_000, mesh=mesh, tick=tick, checkpoints=checkpoints)
"""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("raise ValueError('boom')", "rank 1 ended with code 1 (ValueError: boom)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "rank 1 ended by SIGKILL"),
        ("sys.exit(0)", "ranks [0] still ran 5 s after ranks [1] had ended"),
    ],
    ids=["raises", "dies", "stops early"],
)
def test_a_peer_that_is_lost_in_the_middle_of_a_training(
    tmp_path, capfd, monkeypatch, lines, message
):
    (tmp_path / "long.py").write_text(LONG.format(lines))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    folder = tmp_path / "checkpoints"
    code = launch(tmp_path / "long.py", [str(folder)], processes=2, linger=5.0, timeout=150.0)
    assert code == 1
    assert message in capfd.readouterr().err.splitlines()[-1]
    for path in folder.glob("step-*[0-9]"):  # and of one that was being written, its .partial
        manifest.check_files(path, manifest.read(path))


@pytest.mark.soak
def test_a_peer_that_never_comes(tmp_path, capfd):
    script = tmp_path / "script.py"
    script.write_text("")

    def stop(pids=()):
        while len(pids) < 2:
            pids = children()
        os.kill(pids[1], signal.SIGSTOP)

    def children():
        listed = subprocess.run(
            ["pgrep", "-f", f"launch/_worker.py .*{script}"],
            capture_output=True,
            text=True,
        )
        return [int(pid) for pid in listed.stdout.split()]

    thread = threading.Thread(target=stop)
    thread.start()
    code = launch(script, processes=2, join=5, timeout=60.0)
    thread.join()
    assert code == 1
    assert "launch: rank 0 ended by SIGABRT" in capfd.readouterr().err
    assert not children()
