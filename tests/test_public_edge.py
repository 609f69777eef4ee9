"""Wrong arguments at the public edge: they are named, or they do no harm."""

import contextlib
import functools
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import re
import resource
import select
import signal
import subprocess
import sys
import traceback
import types
import warnings

import hypothesis
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import strategies

import chainrule
from tests import public_edge

OURS = str(pathlib.Path(chainrule.__file__).parent)
THEIRS = public_edge.__file__  # functions that a user passes in may raise what they like
SECONDS = 20
LONG = {"steps", "epochs", "max_epochs", "iterations", "episodes"}  # may be asked for too many of
PATHS = {"path", "folder", "root", "resume", "run_a", "run_b", "data_dir"}  # named by their value

#: What is passed in the place of an argument, made anew each time.
POOL = {
    "None": lambda: None,
    "''": lambda: "",
    "'x'": lambda: "x",
    "b'x'": lambda: b"x",
    "True": lambda: True,
    "np.bool_(False)": lambda: np.bool_(False),
    "0": lambda: 0,
    "-1": lambda: -1,
    "-3": lambda: -3,
    "7": lambda: 7,
    "10**30": lambda: 10**30,
    "np.int64(2)": lambda: np.int64(2),
    "np.uint8(1)": lambda: np.uint8(1),
    "1.0": lambda: 1.0,
    "2.5": lambda: 2.5,
    "-0.5": lambda: -0.5,
    "1e300": lambda: 1e300,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "np.float64(0.5)": lambda: np.float64(0.5),
    "1j": lambda: 1j,
    "[]": lambda: [],
    "()": lambda: (),
    "[1, 2]": lambda: [1, 2],
    "(2.5, -1)": lambda: (2.5, -1),
    "[None]": lambda: [None],
    "['a', 'a']": lambda: ["a", "a"],
    "[[1], [2, 3]]": lambda: [[1], [2, 3]],
    "{}": dict,
    "{'a': 1}": lambda: {"a": 1},
    "{'a': None}": lambda: {"a": None},
    "{1: 'x'}": lambda: {1: "x"},
    "{'a': zeros(2, 3)}": lambda: {"a": jnp.zeros((2, 3))},
    "{1, 2}": lambda: {1, 2},
    "range(3)": lambda: range(3),
    "generator": lambda: (i for i in range(3)),
    "lambda": lambda: lambda *args, **kwargs: None,
    "object()": object,
    "slice": lambda: slice(0, 2),
    "zeros()": lambda: jnp.zeros(()),
    "zeros(0)": lambda: jnp.zeros((0,)),
    "zeros(0, 3)": lambda: np.zeros((0, 3), np.float32),
    "ones(3)": lambda: jnp.ones(3),
    "zeros(2, 3)": lambda: jnp.zeros((2, 3)),
    "zeros(1, 1, 1, 1, 1)": lambda: jnp.zeros((1, 1, 1, 1, 1)),
    "float64(2, 3)": lambda: np.ones((2, 3)),
    "float16(4)": lambda: np.ones(4, np.float16),
    "int64(4)": lambda: np.arange(4),
    "int32(4)": lambda: jnp.arange(4),
    "uint8(2, 4)": lambda: np.full((2, 4), 200, np.uint8),
    "bool(4)": lambda: np.array([True, False, True, True]),
    "complex(2, 2)": lambda: np.full((2, 2), 1j),
    "object array": lambda: np.array([None, 1], dtype=object),
    "str array": lambda: np.array(["a", "b"]),
    "nan array": lambda: jnp.array([1.0, jnp.nan, 2.0, 3.0]),
    "inf array": lambda: np.array([[1.0, np.inf], [2.0, 3.0]], np.float32),
    "strided": lambda: np.arange(24.0, dtype=np.float32).reshape(4, 6).T[::2, ::-1],
    "key": lambda: jax.random.key(1),
    "keys(2)": lambda: jax.random.split(jax.random.key(1)),
    "raw key": lambda: jax.random.PRNGKey(1),
    "ShapeDtypeStruct": lambda: jax.ShapeDtypeStruct((2, 3), jnp.float32),
}
#: Sizes that must be refused before anything is set aside; tried with little memory only.
HUGE = {
    "2**31": lambda: 2**31,
    "10**9": lambda: 10**9,
    "10**12": lambda: 10**12,
    "(10**6, 10**6)": lambda: (10**6, 10**6),
    "10**12 float": lambda: 1e12,
}


@functools.cache
def calls():
    return public_edge.calls()


@contextlib.contextmanager
def as_people_run_it():
    """Without the checks and the strictness of the tests, every frame in sight."""
    checked, filtering = jaxtyping.config.jaxtyping_disable, jax.config.jax_traceback_filtering
    jaxtyping.config.update("jaxtyping_disable", True)
    jax.config.update("jax_traceback_filtering", "off")
    try:
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        jax.config.update("jax_traceback_filtering", filtering)
        jaxtyping.config.update("jaxtyping_disable", checked)


class Late(BaseException):
    """The call takes too long."""


@contextlib.contextmanager
def within(seconds):
    def late(number, frame):
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(name, spoiled, pool=POOL):
    """Call a function with some arguments spoiled; return what is wrong with what comes out."""
    function, call = calls()[name]
    values = {**call, **{parameter: pool[value]() for parameter, value in spoiled.items()}}
    args, kwargs, words = [], {}, set(call)
    words |= {values[one] for one in PATHS & set(spoiled) if isinstance(values[one], str)}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in values:
            continue
        value = values.pop(parameter.name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += value if isinstance(value, tuple) else (value,)
            words |= {"argument"}
        elif parameter.kind is parameter.VAR_KEYWORD:
            named = isinstance(value, dict) and all(isinstance(key, str) for key in value)
            value = value if named else dict.fromkeys(call[parameter.name] or ("odd",), value)
            kwargs |= value
            words |= {"setting", *value}
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = value
        else:
            args.append(value)
    assert not values, f"{name} has no {list(values)}"
    try:
        with as_people_run_it(), within(SECONDS):
            function(*args, **kwargs)
    except Late:
        return "" if LONG & set(spoiled) else f"does not end within {SECONDS} s"
    except (Exception, SystemExit) as error:
        return _wrong(error, words) if spoiled else f"{type(error).__name__}: {error}"
    return ""


def _wrong(error, words):
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.filename == THEIRS for frame in frames):
        return ""
    text = f"{type(error).__name__}: {str(error)[:200]}"
    if not isinstance(error, ValueError | TypeError | OSError):
        return text
    if not frames[-1].filename.startswith(OURS):
        return f"{text} (from {frames[-1].name} of {frames[-1].filename[-40:]})"
    known = str(error).startswith("unknown ") or any(names(str(error), word) for word in words)
    if not known:
        return f"{text} (names no argument)"
    return ""


def names(message, word):
    """Tell whether a message names an argument: as it is, in words, or in the singular."""
    if word == "a":  # an article as well
        return bool(re.search(r"(?<![\w'])a(?= must| is| has| \(| \[|['\]\[=:,])", message))
    spellings = {word, word.replace("_", " "), word.removesuffix("s")}
    return any(re.search(rf"\b{re.escape(one)}\b", message, re.I) for one in spellings)


def open_parameters():
    """Return (function, parameter) of everything that can be spoiled."""
    return [
        (name, parameter)
        for name, (_, call) in calls().items()
        for parameter in call
        if parameter != "self"
    ]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A working folder with the files that the calls read; it is the home as well."""
    folder = tmp_path_factory.mktemp("furnished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        public_edge.furnish(folder)
        yield folder


def fuzz(examples):
    places, values = open_parameters(), sorted(POOL)
    one = strategies.tuples(strategies.sampled_from(places), strategies.sampled_from(values))

    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @hypothesis.given(one, strategies.sampled_from(values), strategies.integers(0, 20))
    def spoil(first, second, which):
        (name, parameter), value = first
        spoiled = {parameter: value}
        # Half of the time another argument is wrong as well.
        others = [other for place, other in places if place == name and other != parameter]
        if which < len(others):
            spoiled[others[which]] = second
        assert attempt(name, spoiled) == ""

    spoil()


@pytest.mark.timeout(600)  # compiles whatever there is
def test_every_valid_call_is_one(furnished):
    wrong = {name: found for name in calls() if (found := attempt(name, {}))}
    assert wrong == {}


def test_wrong_arguments_are_named(furnished):
    fuzz(200)


@pytest.mark.bars
@pytest.mark.timeout(3600)
def test_wrong_arguments_are_named_in_two_thousand_tries(furnished):
    fuzz(2000)


@pytest.mark.bars
@pytest.mark.timeout(3600)
def test_sizes_that_no_machine_has_are_refused(furnished):
    assert huge_sizes(furnished) == []


def sizes():
    """Return (function, parameter, size) wherever a number or some stand in the valid call."""
    return [
        (name, parameter, size)
        for name, parameter in open_parameters()
        for size in HUGE
        if is_size(calls()[name][1][parameter])
    ]


def is_size(value):
    """Tell whether a size could be meant: a number, none, or a tuple of numbers."""
    if isinstance(value, tuple):
        return all(map(is_size, value))
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def huge_sizes(folder, gigabytes=8):
    """Try every size in processes of little memory; one that dies or does not end is a finding."""
    places = sizes()
    found, done = [], 0
    while done < len(places):
        worker = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(done), str(gigabytes)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=pathlib.Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": f"{pathlib.Path(OURS).parent}{os.pathsep}."},
        )  # fmt: skip
        while line := _line(worker):
            number, wrong = json.loads(line)
            done = number + 1
            if wrong:
                found.append((*places[number], wrong))
        code = worker.poll()
        worker.kill()
        worker.wait()
        worker.stdout.close()
        if done < len(places):
            if code is not None or places[done][1] not in LONG:
                found.append((*places[done], "does not end" if code is None else f"dies: {code}"))
            done += 1
    return found


def _line(worker):
    """Return the next line of a process, or "" if it ended or has been at it for too long."""
    ready, _, _ = select.select([worker.stdout], [], [], 4 * SECONDS)
    return worker.stdout.readline() if ready else ""


def _work(folder, start, gigabytes):
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30,) * 2)
    for number, (name, parameter, value) in enumerate(sizes()[start:], start):
        print(json.dumps([number, attempt(name, {parameter: value}, HUGE)]), flush=True)


def public_callables():
    """Return (module, name, function or class) of what every public module offers."""
    for info in pkgutil.walk_packages(chainrule.__path__, "chainrule."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", None) or vars(module):
            one = getattr(module, name)
            ours = getattr(one, "__module__", "").startswith("chainrule")
            if not name.startswith("_") and ours and isinstance(one, types.FunctionType | type):
                yield info.name, name, one


def is_record(one):
    """Tell whether it holds what it is given and does nothing with it."""
    if not isinstance(one, type):
        return False
    return (
        issubclass(one, BaseException)
        or hasattr(one, "_fields")
        or getattr(one, "_is_protocol", False)
        or (hasattr(one, "__dataclass_fields__") and "__post_init__" not in vars(one))
    )


def test_every_public_function_is_called_or_left_out_for_a_reason(furnished):
    called = set()
    for function, _ in calls().values():
        while function is not None:
            called.add(id(function))
            function = getattr(function, "__wrapped__", None)
    missing = {
        f"{one.__module__}.{one.__qualname__}"
        for module, name, one in public_callables()
        if id(one) not in called and not is_record(one)
    }
    left_out = tuple(public_edge.LEFT_OUT)
    assert {name for name in missing if not name.startswith(left_out)} == set()
    unused = [
        start for start in left_out
        if not any(
            f"{one.__module__}.{one.__qualname__}".startswith(start) or f"{m}.{n}".startswith(start)
            for m, n, one in public_callables()
        )
    ]  # fmt: skip
    assert unused == []


def test_the_fuzz_sees_what_is_wrong(furnished, monkeypatch):
    def raises(error):
        def function(x):
            raise error

        return function

    def outcome(function):
        monkeypatch.setitem(calls(), "planted", (function, {"x": 1}))
        return attempt("planted", {"x": "0"})

    assert "KeyError" in outcome(raises(KeyError("x")))
    assert "from function of" in outcome(raises(ValueError("x must be 1")))  # no frame of ours
    assert "names no argument" in outcome(lambda x: chainrule._require.count("y", x))
    assert outcome(lambda x: chainrule._require.count("x", x)) == ""
    assert outcome(lambda x: x) == ""
    monkeypatch.setitem(calls(), "planted", (lambda x: chainrule._require.count("x", x), {"x": 0}))
    assert "x must be" in attempt("planted", {})  # no valid call
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 0.05)
    assert "does not end" in outcome(lambda x: [None for _ in iter(int, 1)])


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
