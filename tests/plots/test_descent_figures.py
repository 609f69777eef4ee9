import re

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

from chainrule import descent, landscapes
from chainrule.plots import COLORS, CYCLE, RATES, rate_colors, trajectory
from chainrule.plots import descent as figures

POINTS = np.linspace(-1.7, 1.2, 30, dtype=np.float32)


@pytest.fixture
def series():
    trace = descent.sweep(
        landscapes.two_well, jnp.asarray(-0.5), jnp.asarray([0.125, 0.5]), 11, record_params=True
    )
    slopes = jax.vmap(jax.vmap(jax.grad(landscapes.two_well)))(trace.params)

    def models(params, eta):
        def at(w):
            return jax.vmap(descent.quadratic_model(landscapes.two_well, w, eta))(POINTS)

        return np.asarray(jax.vmap(at)(params))

    return [
        trajectory.Trajectory(
            eta,
            *(np.asarray(x[i]) for x in (trace.params, trace.loss, slopes)),
            models(trace.params[i], eta),
        )
        for i, eta in enumerate((0.125, 0.5))
    ]


CURVE = (POINTS * POINTS - 1) ** 2 / 2 + POINTS / 5


def test_the_dot_drawn_as_the_minimum_lies_on_the_model_and_is_the_next_iterate(series):
    axes = trajectory.frames(series, POINTS, CURVE).axes
    for one, panels in zip(series, (axes[:12], axes[12:]), strict=True):
        for frame in (0, 4):
            model = descent.quadratic_model(landscapes.two_well, jnp.asarray(one.w[frame]), one.eta)
            lines = panels[frame].lines
            np.testing.assert_array_equal(lines[1].get_ydata(), one.model[frame])
            (w,), (height,) = lines[2].get_data()
            np.testing.assert_allclose(w, one.w[frame + 1], rtol=1e-6)
            np.testing.assert_allclose(height, model(jnp.asarray(w)), rtol=1e-4)


def test_frames_draw_every_iterate_of_every_series_in_a_panel_of_its_own(series):
    figure = trajectory.frames(series, POINTS, CURVE)
    assert len(figure.axes) == 24
    drawn = [
        next(line.get_xdata()[0] for line in ax.lines if line.get_markersize() == 4.2)
        for ax in figure.axes
    ]
    np.testing.assert_allclose(drawn, np.concatenate([one.w for one in series]))


def test_the_animation_opens_without_a_network_and_has_every_frame(series):
    page = trajectory.animation([one._replace(w=one.w[:3]) for one in series], POINTS, CURVE)
    assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", page)
    assert page.count("data:image/png;base64") == 3
    assert "</style>\n<script" in page  # nothing is left of the link, and nothing else is gone
    for icon in re.findall(r'class="fa (fa-[a-z-]+)', page):
        assert f".{icon}::before" in page or f".{icon}.fa-flip-horizontal::before" in page


def test_a_sweep_draws_its_edge_where_it_is_predicted_and_leaves_out_what_is_not_finite():
    etas = np.asarray([0.1, 0.5, 0.9])
    iterates = np.asarray([[1.0, 1.0], [0.5, 1.5], [np.nan, np.inf]])
    figure = figures.final_against_rate(
        etas, iterates, edges={"edge": 0.44, "none": np.inf, "no prediction": np.nan}
    )
    (ax,) = figure.axes
    vertical = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert vertical == [0.44]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1.0, 1.0, 0.5, 1.5])


@pytest.mark.parametrize("edges", [{"a": 0.4, "b": np.nan}, {"a": np.inf}, {"a": np.nan}])
def test_a_sweep_says_so_where_no_edge_is_predicted_for_its_optimizer(edges):
    etas, lanes = np.asarray([0.1, 0.5]), np.asarray([[0.1, 0.2]])
    drawn = (
        figures.final_against_rate(etas, np.ones((2, 1)), edges=edges),
        figures.outcomes(etas, lanes, lanes, np.asarray([*edges.values()])),
    )
    for (ax,) in (figure.axes for figure in drawn):
        said = [text.get_text() for text in ax.texts if "no edge is predicted" in text.get_text()]
        assert len(said) == (len(edges) == 1 and np.isnan(edges["a"]))


def test_losses_to_compare_with_are_drawn_at_their_steps():
    printed = {"the notes": {0: 0.9, 2: 0.3}}
    (ax,) = figures.losses({"a": np.array([[1.0, 0.5, 0.25]])}, points=printed).axes
    (line,) = (line for line in ax.lines if line.get_label() == "the notes")
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0.9], [2, 0.3]])


def test_losses_draw_one_line_a_seed_and_the_median_over_them():
    loss = np.asarray([[4.0, 2.0, 1.0], [4.0, 3.0, 2.0], [4.0, 9.0, 9.0]])
    figure = figures.losses({"a": loss}, dead={"a": np.asarray([0.5, 0.0, 1.0])})
    left, right = figure.axes
    np.testing.assert_array_equal(left.lines[-1].get_ydata(), [4.0, 3.0, 2.0])
    assert len(left.lines) == 4
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [0, 50, 100])


def test_a_descent_that_diverges_leaves_room_for_the_others_and_is_marked_and_counted():
    calm = np.asarray([[1.0, 300.0, 0.1], [1.0, 200.0, 0.1]])
    wild = np.asarray([[1.0, 4.0, 2.0], [1.0, 1e20, np.inf], [2.0, 3.0, np.nan]])
    (ax,) = figures.losses({"calm": calm, "wild": wild}).axes
    assert ax.get_ylim()[1] == 600
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "calm",
        "wild (\N{BLACK UP-POINTING TRIANGLE} 2 of 3 go beyond)",
    ]
    assert ax.get_legend().get_title().get_text() == "thin: seeds, bold: median"
    (marks,) = (line for line in ax.lines if line.get_marker() == "^")
    np.testing.assert_array_equal(marks.get_xydata(), [[1, 600], [2, 600]])


def test_what_is_drawn_after_a_descent_that_diverges_and_below_it_is_on_the_axis_too():
    lanes = {"wild": np.asarray([[1.0, 1e20, np.inf]]), "calm": np.asarray([[1.0, 0.5, 0.1]])}
    for floor in (1.0, 0.01):
        (ax,) = figures.losses(lanes, floors={"floor": floor}).axes
        bottom, top = ax.get_ylim()
        assert top == 2
        assert min(0.1, floor) / 10 < bottom < min(0.1, floor)


def test_where_every_descent_diverges_the_axis_ends_at_a_million_times_the_start():
    (ax,) = figures.losses({"wild": np.asarray([[0.5, 1e9, np.inf]])}).axes
    assert ax.get_ylim()[1] == 5e5
    assert ax.get_legend().get_title().get_text() == ""


def test_outcomes_draw_what_is_finite_of_peak_and_end():
    final = np.asarray([[0.1, np.nan], [0.3, np.inf]])
    figure = figures.outcomes(
        np.asarray([0.1, 1.0]), final, np.asarray([[1.0, 5.0], [2.0, 7.0]]), np.asarray([0.2, 0.4])
    )
    (ax,) = figure.axes
    medians = [line.get_ydata() for line in ax.lines if line.get_alpha() == 0.6]
    np.testing.assert_allclose(medians[0], [1.5, 6.0])
    np.testing.assert_allclose(medians[1], [0.2])


def test_overlay_refuses_nothing_to_draw():
    with pytest.raises(ValueError, match="no series to draw"):
        figures.overlay({})


def test_drawing_leaves_the_settings_of_the_caller_alone(series):
    before = dict(mpl.rcParams)
    trajectory.frames(series, POINTS, CURVE)
    assert dict(mpl.rcParams) == before


def test_the_colours_can_be_told_apart():
    def luminance(color):
        r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert abs(luminance(COLORS["value"]) - luminance(COLORS["model"])) > 0.2
    assert COLORS["train"] != COLORS["test"]


def test_a_rate_has_its_colour_in_every_figure_and_another_takes_none_of_theirs(series):
    frames = trajectory.frames(series, POINTS, CURVE)
    drawn = [
        next(line.get_color() for line in ax.lines if line.get_markersize() == 4.2)
        for ax in frames.axes
    ]
    assert drawn == [RATES[0.125]] * 12 + [RATES[0.5]] * 12
    etas = (0.01, 0.5, 0.125)
    lanes = {f"$\\eta$ = {eta:g}": np.ones((1, 2)) for eta in etas}
    legend = figures.losses(lanes, colors=rate_colors(etas)).axes[0].get_legend()
    first, *others = (line.get_color() for line in legend.get_lines())
    assert others == [RATES[0.5], RATES[0.125]]
    assert first not in others
    sweep = figures.final_against_rate(
        np.ones(1), np.ones((1, 1)), edges={}, marked=[0.5, 0.125], stationary={}
    )
    marks = {line.get_xdata()[0]: line.get_color() for line in sweep.axes[0].lines[1:]}
    assert marks == {0.5: RATES[0.5], 0.125: RATES[0.125]}


def test_more_lanes_than_colours_are_all_drawn():
    lanes = {str(i): np.ones((1, 2)) for i in range(9)}
    lines = figures.losses(lanes).axes[0].get_legend().get_lines()
    assert [line.get_color() for line in lines] == [*CYCLE, *CYCLE[:2]]


def test_the_panels_of_an_overlay_have_one_kind_of_axis_and_whole_steps():
    def scales(series):
        figure = figures.overlay(series)
        figure.canvas.draw()
        for ax in (ax for ax in figure.axes if np.diff(ax.get_xlim()) > 1):  # not an empty one
            low, high = ax.get_xlim()
            ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
            assert all(tick == int(tick) for tick in ticks), ticks
        return {ax.get_yscale() for ax in figure.axes if ax.axison}

    up, down = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, -1.0])
    assert scales({"a": (up, up), "b": (up, np.array([1.0, np.inf, 3.0]))}) == {"log"}
    assert scales({"a": (up, up), "b": (up, down)}) == {"linear"}
    nothing = np.full(3, np.nan)
    assert scales({"a": (nothing, nothing)}) == {"linear"}
