import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from chainrule import runs
from chainrule._jobs import explore, landscapes
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
    assert "digits, sgd from seed 0: edge at the start" in results
    wells, bowl, digits = drawn
    assert (wells.lanes, bowl.lanes) == (5, 5)
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
