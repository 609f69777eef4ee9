import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from chainrule import descent as descents
from chainrule import runs
from chainrule._jobs import explore, landscapes
from chainrule.landscapes import two_well
from experiments import descent


@pytest.mark.parametrize("one", landscapes.TABLE, ids=lambda one: one.name)
def test_every_landscape_is_what_its_row_says(one):
    for point in one.minima:
        w = jnp.asarray(point, jnp.float32)
        np.testing.assert_allclose(jax.grad(one.loss)(w), 0, atol=1e-5)
        assert one.loss(jnp.asarray(one.minima[0], jnp.float32)) <= one.loss(w)
    for place in (*one.starts, *one.minima):
        for x, (low, high) in zip(place, one.window, strict=True):
            assert low < x < high
    low, high = one.rates
    assert low <= min(one.chosen) < max(one.chosen) <= high


def test_rates_are_spread_evenly_and_hold_those_asked_for():
    rates = landscapes.spread(0.01, 1.0, 21, [0.125, 0.5, 7.0])
    assert {np.float32(0.125), np.float32(0.5)} <= set(rates)
    assert (np.diff(rates) > 0).all()
    assert rates[[0, -1]] == pytest.approx([0.01, 1.0])
    assert len(rates) == 21


def test_the_edge_of_adam_moves_with_its_mean_of_squares():
    row = next(one for one in landscapes.TABLE if one.name == "quadratic")
    rates, slope = np.asarray([0.05, 0.3]), jax.jit(jax.grad(lambda w: row.loss(w)))
    found = landscapes._moving(row, optax.adam, rates, jnp.asarray(row.starts[0], jnp.float32))
    for eta, numbers in zip(rates, np.asarray(found), strict=True):
        w, mean, square = np.float64(row.starts[0]), 0.0, 0.0
        assert np.isnan(numbers[0])  # before its first step
        for t, number in enumerate(numbers[1:21], start=1):
            g = np.float64(slope(jnp.asarray(w, jnp.float32)))
            mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
            w = w - eta * mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
            # The next step multiplies the mean of squares by 0.999: its gradient counts as 0. Its
            # own mean is corrected as well, by 1 - 0.9^(t + 1).
            scale = np.sqrt(0.999 * square / (1 - 0.999 ** (t + 1))) + 1e-8
            critical = 38 * scale[0] * (1 - 0.9 ** (t + 1))
            assert number == pytest.approx(critical, rel=1e-3)


def test_exploring_leaves_a_page_of_runs_that_is_linked_from_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr(landscapes, "TABLE", landscapes.TABLE[:3:2])  # of one and of two axes
    drawn = []
    page = explore.explorer.page
    monkeypatch.setattr(explore.explorer, "page", lambda ps: drawn.extend(ps) or page(ps))
    config = descent.Config(
        explore=True, explore_rates=5, explore_digits_rates=3, explore_steps=4, hidden=6,
        samples=30, explore_optimizers=("sgd",), root=tmp_path,
    )  # fmt: skip
    path = descent.main(config)
    assert (path / "explorer.html").stat().st_size > 20_000
    assert 'href="explorer.html"' in (path / "report.html").read_text()
    results = runs.load(path).record["results"]
    rest = results["two_well, sgd from w = -0.5: edge at the lowest point"]["value"]
    assert rest == pytest.approx(2 / 4.5732, rel=1e-3)
    assert results["two_well, sgd from w = -0.5: edge at the start"]["value"] == "inf"
    assert results["bowl, sgd from (u, v) = (2, 0): edge at the start"]["value"] == 0.2

    wells, _, digits = drawn
    assert len(wells.sweeps) == 3
    one = wells.sweeps[0]
    trace = descents.sweep(two_well, jnp.asarray(-0.5), wells.rates, 40, record_params=True)
    np.testing.assert_allclose(one.loss, trace.loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.params[..., 0], trace.params, rtol=1e-4, atol=1e-6)
    curvature = 6 * trace.params[:4] ** 2 - 2  # the last rate diverges
    np.testing.assert_allclose(one.sharpness[:4], curvature, rtol=1e-4, atol=1e-5)
    assert one.verdicts == descents.verdict(trace)
    assert list(digits.sweeps[0].counts) == ["errors of 30", "dead units of 6"]
    assert digits.sweeps[0].counts["errors of 30"].shape == (3, 5)


def test_a_browser_is_opened_only_where_there_is_a_display(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(explore.webbrowser, "open", opened.append)
    monkeypatch.setattr(explore.sys, "platform", "linux")
    monkeypatch.setattr(explore, "CONSOLE", Console(width=300))
    for display in ("", ":0"):
        monkeypatch.setenv("DISPLAY", display)
        monkeypatch.setenv("WAYLAND_DISPLAY", "")
        explore.show(tmp_path / "explorer.html")
        assert "explorer.html" in capsys.readouterr().out
    assert opened == [(tmp_path / "explorer.html").as_uri()]
