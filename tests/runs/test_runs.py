import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import runs
from chainrule.runs import surroundings, telling


def write(root, experiment="demo", seed=3, trace=None, **arguments):
    with runs.start(experiment, seed=seed, arguments=arguments, root=root) as run:
        if trace is not None:
            run.save_trace(trace)
    return run.path


# --- writing -----------------------------------------------------------------------------------


def test_a_run_is_a_folder_named_by_time_and_seed_that_says_what_ran(tmp_path):
    with runs.start("demo", seed=3, arguments={"eta": 0.5}, root=tmp_path) as run:
        assert run.path.name.endswith(".partial")
        run.result("final loss", np.float32(0.25), expected=0.2)
        run.note(data={"source": "embedded"})
        program = run.compile(jax.jit(lambda x: x + 1), jnp.asarray(1.0))
        assert program(jnp.asarray(2.0)) == 3
    assert run.path.parent == tmp_path / "demo"
    assert run.path.name[8] == "-"
    assert run.path.name.endswith("-s3")
    record = json.loads((run.path / "run.json").read_text())
    assert record["arguments"] == {"eta": 0.5}
    assert record["results"] == {"final loss": {"value": 0.25, "expected": 0.2}}
    assert record["data"] == {"source": "embedded"}
    assert record["versions"]["jax"] == jax.__version__
    assert record["device"]["platform"] == "cpu"
    assert record["wall_seconds"] >= record["compile_seconds"] > 0
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("flags", "vectors"),
    [
        ("sse2 avx avx2 fma", "AVX2"),
        ("avx2 avx512f avx512_bf16", "AVX-512 and bfloat16"),
        ("avx2 avx512f", "AVX-512"),
        ("sse2", ""),
    ],
)
def test_a_run_says_which_vectors_its_processor_has(flags, vectors, monkeypatch):
    text = f"processor : 0\nmodel name : one\nflags : {flags}\nbugs : avx512_bf16\n"
    monkeypatch.setattr(pathlib.Path, "read_text", lambda _: text)
    machine = surroundings._machine()
    assert (machine["processor"], machine["vectors"]) == ("one", vectors)


def test_a_processor_that_cannot_be_read_of_stops_no_run(monkeypatch):
    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(pathlib.Path, "read_text", refuse)
    assert surroundings._machine()["vectors"] == ""


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    paths = {write(tmp_path, trace={"loss": [float(i)]}) for i in range(4)}
    assert len(paths) == 4
    assert sorted(runs.load(path).trace["loss"][0] for path in paths) == [0, 1, 2, 3]


def test_a_run_that_raises_keeps_what_it_wrote_under_its_partial_name(tmp_path):
    def fail(experiment, text):
        with runs.start(experiment, seed=0, arguments={}, root=tmp_path) as run:
            if text:
                run.save_text("page.html", text)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail("demo", "half")
    (left,) = (tmp_path / "demo").iterdir()
    assert left.name.endswith(".partial")
    assert (left / "page.html").read_text() == "half"
    with pytest.raises(RuntimeError, match="stop"):
        fail("empty", "")
    assert not list((tmp_path / "empty").iterdir())


def test_a_trace_reads_back_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    series = {
        "a/loss": rng.normal(size=20).astype(np.float32),
        "b/loss": np.asarray([1e-38, np.inf, -np.inf, np.nan], np.float32),
        "double": rng.normal(size=7),
    }
    loaded = runs.load(write(tmp_path, trace=series)).trace
    for name, values in series.items():
        np.testing.assert_array_equal(loaded[name].astype(values.dtype), values)


def test_json_is_strict_and_takes_what_experiments_hold(tmp_path):
    record = {
        "nan": math.nan,
        "inf": np.float32(np.inf),
        "array": jnp.arange(3),
        "path": pathlib.Path("a/b"),
        "tuple": (1, "x", None, True),
    }
    back = json.loads(runs.dumps(record), parse_constant=lambda token: pytest.fail(token))
    assert back == {
        "nan": "nan",
        "inf": "inf",
        "array": [0, 1, 2],
        "path": "a/b",
        "tuple": [1, "x", None, True],
    }


def test_a_series_of_two_dimensions_is_refused_with_its_shape(tmp_path):
    with pytest.raises(ValueError, match=r"'loss': \(2, 3\)"):
        write(tmp_path, trace={"loss": np.ones((2, 3))})


# --- reading -----------------------------------------------------------------------------------


def test_what_is_not_a_run_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a finished run"):
        runs.load(tmp_path / "nowhere")
    (tmp_path / "run.json").write_text('{"experiment": ')
    with pytest.raises(ValueError, match=r"run\.json is not JSON, line 1"):
        runs.load(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=r"names no experiment"):
        runs.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: the first column"),
        ("time,loss\n0,1\n", r"line 1: the first column"),
        ("step,loss\n0,1\n1\n", r"line 3: 1 cells where the header has 2"),
        ("step,loss\n0,one\n", r"line 2: 'one' is no number"),
    ],
)
def test_a_damaged_trace_is_refused_with_its_line(tmp_path, text, message):
    path = write(tmp_path, trace={"loss": [1.0]})
    (path / "trace.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        runs.load(path)


# --- comparing ---------------------------------------------------------------------------------


def losses(**series):
    return {f"{name}/loss": runs.Series(values, loss=True) for name, values in series.items()}


def test_compare_finds_where_two_runs_part_their_gap_and_who_diverged(tmp_path):
    a = write(tmp_path, trace=losses(x=[4.0, 2.0, 1.0], y=[1.0, 1.0], z=[1.0, 0.5]), eta=1)
    b = write(tmp_path, trace=losses(x=[4.0, 2.0, 0.5], y=[1.0, 3.0], z=[1.0, 0.5]), eta=2)
    comparison = runs.compare(a, b)
    x, y, z = comparison.gaps
    assert (x.parts_at, x.final_a, x.final_b, x.gap, x.diverged) == (2, 1.0, 0.5, -0.5, "")
    assert (y.parts_at, y.diverged) == (1, "B")
    assert (z.parts_at, z.gap) == (None, 0.0)
    assert comparison.arguments == {"eta": (1, 2)}
    assert runs.compare(a, a).gaps[0].parts_at is None
    assert runs.compare(a, b, tolerance=0.6).gaps[0].parts_at is None


@pytest.mark.parametrize(
    ("in_a", "in_b", "said"),
    [
        ([1.0, 3.0], [1.0, 3.0], ("both", "")),
        ([1.0, 3.0], [1.0, 0.5], ("A", "")),
        ([1.0, 1.0], [1.0, 0.5], ("", "")),
        ([1.0, np.inf, 0.5], [1.0, 3.0], ("both", "A")),
        ([1.0, 0.5], [1.0, np.nan], ("B", "B")),
    ],
)
def test_only_a_loss_diverges_by_rising_and_anything_by_not_being_finite(
    tmp_path, in_a, in_b, said
):
    a, b = (
        write(tmp_path, trace={"x": runs.Series(values, loss=True), "accuracy": values})
        for values in (in_a, in_b)
    )
    assert tuple(gap.diverged for gap in runs.compare(a, b).gaps) == said


def test_series_that_differ_only_in_their_rate_are_paired_where_there_is_one_choice(tmp_path):
    def at(stem, eta, values):
        return runs.Series(values, loss=True, eta=eta, stem=stem)

    a = write(tmp_path, trace={"w1": at("w", 0.125, [1.0, 0.5]), "u1": at("u", 1, [1.0, 0.5])})
    b = write(
        tmp_path,
        trace={
            "w2": at("w", 0.5, [1.0, np.nan]),
            "u2": at("u", 2, [1.0, 0.5]),
            "u3": at("u", 3, [1.0, 0.5]),
        },
    )
    comparison = runs.compare(a, b)
    (gap,) = comparison.gaps
    assert (gap.series, gap.parts_at, gap.diverged) == ("w, eta=0.125|0.5", 1, "B")
    assert comparison.only_a == ("u1",)
    assert comparison.only_b == ("u2", "u3")
    assert "step 1" in runs.text(comparison)
    assert "only in B: u2" in runs.text(comparison)


def test_names_alone_pair_nothing_and_are_no_loss(tmp_path):
    a, b = (write(tmp_path, trace={f"w/eta={eta}/loss": [1.0, 2.0]}) for eta in (1, 2))
    with pytest.raises(ValueError, match=r"have no series in common"):
        runs.compare(a, b)
    assert runs.compare(a, a).gaps[0].diverged == ""


def test_in_old_folders_the_names_say_which_series_is_a_loss_and_at_which_rate(tmp_path):
    for eta, values in (("0.125", "1.0\n1,0.5"), ("0.5", "1.0\n1,2.0")):
        (tmp_path / eta).mkdir()
        (tmp_path / eta / "run.json").write_text('{"experiment": "descent"}')
        (tmp_path / eta / "trace.csv").write_text(f"step,w/eta={eta}/loss\n0,{values}\n")
    (gap,) = runs.compare(tmp_path / "0.125", tmp_path / "0.5").gaps
    assert (gap.series, gap.parts_at, gap.diverged) == ("w/eta/loss, eta=0.125|0.5", 1, "B")
    assert gap.loss


def test_a_rate_goes_with_a_stem_and_a_loss_is_one_or_not(tmp_path, unchecked):
    with pytest.raises(ValueError, match=r"series 'x' has eta=0.5 and stem=None: give both or"):
        write(tmp_path, trace={"x": runs.Series([1.0], eta=0.5)})
    with pytest.raises(ValueError, match=r"loss of series 'x' must be True or False, not 'yes'"):
        write(tmp_path, trace={"x": runs.Series([1.0], loss="yes")})
    with pytest.raises(ValueError, match=r"eta of series 'x' must be a finite number, not nan"):
        write(tmp_path, trace={"x": runs.Series([1.0], eta=math.nan, stem="x")})


def test_runs_of_different_experiments_or_with_nothing_in_common_are_refused(tmp_path):
    a = write(tmp_path, experiment="one", trace={"loss": [1.0]})
    b = write(tmp_path, experiment="two", trace={"loss": [1.0]})
    with pytest.raises(ValueError, match=r"a run of 'one' and .* of 'two': compare two runs of"):
        runs.compare(a, b)
    c = write(tmp_path, experiment="one", trace={"error": [1.0]})
    with pytest.raises(ValueError, match=r"no series in common: \['loss'\] against \['error'\]"):
        runs.compare(a, c)


# --- what two runs tell ------------------------------------------------------------------------


def test_the_first_step_where_two_runs_part_and_what_each_trace_shows(tmp_path):
    a = write(tmp_path, trace=losses(x=[4.0, 2.0, 1.0, 0.5], y=[1.0, 0.5, 0.25, 0.125]), eta=1)
    b = write(tmp_path, trace=losses(x=[4.0, 2.0, 9.0, np.inf], y=[1.0, 0.5, 0.25, 0.5]), eta=2)
    said = telling.told(runs.compare(a, b))
    assert said[0] == "They part first at step 2, in x/loss."
    assert said[1] == "A, x/loss: Loss 4 to 0.5 in 3 steps: descending. It parts at step 2, at 1."
    assert said[2] == (
        "B, x/loss: Loss 4 to inf in 3 steps: diverged; it is not finite after 3 steps. "
        "A divergence: the loss rose from 2 at step 1 to 9 at step 2, and did not come back. It "
        "parts at step 2, at 9."
    )
    assert len(said) == 5
    assert telling.told(runs.compare(a, a)) == ("They do not part in any of 2 series.",)
    page = runs.page(runs.compare(a, b), told=said)
    assert "<h2>Where they part</h2><p>They part first at step 2, in x/loss.</p>" in page


def test_a_norm_beside_a_loss_goes_into_its_verdict(tmp_path):
    def run(norms):
        trace = {"x/loss": runs.Series([4.0, 1.0, norms[-1]], loss=True), "x/grad_norm": norms}
        return write(tmp_path, trace=trace)

    said = telling.told(runs.compare(run([1.0, 0.1, 1e-4]), run([1.0, 0.1, 0.01])))
    assert ": converged." in said[1]
    assert ": descending." in said[2]


def test_results_at_two_rates_share_a_row_where_that_leaves_no_choice(tmp_path):
    paths = []
    for eta in (0.125, 0.5):
        with runs.start("demo", seed=0, arguments={"eta": eta}, root=tmp_path / str(eta)) as run:
            run.save_trace({"x": runs.Series([1.0, eta], loss=True)})
            run.result(f"wells, eta {eta:g} from 1: final", eta)
            run.result("edge", 2.0)
        paths.append(run.path)
    page = runs.page(runs.compare(*paths))
    row = '<th scope="row">wells, eta 0.125|0.5 from 1: final</th><td class="number">0.125</td>'
    assert f'{row}<td class="number">0.5</td>' in page
    assert page.count("final</th>") == 1
    with runs.start("demo", seed=0, arguments={}, root=tmp_path / "two") as run:
        run.save_trace({"x": runs.Series([1.0, 2.0], loss=True)})
        for eta in (0.1, 0.2):
            run.result(f"wells, eta {eta:g} from 1: final", eta)
    page = runs.page(runs.compare(paths[0], run.path))
    assert page.count("final</th>") == 3, "which of the two belongs to 0.125 is not known"


@pytest.mark.usefixtures("unchecked")
def test_only_a_comparison_tells():
    with pytest.raises(ValueError, match=r"comparison must be what runs\.compare returns"):
        telling.told(3)
