"""Plant errors in the package, one at a time, and count those that the tests see.

    make mutate SEED=0 COUNT=200

The errors are drawn by the seed from all that `mutations.py` can make in all modules of ``src``.
Each is planted in a copy of the package, on which the tests that run its line are run, those of its
own module first, until one fails or their processor time is over: an error that makes a test hang
is seen too, and counted apart. What survives is listed. Which tests run a line is found once, by
running all of them, and kept until a file changes.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from mutations import Mutation, mutated, mutations

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
KEPT = ROOT / ".mutants"
MOST_TESTS = 100
"""Of the tests that run a line, so many are tried."""


def main() -> int:
    """Run it; the exit code says whether at least 95 % are seen."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=120, help="processor time for one error")
    parser.add_argument("--only", default="", help="files with this in their path")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    covered = coverage(options.jobs)
    files = sorted(path for path in SRC.rglob("*.py") if options.only in path.as_posix())
    every = [one for path in files for one in mutations(SRC, path)]
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))
    print(f"seed {options.seed}: {len(chosen)} of {len(every)} possible errors")
    begun, results = time.monotonic(), []
    with ThreadPoolExecutor(options.jobs) as pool:
        judged = pool.map(lambda one: judge(one, covered, options.seconds), chosen)
        for one, how in zip(chosen, judged, strict=True):
            results.append(how)
            if how == "survived":
                print(f"survived, number {len(results)}: {one}", flush=True)
    seen = len(chosen) - results.count("survived")
    minutes = (time.monotonic() - begun) / 60
    print(
        f"{seen} of {len(chosen)} seen, {100 * seen / len(chosen):.1f} %, "
        f"{results.count('out of time')} of them by running out of time, in {minutes:.1f} min"
    )
    return int(seen < 0.95 * len(chosen))


def judge(mutation: Mutation, covered: dict, seconds: int) -> str:
    """Tell what becomes of one error: "seen", "survived", or "out of time", which is seen too."""
    tests = tests_of(mutation, covered)
    if not tests:
        return "survived"
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "src"
        shutil.copytree(SRC, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / mutation.path).write_text(mutated(SRC / mutation.path, mutation.number))
        # The tests as they are; of the package, the copy.
        names = [test.replace("src/", f"{copy}/", 1) if test.startswith("src/") else test
                 for test in tests]  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds)),
        )  # fmt: skip
        try:
            code = process.wait(timeout=10 * seconds)  # a test may hang without computing
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        if code in (-signal.SIGKILL, -signal.SIGXCPU):
            return "out of time"
        return "seen" if code else "survived"


def tests_of(mutation: Mutation, covered: dict) -> list[str]:
    """Return the tests that run a line, or where none does, that run its file.

    Those of its own module come first, and of equals the fastest.
    """
    rows = covered["lines"].get(mutation.path, {})
    tests = set(rows.get(str(mutation.line), ()))
    tests = tests or {test for some in rows.values() for test in some}
    stem = pathlib.PurePath(mutation.path).stem.strip("_")

    def order(test: str) -> tuple[bool, float]:
        return f"test_{stem}." not in test, covered["tests"][test]

    return sorted(tests, key=order)[:MOST_TESTS]


def coverage(jobs: int) -> dict:
    """Return which tests run which lines, and the seconds of each test."""
    texts = [
        path.read_bytes()
        for part in ("src", "tests")
        for path in sorted((ROOT / part).rglob("*.py"))
    ]
    kept = KEPT / f"{hashlib.sha256(b''.join(texts)).hexdigest()[:16]}.json"
    if not kept.exists():
        print("running all tests once, to find which lines they run")
        KEPT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {
                "CHAINRULE_COVERED": folder,
                "PYTHONPATH": os.pathsep.join([str(SRC), str(pathlib.Path(__file__).parent)]),
            }
            command = [sys.executable, "-m", "pytest", "-q", "-p", "covered", "-n", str(jobs),
                       "--dist", "loadfile"]  # fmt: skip
            code = subprocess.run(command, cwd=ROOT, env=environment).returncode
            if code not in (0, 1):  # 1: some failed, and are left out
                raise SystemExit(f"pytest ended with {code}")
            merged: dict = {"tests": {}, "lines": {}}
            for part in pathlib.Path(folder).glob("*.json"):
                found = json.loads(part.read_text())
                merged["tests"] |= found["tests"]
                for file, rows in found["lines"].items():
                    for line, tests in rows.items():
                        merged["lines"].setdefault(file, {}).setdefault(line, []).extend(tests)
        kept.write_text(json.dumps(merged))
    return json.loads(kept.read_text())


if __name__ == "__main__":
    sys.exit(main())
