import itertools
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.models import lenet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import growth
import harness
import published
from devices import collectives
from harness import Row, measure


def sleeper(seconds, answer):
    def work():
        time.sleep(seconds)
        return answer

    return work


def test_a_ratio_is_ours_over_a_peers_round_by_round_and_the_fastest_peer_is_to_be_beaten():
    peers = {"slow": sleeper(0.08, 1), "fast": sleeper(0.04, 1)}
    row = Row("work", sleeper(0.01, 1), peers, np.testing.assert_equal, 0.5)
    slow, fast = measure(row)
    # Another process may take the machine for the length of a round, not of most of them.
    assert fast.low <= fast.middle <= fast.high
    assert slow.middle < fast.middle < 1
    assert (slow.peer, fast.peer, fast.rounds) == ("slow", "fast", 7)
    assert (slow.target, fast.target) == (None, 0.5)
    assert fast.ours.answers == ()
    assert measure(row, long_seconds=0.001)[0].rounds == 3


def test_what_is_beyond_a_peer_is_in_seconds_and_answers_are_shown_when_asked_for():
    peers = {"peer": sleeper(0.01, "b")}
    (timing,) = measure(
        Row("work", sleeper(0.05, "a"), peers, lambda *_: None, 1.0, extra=True, shown=True)
    )
    assert 0 < timing.middle == pytest.approx(timing.ours.seconds - timing.theirs.seconds, abs=0.02)
    assert (timing.ours.answers, timing.theirs.answers) == (("a",) * 7, ("b",) * 7)


def test_sides_that_do_not_agree_are_not_timed_the_first_time_nor_later():
    row = Row("work", sleeper(0, 1), {"peer": sleeper(0, 2)}, np.testing.assert_equal)
    with pytest.raises(AssertionError):
        measure(row)
    counter = itertools.count()
    drifts = Row("work", lambda: next(counter) > 3, {"peer": lambda: 0}, np.testing.assert_equal)
    with pytest.raises(AssertionError):
        measure(drifts)


def test_the_memory_of_a_call_and_of_a_process_is_what_it_takes_at_most():
    taken = harness.peak(lambda: np.ones(2**23).sum())
    if taken is None:
        pytest.skip("this system does not say how much memory a process takes")
    assert 0.95 * 2**26 < taken < 2**27  # the kernel's counters are a few pages late
    script = "import os, time; x = b'1' * 2**26; time.sleep(0.1); print(os.environ['HOW'])"
    ran = harness.child("-c", script, HOW="so")
    assert ran.text == "so\n"
    assert 2**26 < ran.bytes < 2**26 + 2**25  # and not what this process has
    with pytest.raises(RuntimeError, match=r"-c 1/0 ended with 1:(.|\n)*ZeroDivisionError"):
        harness.child("-c", "1/0")


def test_operations_are_those_of_the_plain_form():
    found = harness.operations(jnp.matmul, jnp.ones((10, 20)), jnp.ones((20, 30)))
    assert found == 2 * 10 * 20 * 30
    params = jax.eval_shape(lenet.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *lenet.INPUT_SHAPE), jnp.float32)
    products = 24**2 * 25 * 32 + 4**2 * 25 * 32 * 64 + 256 * 200 + 200 * 10
    counted = harness.operations(lenet.apply, params, images)
    assert counted == pytest.approx(2 * 2 * products, rel=0.1)


def test_the_collectives_of_a_program_are_counted_with_their_bytes():
    program = """
      %a = (f32[2,3]{1,0}, /*index=1*/f32[]) all-reduce(%x, %y), channel_id=1
      ROOT %b.1 = bf16[4]{0} all-gather-start(%z), channel_id=2
      %c = f32[8]{0} all-reduce(%u), channel_id=3
      %d = f32[100]{0} add(%c, %c)
    """
    assert collectives(program) == {"all-reduce": (2, 28 + 32), "all-gather": (1, 8)}


SIDE = {"seconds": 0.012, "first_seconds": 3.0, "bytes": 2.5e9, "answers": []}
ROW = {
    "name": "work: a little",
    "peer": "someone",
    "middle": 0.5,
    "low": 0.25,
    "high": 2.0,
    "extra": False,
    "rounds": 7,
    "target": 0.95,
    "operations": 1.2e9,
    "ours": SIDE,
    "theirs": SIDE | {"seconds": 0.024, "bytes": None},
}
RESULTS = {
    "rows": [ROW],
    "growth": [],
    "threads": 2,
    "load": 0.5,
    "limits": {"gflops": 200.0, "gigabytes_per_second": 12.0},
    "machine": {"processor": "a processor"},
    "versions": {"jax": "1.2"},
    "commit": "abc",
}


def test_the_table_is_made_from_the_numbers_and_replaces_the_one_before():
    page = f"before\n{published.BEGIN}\nold\n{published.END}\nafter\n"
    found = published.put(page, published.table(RESULTS))
    assert (
        "| work: a little | someone | 0.50 (0.25 to 2.00, 7) | 0.95 | 12 ms | 24 ms | 3 s, 3 s "
        "| 2.5 GB, ? | 50% (100 GFLOP/s) |"
    ) in found
    assert "a processor, 2 threads on both sides, load 0.5" in found
    assert "old" not in found
    assert "missed" not in found
    assert "grows" not in found
    assert published.put(found, published.table(RESULTS)) == found
    assert found.startswith("before\n")
    assert found.endswith("\nafter\n")
    with pytest.raises(ValueError, match="the page has no place for the numbers"):
        published.put("a page", "a table")


def test_a_missed_target_is_listed_with_its_reason(monkeypatch):
    monkeypatch.setattr(published, "WHY", {"work": "too far.", "work: a": "it is far."})
    slow = ROW | {"middle": 1.5}
    late = ROW | {"name": "start", "extra": True, "middle": 0.3, "low": -0.1, "target": 0.25}
    lines = published.table(RESULTS | {"rows": [slow, late, ROW]}).splitlines()
    assert "- work: a little (1.50 against someone, target 0.95): it is far." in lines
    assert "- start (+300 ms against someone, target +0.25 s): not looked into yet." in lines
    assert any("+300 ms (-100 ms to +2 s, 7) | +0.25 s |" in line for line in lines)
    assert len([line for line in lines if line.startswith("- ")]) == 2
    other = slow | {"name": "work: another"}
    lines = published.table(RESULTS | {"rows": [slow, other]}).splitlines()
    measured = "(1.50 against someone, target 0.95)"
    assert f"- work: a little {measured}; work: another {measured}: it is far." in lines


def test_shown_answers_stand_below_the_table():
    row = ROW | {"ours": SIDE | {"answers": ["0.991", "0.992"]}}
    row["theirs"] = SIDE | {"answers": ["0.990", "0.993"]}
    found = published.table(RESULTS | {"rows": [row]})
    assert "work: a little: 0.991, 0.992; someone: 0.990, 0.993." in found


def test_rows_of_a_later_run_stand_beside_the_others_with_their_own_surroundings():
    later = RESULTS | {"rows": [ROW | {"name": "new", "middle": 3.0}], "load": 7.0, "commit": "def"}
    found = published.beside(RESULTS | {"growth": ["kept"]}, later)
    assert [row["name"] for row in found["rows"]] == [ROW["name"], "new"]
    assert (found["growth"], found["load"]) == (["kept"], 0.5)
    text = published.table(found | {"growth": []})
    assert "In a run of their own: new. a processor, 2 threads on both sides, load 7.0" in text
    assert text.count("commit abc.") == text.count("commit def.") == 1
    again = published.beside(found, later | {"load": 3.0})
    assert [row["name"] for row in again["rows"]] == [ROW["name"], "new"]
    assert again["rows"][1]["where"]["load"] == 3.0


def test_growth_is_shown_as_exponents_with_the_reason_where_it_is_too_fast(monkeypatch):
    monkeypatch.setattr(published, "FASTER", {"samples": "of the cache."})
    growth = {
        "size": "samples",
        "work": "a step",
        "theory": 1,
        "sizes": [1000, 2000, 4000],
        "seconds": [0.01, 0.02, 0.04],
        "first_seconds": [1.0, 1.0, 1.0],
        "bytes": [100.0, 400.0, 1600.0],
        "operations": None,
    }
    found = published.table(RESULTS | {"growth": [growth]})
    assert "| samples | a step | 1,000 to 4,000 | 1 |  | 1.00 | 2.00 | 0.00 | 40 ms |" in found
    assert "grows faster" not in found
    found = published.table(RESULTS | {"growth": [growth | {"seconds": [0.01, 0.03, 0.09]}]})
    assert "- samples: a step: of the cache." in found


def test_what_grows_is_compiled_and_counted():
    piece = growth.compiled(lambda x, y: x @ y, jnp.ones((4, 5)), jnp.ones((5, 6)))
    np.testing.assert_array_equal(piece.call(), np.full((4, 6), 5))
    assert piece.operations == 2 * 4 * 5 * 6
    assert piece.bytes >= 4 * (20 + 30 + 24)
    case = growth.Case("rows", "a product", 1, (2, 4), lambda n: piece._replace(bytes=8.0 * n))
    found = growth.measure(case)
    assert (found.sizes, found.bytes, found.operations) == ((2, 4), (16.0, 32.0), (240.0, 240.0))
    assert min(found.seconds) > 0


def test_a_run_of_some_rows_leaves_the_readme_alone():
    with pytest.raises(ValueError, match="this run has not: small sweep: 1000 rates"):
        published.headlines(RESULTS)


def test_of_several_peers_the_readme_names_the_fastest():
    rows = [ROW | {"name": name, "middle": 0.5} for name in published.NAMES.values()]
    rows.insert(0, ROW | {"name": published.NAMES["lenet"], "middle": 1.5})
    found = published.headlines(RESULTS | {"rows": rows})
    assert "PyTorch's time: 0.50 for that network, 1.50 for LeNet" in found


@pytest.mark.parametrize("vectors", ["AVX2", "AVX-512 and bfloat16", ""])
def test_the_vectors_of_the_processor_are_said(vectors):
    rows = [ROW | {"name": name} for name in published.NAMES.values()]
    machine = RESULTS["machine"] | {"vectors": vectors}
    found = published.headlines(RESULTS | {"rows": rows, "machine": machine})
    assert (f"(cores with {vectors}): 0.50" in found) == bool(vectors)
    assert ("VGG16 and 0.50 in bfloat16." in found) == ("bfloat16" in vectors)
    shown = f"a processor with {vectors}, 2 threads" if vectors else "a processor, 2 threads"
    assert shown in published.table(RESULTS | {"machine": machine})


def test_the_readme_and_the_book_show_the_numbers_that_are_stored():
    root = Path(__file__).resolve().parents[2]
    results = json.loads((root / "experiments" / "benchmarks" / "results.json").read_text())
    for path, text in published.pages(results, root).items():
        assert path.read_text() == text
