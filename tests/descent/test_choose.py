"""A rate chosen from short descents: against sweeps of all rates, and against closed forms."""

import functools
import math
import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import descent
from chainrule.descent import evidence

HEAVY = functools.partial(optax.sgd, momentum=0.9)


def bowl(w):
    return 2 * w["u"] ** 2 + w["v"] ** 2 / 10


START = {"u": jnp.array(1.0), "v": jnp.array(1.0)}


@pytest.fixture(scope="module")
def chosen():
    return descent.choose(bowl, START, None, 100)


def test_the_choice_is_near_the_best_of_all_rates_and_its_trace_is_that_of_the_sweep(chosen):
    rates = np.geomspace(1e-3, 1.0, 200)
    best = np.nanmin(descent.sweep(bowl, START, rates, 100).loss[:, -1])
    own = descent.sweep(bowl, START, chosen.rates, 100)
    k = int(np.argmin(np.abs(chosen.rates - chosen.rate)))
    start = float(bowl(START))
    assert (own.loss[k, -1] - best) / (start - best) < 0.02
    for i, ran in enumerate(chosen.ran):
        due, got = own.loss[i, : ran + 1], chosen.trace.loss[i]
        np.testing.assert_allclose(got[: ran + 1], due, rtol=1e-4)
        np.testing.assert_allclose(
            chosen.trace.grad_norm[i, : ran + 1], own.grad_norm[i, : ran + 1], rtol=1e-4
        )
        assert np.isnan(got[ran + 1 :]).all()
        lane = descent.Trace(due, own.grad_norm[i, : ran + 1], None, None)
        assert chosen.verdicts[i] == descent.verdict(lane)[0]
    assert (np.diff(chosen.rates) > 0).all()
    assert {int(n) for n in chosen.ran} == {13, 41, 100}  # two, six and all of 16 parts of 7


def test_it_costs_no_more_than_its_budget_and_the_edge_is_counted(chosen):
    parts = sum(math.ceil((n + 1) / 7) for n in chosen.ran)
    assert chosen.cost <= 0.05
    assert chosen.cost > parts / 16 / 200, "what the edge cost"
    small = descent.choose(bowl, START, None, 200, budget=0.025)
    assert small.cost <= 0.025
    assert len(small.rates) < len(chosen.rates)


def test_the_edge_is_that_of_the_quadratic_and_the_next_rate_falls_off_it(chosen):
    assert chosen.edge == pytest.approx(2 / 4, rel=1e-3)
    assert chosen.sure == "flat"
    assert chosen.low < chosen.rate < chosen.high < 0.5
    heavy = descent.choose(bowl, START, None, 40, optimizer=HEAVY)
    assert heavy.edge == pytest.approx(2 * 1.9 / 4, rel=1e-3)


def test_a_cliff_is_where_the_next_higher_rate_diverged():
    def narrow(w):  # the flat direction wants the highest rate that the steep one allows
        return 2 * w["u"] ** 2 + w["v"] ** 2 / 100

    found = descent.choose(narrow, START, None, 200)
    assert found.verdicts[list(found.rates).index(np.float32(found.rate)) + 1] == "diverged"
    assert found.sure == "cliff"


def test_an_end_of_the_rates_that_were_tried_is_said_to_be_open():
    # Without curvature there is no edge: the steepest rate always wins.
    found = descent.choose(lambda w: 10 - w + 0 * w**2, jnp.array(0.0), None, 16)
    assert found.edge == math.inf
    assert (found.sure, found.rate) == ("open", found.rates[-1])
    assert "no edge is known at the start" in evidence.page(found)


def test_equal_ends_are_a_range():
    # A valley as flat as this one is reached by every rate alike.
    found = descent.choose(lambda w: 1 + w**2, jnp.array(1.0), None, 400)
    assert found.sure == "flat"
    assert found.low < found.rate < found.high
    inside = (found.rates >= found.low) & (found.rates <= found.high) & (found.ran == 400)
    assert (found.trace.loss[inside, -1] <= 1 + 0.02).all()


def test_a_lane_of_batches_counts_by_the_mean_of_its_last_part():
    def loss(w, wave):  # ends low where the last batch is kind
        return (w - 1) ** 2 + wave

    found = descent.choose(
        loss, jnp.array(0.0), lambda step: jnp.where(step % 2 == 0, 5.0, 0.0), 64
    )
    k = list(found.rates).index(np.float32(found.rate))
    done = found.ran == 64
    means = found.trace.loss[done, -5:].mean(axis=1)
    assert found.trace.loss[k, -5:].mean() == pytest.approx(means.min())


def test_the_page_shows_every_rate_and_needs_nothing_beside_it(chosen):
    page = chosen.to_html(title="a < b")
    assert "<title>a &lt; b</title>" in page
    assert page.count("<circle") == len(chosen.rates)
    assert f"Chosen: {chosen.rate:.4g}." in page
    assert "the rates on either side of it end alike; the edge at the start is 0.5." in page
    rows = re.findall(r"<tr><th scope=\"row\">([^<]+)</th>", page)
    assert rows == [f"{rate:.4g}" for rate in chosen.rates]
    whole = page.count('fill="var(--a)"')
    assert whole == (chosen.ran == 100).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 15}, "steps must be an int from 16 to 268435456, not 15"),
        ({"budget": 0.01}, r"budget must be a finite number of at least 0\.025 and of at most 1"),
        ({"optimizer": 0.1}, "optimizer must be a function of the learning rate, not a float"),
        ({"params": jnp.array(jnp.nan)}, "the loss at params must be finite, not nan"),
        ({"key": 1}, "pass one key made by jax.random.key"),
        (
            {"loss": lambda w: jnp.where(w == 1.0, w, 5 + (w - 1) ** 2)},
            r"no rate from .* ends below the",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_has_no_choice_is_refused(change, message):
    call = {"loss": jnp.square, "params": jnp.array(1.0), "batches": None, "steps": 16} | change
    with pytest.raises(ValueError, match=message):
        descent.choose(**call)


@pytest.mark.usefixtures("unchecked")
def test_a_page_is_of_a_choice():
    with pytest.raises(
        ValueError, match=r"choice must be what descent\.choose returns, not a dict"
    ):
        evidence.page({})
