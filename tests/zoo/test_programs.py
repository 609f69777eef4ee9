"""The x-ray on forty programs of other libraries, held against what their author knows of them."""

import dataclasses
import functools
import importlib
import inspect
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator

import jax
import numpy as np
import pytest

from chainrule import xray
from tests.zoo import zoo
from tests.zoo.zoo import Program

LIBRARIES = (
    *("linen", "nnx", "optax", "equinox", "haiku", "jraph"),
    *("diffrax", "optimistix", "lineax", "numpyro", "distrax"),
)
SAMPLE = ("linen.tied_embedding", "nnx.siamese", "optax.cross_entropy")
"""What runs with every other test: flax and optax are always there."""
BARS = {
    "runs": 1.0,  # the x-ray takes the program as its users write it
    "gradients": 1.0,  # all of them, to 1e-5 of the largest
    "parts": 1.0,  # of a parameter used more than once, by its uses: their sum is its gradient
    "lines": 0.95,  # operators that name a line of the program, and that line computes something
    "inside": 0.95,  # those inside of loops that libraries make
    "seen": 0.95,  # lines that compute something and are named
    "layers": 0.95,  # named in the flow as users of the library name them
    "shared": 0.95,  # parameters used more than once, of all that are or are said to be
}
#: Where equinox, and what is built on it, hides its loops.
OPENED = ("scan", "while", "cond", "fn_wrapper", "fn_wrapped")
COMPILED = "/jax/core/compile/backend_compile_duration"
Share = tuple[int, int]

pytestmark = pytest.mark.filterwarnings("ignore")  # their warnings are theirs


@pytest.fixture(scope="module", autouse=True)
def as_others_run():
    """JAX's own rules of promotion: these libraries were not written under strict ones."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@functools.cache
def programs(library: str) -> dict[str, Program]:
    """The programs of one library, which is imported only here: that takes its time."""
    with warnings.catch_warnings(action="ignore"):
        module = importlib.import_module(f"tests.zoo.programs.{library}")
    return {one.name: one for one in vars(module).values() if isinstance(one, Program)}


@dataclasses.dataclass
class Found:
    """What the x-ray says of one program: for each bar how much is right, and of how much.

    Attributes:
      shares: for each bar what is right, and of how much.
      wrong: a line for each thing that is not.
      compiled, seconds: of the record and of `shared`.
    """

    shares: dict[str, Share]
    wrong: list[str] = dataclasses.field(default_factory=list)
    compiled: Share = (0, 0)
    seconds: tuple[float, float] = (0.0, 0.0)


@functools.cache
def examine(program: Program) -> Found:
    loss, *args = program.build()
    found = Found(dict.fromkeys(BARS, (0, 0)))
    found.shares |= {"runs": (0, 1), "gradients": (0, 1)}
    found.shares |= {bar: (0, len(getattr(program, bar))) for bar in ("layers", "shared")}
    with counted() as record:
        try:
            report = xray.xray(loss, *args)
        except ValueError as error:
            found.wrong.append(str(error))
            return found
    found.shares["runs"] = (1, 1)
    with counted() as sharing:
        shared = {one.node.label: (one, str(one)) for one in report.shared()}
    found.compiled = (record.compiled, sharing.compiled)
    found.seconds = (record.seconds, sharing.seconds)
    expected = zoo.arrays(program.grad(loss)(*args))
    judge_gradients(found, expected, zoo.arrays(report.grads[0]))
    argument = next(iter(inspect.signature(loss).parameters))
    judge_shared(found, program, argument, shared)
    judge_parts(found, expected, argument, [one for one, _ in shared.values()])
    layers = [layer.name for layer in report.flow().layers]
    if program.unroll:
        report = xray.xray(loss, *args, unroll=True)
        layers += [layer.name for layer in report.flow().layers]
    judge_lines(found, program, report)
    missing = [name for name in program.layers if not any(zoo.ends(one, name) for one in layers)]
    found.shares["layers"] = (len(program.layers) - len(missing), len(program.layers))
    if missing:
        found.wrong.append(f"layers {missing} are not among {sorted(set(layers))}")
    return found


@functools.cache
def compilations() -> list[str]:
    """What JAX compiles from the first call on: it keeps its listeners."""
    events = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: events.append(event) if event == COMPILED else None
    )
    return events


class counted:  # noqa: N801
    """How often JAX compiles, and for how long it runs."""

    def __enter__(self):
        self.before, self.start = len(compilations()), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start
        self.compiled = len(compilations()) - self.before


def operators(report: xray.Report) -> list[xray.Node]:
    return [node for node in report.nodes if node.op not in ("input", "constant")]


def inside(report: xray.Report, depth: int = 4) -> Iterator[xray.Node]:
    """The operators inside of what loops, and of what loops in there."""
    for node in operators(report):
        if depth and node.op in OPENED:
            opened = report.open(node, step=None if report.steps is None else 0)
            yield from operators(opened)
            yield from inside(opened, depth - 1)


def judge_gradients(found: Found, expected: dict, got: dict) -> None:
    largest = max(np.abs(one).max() for one in expected.values())
    assert largest > 0
    apart = {path: np.abs(one - got[path]).max() for path, one in expected.items() if path in got}
    worst = max(apart.values(), default=0.0)
    right = len(apart) == len(expected) and worst <= 1e-5 * largest
    found.shares["gradients"] = (int(right), 1)
    if not right:
        found.wrong.append(f"gradients differ by {worst} of {largest}: {apart}, {list(got)}")


def judge_shared(found: Found, program: Program, argument: str, labels: Iterable[str]) -> None:
    labels = [one for one in labels if zoo.words(one)[0] == argument]
    right = [name for name in program.shared if any(zoo.ends(one, name) for one in labels)]
    known = program.shared + program.repeated
    false = [one for one in labels if not any(zoo.ends(one, name) for name in known)]
    found.shares["shared"] = (len(right), len(program.shared) + len(false))
    if false or len(right) < len(program.shared):
        found.wrong.append(f"shared are {program.shared}, and not {labels}")


def judge_parts(found: Found, expected: dict, argument: str, shared: list) -> None:
    largest = max(np.abs(one).max() for one in expected.values())
    for one in shared:
        name, *path = zoo.words(one.node.label)
        if name == argument and tuple(path) in expected:
            total = sum(use.contribution for use in one.uses if use.contribution is not None)
            apart = np.abs(total - expected[tuple(path)]).max()
            right, count = found.shares["parts"]
            found.shares["parts"] = (right + int(apart <= 1e-5 * largest), count + 1)
            if apart > 1e-5 * largest:
                found.wrong.append(f"the parts of {one.node.label} miss its gradient by {apart}")


def judge_lines(found: Found, program: Program, report: xray.Report) -> None:
    allowed = {f"{program.file}:{line}" for line in {*program.operators, *program.perhaps}}
    named = set()
    for bar, nodes in (
        ("lines", operators(report)),
        ("inside", list(inside(report)) if program.inside else []),
    ):
        pairs = [(node.op, node.line.partition(" ")[0]) for node in nodes]
        wrong = Counter(f"{op} is said to be of {at}" for op, at in pairs if at not in allowed)
        found.shares[bar] = (len(pairs) - wrong.total(), len(pairs))
        found.wrong += [f"{count} times {text}" for text, count in wrong.most_common(3)]
        named |= {*pairs, *((None, at) for _, at in pairs)}
    expected = [(op, at) for at, known in program.operators.items() for op in known or {None}]
    unseen = [(op, at) for op, at in expected if (op, f"{program.file}:{at}") not in named]
    found.shares["seen"] = (len(expected) - len(unseen), len(expected))
    if unseen:
        found.wrong.append(f"not found: {unseen}")


@pytest.mark.parametrize("name", SAMPLE)
def test_a_program_is_seen_as_its_author_knows_it(name):
    found = examine(programs(name.partition(".")[0])[name])
    for right, total in found.shares.values():
        assert right == total, found.wrong
    assert found.compiled[1] <= 3 * found.compiled[0]


def test_what_its_author_did_not_say_is_counted_as_wrong():
    right = programs("optax")["optax.cross_entropy"]
    shifted = {line + 1: known for line, known in right.operators.items()}
    wrong = dataclasses.replace(right, operators=shifted, layers=("den",), shared=("dense/b",))
    found = examine(wrong).shares
    assert found["lines"][0] < found["lines"][1]
    assert found["seen"][0] < found["seen"][1]
    assert (found["layers"], found["shared"]) == ((0, 1), (0, 2))


@pytest.fixture(scope="module")
def every(as_others_run):
    """What is found of each program, printed with the shares of each library."""
    known = {name: one for library in LIBRARIES for name, one in programs(library).items()}
    table = {name: examine(program) for name, program in known.items()}
    for library in LIBRARIES:
        mine = {name: one for name, one in table.items() if name.startswith(f"{library}.")}
        print(f"\n{library}: " + ", ".join(f"{bar} {share(mine, bar)}" for bar in BARS))
        for name, one in mine.items():
            times = f"record {one.seconds[0]:.2f} s, shared {one.seconds[1]:.2f} s"
            print(f"  {name}: {times}, compiled {one.compiled[0]} and {one.compiled[1]} times")
            print("".join(f"    {line}\n" for line in one.wrong), end="")
    print("\nall: " + ", ".join(f"{bar} {share(table, bar)}" for bar in BARS))
    return table


def share(table: dict[str, Found], bar: str) -> str:
    return "{} of {}".format(*summed(table, bar))


def summed(table: dict[str, Found], bar: str) -> Share:
    rights, totals = zip(*(one.shares[bar] for one in table.values()), strict=True)
    return sum(rights), sum(totals)


@pytest.mark.zoo
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bar", BARS)
def test_the_programs_are_seen_as_their_authors_know_them(every, bar):
    assert len(every) == 40
    right, total = summed(every, bar)
    assert right >= BARS[bar] * total, [one.wrong for one in every.values()]


@pytest.mark.zoo
@pytest.mark.timeout(1800)
def test_sharing_compiles_at_most_three_times_as_often_as_the_record(every):
    worst = max(one.compiled[1] / max(one.compiled[0], 1) for one in every.values())
    assert worst <= 3
