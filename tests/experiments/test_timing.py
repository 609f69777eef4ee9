import inspect

import numpy as np
import pytest
import timing


def test_the_calls_alternate_and_the_first_of_each_is_not_counted():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = timing.alternate(calls, 3)
    assert order == ["a", "b", *"ab" * 3]
    assert {name: times.shape for name, times in seconds.items()} == {"a": (3,), "b": (3,)}
    assert all((times > 0).all() for times in seconds.values())


def test_in_a_turn_a_call_is_repeated_for_a_while_and_its_fastest_counts(monkeypatch):
    now, durations = [0.0], iter([9, 4, 2, 5, 3, 8])  # the first is not counted

    def call():
        now[0] += next(durations)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    seconds = timing.alternate({"call": call}, 2, at_least=10.0)
    np.testing.assert_array_equal(seconds["call"], [2, 3])


def test_no_turns_are_refused():
    with pytest.raises(ValueError, match="turns must be at least 1, not 0"):
        inspect.unwrap(timing.alternate)({}, 0)
