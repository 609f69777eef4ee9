"""Trainings that fail at a known step, line and row, and healthy ones, written as people write.

A training is a program of one of five libraries around a fault (`tests.bars.training_faults`). It
is written to a file and imported. Its data are made here: one batch, or one sample, is spoiled, so
that all earlier steps are clean. What is claimed of a training can be measured in plain JAX
(`tests.bars.training_truth`).
"""

import dataclasses
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from tests.bars.training_faults import FAULTS, FLAVOURS, HEALTHY, Batch, Fault
from tests.bars.training_programs import LAST_STEP, MARK, Plan, draw_plan, write

CLEAN_STEPS = 20
Phase = Literal["forward", "backward", "update", "data", "none"]


class Run(NamedTuple):
    """How a training is begun; every call of ``create`` begins anew.

    Attributes:
      create: returns ``(state, loss, optimizer, batches, epochs)`` for ``training.fit`` if the
        flavour is "fit", else ``(train_step, state, batches)``.
    """

    create: Callable[[], tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Training:
    """A training and the truth about it.

    Attributes:
      name: of the module.
      kind: why it fails.
      flavour: one of `FLAVOURS`.
      run: begins it.
      step: the first step, from 0, whose results are not finite; None if there is none.
      lines: of the file, one of which must be named; empty if no operator is to blame.
      file: the program.
      rows: the places in that step's batch of the samples to blame; None if no sample is.
      coupled: whether the samples are mixed, so that rows need not be found.
      phase: "forward", the loss is not finite; "backward", only its gradient; "update", only the
        new state; "data", the batch itself; "none", all is finite.
      replays: whether the step is a function that can be imported.
      in_place: whether the step changes the modules that it is given.
      wrap: "jit", "donate", which consumes its state, or "eager".
      leaf: the leaf of the batch that is bad before anything runs, "" if none is.
      sample: for ``fit``, the place in the data of the sample to blame, if one is.
      healed: begins the same training without the spoiled samples.
    """

    name: str
    kind: str
    flavour: str
    run: Run
    step: int | None
    lines: tuple[int, ...]
    file: pathlib.Path
    rows: tuple[int, ...] | None
    coupled: bool
    phase: Phase
    replays: bool
    in_place: bool
    wrap: str
    leaf: str
    sample: int | None
    healed: Run


def make_data(rng: np.random.Generator, fault: Fault, plan: Plan, count: int) -> Batch:
    """Return samples with which nothing fails."""
    shapes = {
        "table": (plan.features,),
        "sequence": (plan.tokens, plan.features),
        "tokens": (plan.tokens,),
        "pairs": (2, plan.features),
        "image": (8, 8, 1),
    }
    data: Batch = {"inputs": rng.normal(size=(count, *shapes[fault.data])).astype(np.float32)}
    if fault.data == "tokens":
        data["inputs"] = rng.integers(0, 10, (count, plan.tokens), dtype=np.int32)
    real = rng.normal(size=(count, 2)).astype(np.float32)
    data["targets"] = {
        "real": real,
        "positive": np.abs(real) + np.float32(0.5),
        "label": np.arange(count, dtype=np.int32) % 3,
        "binary": (real[:, 0] > 0).astype(np.float32),
    }[fault.targets]
    if fault.masked:
        lengths = rng.integers(1, plan.tokens + 1, count)
        data["mask"] = np.arange(plan.tokens) < lengths[:, None]
    return data


def make_batches(
    rng: np.random.Generator, fault: Fault, plan: Plan
) -> tuple[list[Batch], list[Batch], tuple[int, ...] | None]:
    """Return good batches, the same with a spoiled one, and the spoiled rows."""
    good = [make_data(rng, fault, plan, plan.size) for _ in range(plan.step + 3)]
    if fault.spoil is None:
        return good, good, None
    rows = range(plan.size) if fault.all_rows else [int(rng.integers(plan.size))]
    bad = spoiled(good[plan.step], fault, rows)
    return good, [*good[: plan.step], bad, *good[plan.step + 1 :]], named_rows(fault, rows)


def spoiled(batch: Batch, fault: Fault, rows: Any) -> Batch:
    """Return a copy of a batch with spoiled rows."""
    batch = {name: leaf.copy() for name, leaf in batch.items()}
    for row in rows:
        fault.spoil(batch, int(row))
    return batch


def named_rows(fault: Fault, rows: Any) -> tuple[int, ...] | None:
    """Return the rows to blame: none if it is the whole batch."""
    return None if fault.all_rows else tuple(int(row) for row in rows)


class Epochs(NamedTuple):
    """The data of a training that shuffles them itself.

    Attributes:
      good: the data with which nothing fails.
      bad: the same with the spoiled samples.
      key: draws the orders.
      epochs: how many are to be run.
      step: the one that fails.
      rows: the places of the spoiled samples in its batch.
      sample: the place in the data of the one that is spoiled.
    """

    good: Batch
    bad: Batch
    key: jax.Array
    epochs: int
    step: int
    rows: tuple[int, ...] | None
    sample: int | None


def make_epochs(rng: np.random.Generator, fault: Fault, plan: Plan) -> Epochs:
    """Draw data for ``training.fit`` in which a spoiled sample comes at a late step."""
    key = jax.random.key(plan.seed)
    if fault.spoil is None:
        per_epoch = int(rng.integers(3, 9))
        data = make_data(rng, fault, plan, per_epoch * plan.size)
        return Epochs(data, data, key, plan.step // per_epoch + 1, plan.step, None, None)
    late = None if fault.all_rows or rng.random() < 0.5 else late_sample(rng, plan, key)
    if late is not None:
        count, sample, step, row = late
        samples, rows = [sample], (row,)
    else:
        per_epoch, step = plan.step + int(rng.integers(1, 4)), plan.step
        count = per_epoch * plan.size + int(rng.integers(plan.size))
        rows = range(plan.size) if fault.all_rows else (int(rng.integers(plan.size)),)
        samples = batch_order(count, plan.size, key, 0)[step][list(rows)]
    good = make_data(rng, fault, plan, count)
    epochs = step // (count // plan.size) + 1
    sample = None if fault.all_rows else int(samples[0])
    named = named_rows(fault, rows)
    return Epochs(good, spoiled(good, fault, samples), key, epochs, step, named, sample)


def batch_order(count: int, size: int, key: jax.Array, epoch: int) -> np.ndarray:
    """Return which samples are in every batch of an epoch, a batch a row."""
    from chainrule.data.batches import Batches

    return np.asarray(Batches(np.zeros(count, np.float32), size, key=key).order(epoch))


def late_sample(
    rng: np.random.Generator, plan: Plan, key: jax.Array
) -> tuple[int, int, int, int] | None:
    """Find a sample that the first epoch drops: how many there are, which, its step and row."""
    per_epoch = int(rng.integers(3, 9))
    count = per_epoch * plan.size + int(rng.integers(1, plan.size))
    dropped = np.setdiff1d(np.arange(count), batch_order(count, plan.size, key, 0))
    sample = int(rng.choice(dropped))
    for epoch in range(1, LAST_STEP // per_epoch):
        for batch, row in np.argwhere(batch_order(count, plan.size, key, epoch) == sample):
            return count, sample, epoch * per_epoch + int(batch), int(row)
    return None


def load(path: pathlib.Path) -> types.ModuleType:
    """Import a program under its file's name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def loop_run(module: types.ModuleType, plan: Plan, batches: list[Batch]) -> Run:
    """Return what begins a training with a loop of its own."""

    def create() -> tuple[Any, ...]:
        step = module.make_train_step() if plan.closure else module.train_step
        return step, module.create_state(), [dict(batch) for batch in batches]

    return Run(create)


def fit_run(module: types.ModuleType, plan: Plan, data: Batch, epochs: Epochs) -> Run:
    """Return what begins ``training.fit``."""

    def create() -> tuple[Any, ...]:
        from chainrule.data.batches import Batches

        batches = Batches(data, plan.size, key=epochs.key)
        return module.create_state(), module.loss, module.OPTIMIZER, batches, epochs.epochs

    return Run(create)


def make(
    rng: np.random.Generator, name: str, fault: Fault, flavour: str, folder: pathlib.Path
) -> Training:
    """Draw, write and import one training."""
    fault = dataclasses.replace(fault, targets=fault.targets or str(rng.choice(["real", "label"])))
    plan = draw_plan(rng, fault, flavour)
    if fault.phase == "none":
        plan = dataclasses.replace(plan, step=CLEAN_STEPS - 3)
    sample = None
    if flavour == "fit":
        epochs = make_epochs(rng, fault, plan)
        plan = dataclasses.replace(plan, step=epochs.step, closure=False, functional=False)
        rows, sample = epochs.rows, epochs.sample
    else:
        good, bad, rows = make_batches(rng, fault, plan)
    text = write(rng, fault, flavour, plan)
    file = folder / f"{name}.py"
    file.write_text("\n".join(line.removesuffix(f"  {MARK}") for line in text.split("\n")))
    module = load(file)
    if flavour == "fit":
        run, healed = (fit_run(module, plan, data, epochs) for data in (epochs.bad, epochs.good))
    else:
        run, healed = (loop_run(module, plan, batches) for batches in (bad, good))
    fails = fault.phase != "none"
    marked = [i for i, line in enumerate(text.split("\n"), 1) if line.endswith(MARK)]
    return Training(
        name=name,
        kind=f"{fault.kind}: {fault.name}",
        flavour=flavour,
        run=run,
        step=plan.step if fails else None,
        lines=tuple(marked) if fails else (),
        file=file,
        rows=rows if fails else None,
        coupled=fault.coupled,
        phase=fault.phase,
        replays=not plan.closure,
        in_place=flavour == "nnx" and not plan.functional,
        wrap=plan.wrap,
        leaf=fault.leaf,
        sample=sample if fails else None,
        healed=healed,
    )


def deal(rng: np.random.Generator, faults: tuple[Fault, ...]) -> Iterator[tuple[Fault, str]]:
    """Yield faults with the flavours in turn, no fault much oftener than another."""
    deck: list[Fault] = []
    turn = 0
    while True:
        flavour = FLAVOURS[turn % len(FLAVOURS)]
        fitting = [fault for fault in deck if flavour in fault.flavours]
        if not fitting:
            deck += [faults[i] for i in rng.permutation(len(faults))]
            continue
        deck.remove(fitting[0])
        turn += 1
        yield fitting[0], flavour


def drawn(
    seed: int, count: int, folder: pathlib.Path, faults: tuple[Fault, ...], prefix: str
) -> Iterator[Training]:
    """Draw trainings, write them and yield them one by one."""
    rng = np.random.default_rng(seed)
    dealt = deal(rng, faults)
    for number in range(count):
        fault, flavour = next(dealt)
        words = "".join(c if c.isalnum() else "_" for c in fault.name.lower())
        name = f"{prefix}{seed}_{number:03d}_{flavour}_{words}"
        yield make(rng, name, fault, flavour, pathlib.Path(folder))


def trainings(seed: int, count: int, folder: pathlib.Path) -> Iterator[Training]:
    """Yield trainings that fail, the same for the same seed, written to ``folder``."""
    return drawn(seed, count, folder, FAULTS, "failing")


def clean(seed: int, count: int, folder: pathlib.Path) -> Iterator[Training]:
    """Yield trainings that never fail: some look as if, some only never meet their bad sample."""
    spared = tuple(
        dataclasses.replace(fault, phase="none", spoil=None)
        for fault in FAULTS
        if fault.spoil is not None
    )
    rng = np.random.default_rng(seed)
    some = tuple(spared[i] for i in rng.choice(len(spared), len(HEALTHY), replace=False))
    return drawn(seed, count, folder, HEALTHY + some, "clean")
