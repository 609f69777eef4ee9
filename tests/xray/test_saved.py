"""Records in files: what is read is what was written, what cannot run again says so."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.data import tensors
from chainrule.xray import saved


def network(params, key, x):
    noise = jax.random.uniform(key, (2, 3))
    h = jnp.tanh(x @ params["w"] + noise)
    carry, ys = jax.lax.scan(lambda c, row: (c * row, c + row), jnp.ones(3), h)
    return jnp.sum(jax.nn.relu(ys) * carry[None]) + jnp.sum(x[1, :2] ** 2)


@functools.cache
def recorded(keep="values"):
    params = {"w": np.arange(12, dtype=np.float32).reshape(4, 3) / 10}
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    return xray.xray(network, params, jax.random.key(3), x, argnums=(0, 2), keep=keep)


@pytest.mark.parametrize("keep", ["values", "stats"])
def test_what_is_read_is_what_was_written(tmp_path, keep):
    before = recorded(keep)
    path = before.save(tmp_path / "net.xray")
    after = xray.load(path)
    assert [n.label for n in after.nodes] == [n.label for n in before.nodes]
    # What a slice takes, and the steps of a loop, would have to run again.
    text = str(before).replace("x[1, :2]", "x       ").partition("used more than once")[0]
    assert str(after).partition("used more than once")[0] == text
    plain = ("kind", "op", "custom", "name", "inputs", "scope", "calls", "transforms", "note")
    for old, new in zip(before.nodes, after.nodes, strict=True):
        assert [getattr(old, f) for f in plain] == [getattr(new, f) for f in plain]
        steps = [
            [(name, place.partition(" ")[0]) for name, place in node.path] for node in (old, new)
        ]
        assert steps[0] == steps[1]
        rows = [(old.values, new.values), (old.cotangents, new.cotangents)]
        for a, b in [*rows, (old.contributions, new.contributions)]:
            assert [x is None for x in a] == [x is None for x in b]
            jax.tree.map(_equal, a, b)
    jax.tree.map(_equal, before.grads, after.grads)
    assert after.to_dot() == before.to_dot()
    assert [p.name for p in tmp_path.iterdir()] == ["net.xray"]


def _equal(a, b):
    if isinstance(a, int | float | str):
        assert a == b or (np.isnan(a) and np.isnan(b))
    elif jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        _equal(jax.random.key_data(a), jax.random.key_data(b))
    else:
        np.testing.assert_array_equal(a, np.asarray(b, a.dtype), strict=False)


def test_the_lines_name_no_folder_and_stay_those_of_the_program(tmp_path):
    after = xray.load(recorded().save(tmp_path / "net.xray"))
    line = after.node(next(n.label for n in after.nodes if n.op == "tanh")).line
    assert line == "tests/xray/test_saved.py:18 (network)"
    assert str(tmp_path.parent) not in str(tensors.read(tmp_path / "net.xray").metadata)


def test_every_page_and_table_of_a_record_that_was_read_can_be_made(tmp_path):
    after = xray.load(recorded().save(tmp_path / "net.xray"))
    assert "finite" in str(after.nonfinite())
    assert after.to_html().startswith("<!doctype html>")
    assert [s.node.label for s in after.shared()] == [s.node.label for s in recorded().shared()]
    assert str(after.flow()) == str(recorded().flow())
    assert after.deaths().decided is False
    after.save(tmp_path / "again.xray")
    assert str(xray.load(tmp_path / "again.xray")) == str(after)


def test_a_birth_is_known_of_a_record_that_was_read(tmp_path):
    report = xray.xray(lambda x: jnp.sum(jnp.log(x)), jnp.array([1.0, -1.0]))
    after = xray.load(report.save(tmp_path / "nan.xray")).nonfinite()
    (birth,) = [b for b in after.births if b.phase == "forward"]
    assert (birth.op, birth.kind) == ("log", "NaN")
    with pytest.raises(ValueError, match="nothing can be tried"):
        after.cures()


def test_the_inside_of_a_loop_can_be_kept_too(tmp_path):
    inside = recorded().open(next(n for n in recorded().nodes if n.op == "scan"))
    after = xray.load(inside.save(tmp_path / "loop.xray"))
    assert after.steps == inside.steps == 2
    assert str(after) == str(inside)
    assert after.nonfinite().births == ()


def test_what_must_run_again_says_that_it_cannot(tmp_path):
    after = xray.load(recorded().save(tmp_path / "net.xray"))
    scan = next(n.label for n in after.nodes if n.op == "scan")
    with pytest.raises(
        ValueError, match=rf"network was read from a file, and what is inside {scan}"
    ):
        after.open(scan)
    from chainrule.xray.rerun import constant, rerun

    with pytest.raises(ValueError, match="network was read from a file, and cannot run"):
        rerun(after.record, {(5,): constant([1.0])})


def test_containers_come_back(tmp_path):
    pair = (jnp.ones(2), [jnp.zeros(1), None])
    report = xray.xray(lambda t: (t[0].sum(), {"more": t[1]}), pair, has_aux=True)
    after = xray.load(report.save(tmp_path / "a.xray"))
    assert jax.tree.structure(after.grads) == jax.tree.structure(report.grads)
    assert jax.tree.structure(after.aux) == jax.tree.structure(report.aux)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "bool", "complex64"])
def test_types_come_back(tmp_path, dtype):
    def f(x):
        return x.reshape(2, 1)

    x = jnp.asarray([1, 0]).astype(dtype)
    after = xray.load(xray.xray(f, x, gradients=False).save(tmp_path / "a.xray"))
    assert after.output.dtype == x.dtype
    np.testing.assert_array_equal(after.output, x.reshape(2, 1))


def test_another_ending_is_refused(tmp_path, unchecked):
    with pytest.raises(
        ValueError, match=r"a\.npz ends in '\.npz': a record is kept in a file \.xray"
    ):
        xray.load(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match=r"no file .*a\.xray"):
        xray.load(tmp_path / "a.xray")


def small():
    return xray.xray(lambda x, y: jnp.sum(x * y + x), jnp.ones(3), jnp.ones(3))


def test_damage_is_seen(tmp_path):
    path = small().save(tmp_path / "a.xray")
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.xray is damaged"):
        xray.load(path)
    path.write_bytes(content[:40])
    with pytest.raises(ValueError, match=r"a\.xray cannot be read as \.xray"):
        xray.load(path)
    tensors.write(path, {"a": np.ones(2)})
    with pytest.raises(
        ValueError, match=r"a\.xray holds no record of the x-ray \(KeyError: 'xray'\)"
    ):
        xray.load(path)


def _set(*path):
    *way, last, value = path

    def change(header):
        for key in way:
            header = header[key]
        header[last] = value

    return change


HOSTILE = {
    "another format": _set("format", 2),
    "a slot of the future": _set("nodes", 2, "inputs", [[3, 0], [1, 0]]),
    "a slot below zero": _set("nodes", 2, "inputs", [[-1, 0], [1, 0]]),
    "an output that is none": _set("nodes", 2, "inputs", [[0, 1], [1, 0]]),
    "a result that is none": _set("outputs", [[99, 0]]),
    "a huge shape": _set("nodes", 0, "avals", [["float32", [10**18]]]),
    "a shape of text": _set("nodes", 0, "avals", [["float32", ["3"]]]),
    "a shape of another array": _set("nodes", 0, "avals", [["float32", [4]]]),
    "an object": _set("nodes", 0, "avals", [["object", [3]]]),
    "a type that is none": _set("nodes", 0, "avals", [["evil", [3]]]),
    "a structured type": _set("nodes", 0, "avals", [["f4,f4", [3]]]),
    "another type": _set("nodes", 0, "avals", [["int32", [3]]]),
    "an array that is none": _set("nodes", 0, "values", ["v99.0"]),
    "no value": _set("nodes", 0, "values", [None]),
    "a row too long": _set("nodes", 0, "values", ["v0.0", "v0.0"]),
    "statistics among values": _set(
        "nodes", 0, "values", [{"shape": [3], "dtype": "float32", "numbers": [0] * 7}]
    ),
    "a kind that is none": _set("nodes", 0, "kind", "spy"),
    "an operator first": _set("nodes", 0, "kind", "operator"),
    "a name that is none": _set("nodes", 0, "name", 3),
    "a tree too small": _set("arguments", ["leaf"]),
    "a container that is none": _set("result", {"set": ["leaf"]}),
    "two containers": _set("result", {"list": ["leaf"], "tuple": []}),
    "wanted beyond": _set("wanted", [7]),
    "steps of text": _set("steps", "3"),
    "keeps nothing": _set("keep", "nothing"),
    "nodes of text": _set("nodes", "abc"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_refused(tmp_path, kind):
    path = small().save(tmp_path / "a.xray")
    arrays, words = tensors.read(path)
    header = json.loads(words["xray"])
    HOSTILE[kind](header)
    tensors.write(path, arrays, {"xray": json.dumps(header)})
    with pytest.raises(ValueError, match=r"a\.xray holds no record of the x-ray"):
        xray.load(path)


def test_a_header_too_deep_is_refused(tmp_path):
    path = small().save(tmp_path / "a.xray")
    arrays, words = tensors.read(path)
    deep = '{"list":[' * 20_000 + '"leaf"' + "]}" * 20_000
    tensors.write(
        path, arrays, {"xray": words["xray"].replace('"result": "leaf"', f'"result": {deep}')}
    )
    with pytest.raises(ValueError, match=r"a\.xray holds no record of the x-ray"):
        xray.load(path)


def test_a_name_cannot_move_the_cursor(tmp_path):
    path = small().save(tmp_path / "a.xray")
    arrays, words = tensors.read(path)
    header = json.loads(words["xray"])
    header["nodes"][0]["name"] = "x\x1b[31m"
    tensors.write(path, arrays, {"xray": json.dumps(header)})
    assert xray.load(path).nodes[0].label == "x\\x1b[31m"


def test_a_large_shape_of_statistics_takes_no_memory(tmp_path):
    path = xray.xray(lambda x, y: jnp.sum(x * x), jnp.ones(3), jnp.ones(3), keep="stats").save(
        tmp_path / "a.xray"
    )
    arrays, words = tensors.read(path)
    header = json.loads(words["xray"])
    header["nodes"][1]["avals"] = [["float32", [2**39]]]
    header["nodes"][1]["values"][0]["shape"] = [2**39]
    tensors.write(path, arrays, {"xray": json.dumps(header)})
    assert xray.load(path).grads[1].shape == (2**39,)
    assert xray.load(path).grads[1].zeros == 1.0


def test_the_reader_takes_what_write_wrote(tmp_path):
    saved.write(small().record, tmp_path / "a.xray")
    assert saved.read(tmp_path / "a.xray").function == "<lambda>"
