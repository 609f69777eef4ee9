import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import _require

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    "value",
    [
        np.ones(2),
        jnp.ones((2, 3), jnp.bfloat16),
        np.array(True),
        np.int8(3),
    ],
    ids=str,
)
def test_arrays_of_numbers_pass(value):
    _require.arrays(inputs=value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([1.0], "a list"),
        (None, "a NoneType"),
        (1.0, "a float"),
        (np.array(["a"]), "of <U1"),
        (np.array([None]), "of object"),
        (jax.random.key(0), "of key<fry>"),
        (jax.ShapeDtypeStruct((2,), jnp.float32), "a shape alone"),
    ],
    ids=str,
)
def test_what_is_no_array_of_numbers_is_refused_by_its_name(value, found):
    message = f"kernel must be an array of numbers, not {found}: give jnp.asarray"
    with pytest.raises(ValueError, match=message):
        _require.arrays(inputs=np.ones(2), kernel=value)


@pytest.mark.parametrize("dtype", [np.int32, bool, np.complex64, np.uint8])
def test_numbers_that_are_no_floats_are_refused_with_a_cast(dtype):
    message = rf"inputs must be floating-point numbers, not {np.dtype(dtype)}: .*astype\(float\)"
    with pytest.raises(ValueError, match=message):
        _require.floats(kernel=jnp.ones(2, jnp.bfloat16), inputs=np.ones(2, dtype))


def test_an_incoming_gradient_has_the_shape_of_the_output():
    _require.incoming(jnp.ones((2, 3)), (2, 3))
    _require.incoming(1.0, ())
    with pytest.raises(ValueError, match=r"g \(1, 3\) for an output \(2, 3\): the incoming"):
        _require.incoming(jnp.ones((1, 3)), (2, 3))
    for wrong in (np.uint8(1), np.bool_(True), jnp.array(1)):
        with pytest.raises(ValueError, match="g must be floating-point numbers, not"):
            _require.incoming(wrong, ())
    with pytest.raises(ValueError, match=r"g must be an array of numbers, not a list"):
        _require.incoming([1.0], (1,))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ((np.array([[1, -1], [2, 1]]), (-1, 1)), r"^y must be -1 or \+1, not 2 at index \(1, 0\)$"),
        ((jnp.array([0.0, jnp.nan]), (0, 1)), r"^y must be 0 or 1, not nan at index 1$"),
        ((np.array(0.5), (0, 1), "round it"), r"^y must be 0 or 1, not 0\.5: round it$"),
    ],
)
def test_the_first_element_that_is_not_among_the_allowed_is_quoted(check, message):
    with pytest.raises(ValueError, match=message):
        _require.among("y", *check)


@pytest.mark.parametrize(
    ("values", "bounds", "message"),
    [
        ([3, -1], {"least": 0}, r"^d must be finite and at least 0, not -1 at index 1$"),
        ([3.0, 5.0], {"most": 4}, r"at most 4, not 5\.0 at index 1"),
        ([np.inf], {}, r"^d must be finite, not inf at index 0$"),
        ([np.nan, -1.0], {"least": 0, "finite": False}, r"^d must be at least 0, not -1\.0"),
        ([2], {"most": 1, "why": "count again"}, r"not 2 at index 0: count again$"),
    ],
)
def test_the_first_element_out_of_bounds_is_quoted(values, bounds, message):
    with pytest.raises(ValueError, match=message):
        _require.within("d", np.asarray(values), **bounds)


def test_bounds_are_inclusive_and_nan_passes_where_it_need_not_be_finite():
    _require.within("d", np.array([0, 4]), least=0, most=4)
    _require.within("d", np.array([np.nan, np.inf]), least=0, finite=False)
    _require.within("d", np.zeros(0), least=1)
    _require.among("y", np.array([1, -1, 1]), (-1, 1))


@pytest.mark.parametrize(
    "check",
    [
        functools.partial(_require.within, "d", least=5),
        functools.partial(_require.among, "y", allowed=(7,)),
        functools.partial(_require.real, "r", above=5),
    ],
)
def test_values_are_looked_at_on_concrete_arrays_only(check):
    name = check.args[0]

    def checked(x):
        check(**{"value" if name == "r" else "values": x})
        return x

    assert jax.jit(checked)(jnp.array(1.0)) == 1
    with pytest.raises(ValueError, match=f"{name} must be"):
        checked(jnp.array(1.0))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_need_not_be_finite_where_that_is_said(value):
    _require.real("r", value, finite=False)
    with pytest.raises(ValueError, match=f"r must be a finite number, not {value}"):
        _require.real("r", value)


def test_a_function_is_told_from_a_number_with_what_to_do():
    message = r"f must be a function of x, not a float: give sin itself"
    with pytest.raises(ValueError, match=message):
        _require.function("f", 0.1, "of x", "give sin itself")
    _require.function("f", np.sin, "of x")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x: (x.sum(), {}), "returns a tuple of 2: return the loss alone"),
        (lambda x: x, r"returns float32 of shape \(3,\): reduce it with a mean"),
        (lambda x: jnp.argmax(x), r"returns int32 of shape \(\)"),
    ],
)
def test_a_loss_is_one_floating_point_number(loss, message):
    with pytest.raises(ValueError, match=message):
        _require.scalar_loss(loss, jnp.ones(3))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"w": "x"}, r"params\['w'\] is a str"),
        ({"w": object()}, r"params\['w'\] is an object"),
        ({"w": 1, "v": True}, r"params\['v'\] is bool, params\['w'\] is int32"),
        ([np.arange(2), 1j], r"params\[0\] is int64, params\[1\] is complex64"),
        ({"key": jax.random.key(0)}, r"params\['key'\] is key<fry>"),
        (None, r"it holds no number"),
    ],
)
def test_parameters_without_a_gradient_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        _require.floating(params)


def test_a_list_of_numbers_becomes_an_array_of_the_host_and_nothing_else_does():
    np.testing.assert_array_equal(_require.host("d", [1, 2]), [1, 2])
    assert isinstance(_require.host("d", jnp.ones(2)), np.ndarray)
    for wrong in ([[1], [2, 3]], "x", jax.random.key(0), [None]):
        with pytest.raises(ValueError, match="d must be an array of numbers"):
            _require.host("d", wrong)


def test_an_instance_is_asked_for_by_who_returns_it():
    _require.instance("curve", (1,), tuple, "what roc returns")
    with pytest.raises(ValueError, match="curve must be what roc returns, not an int"):
        _require.instance("curve", 1, tuple, "what roc returns")


def test_parameters_come_back_as_arrays():
    assert _require.floating({"w": 0.5, "v": np.float32([1])})["w"].dtype == jnp.float32


def test_a_type_is_named_with_what_makes_it():
    _require.instance("size", 3, int | None, "an int")
    _require.instance("size", None, int | None, "an int")
    with pytest.raises(ValueError, match=r"^size must be what f returns, not a str: call f first$"):
        _require.instance("size", "a", int, "what f returns", "call f first")


def test_a_step_fits_32_bits_and_may_be_traced():
    for step in (0, np.int64(3), jnp.int32(5), 2**31 - 1):
        _require.index("step", step)
    jax.jit(lambda step: _require.index("step", step))(-1)
    for step in (-1, 2**31, 1.0, True, jnp.float32(1), jnp.arange(2)):
        with pytest.raises(ValueError, match=r"step must be an int from 0 to 2147483647, not "):
            _require.index("step", step)


def test_a_path_is_text_or_a_path_without_a_zero_byte():
    assert str(_require.path("folder", "a/b")) == "a/b"
    with pytest.raises(ValueError, match=r"folder must be a path, a str or .*, not an int"):
        _require.path("folder", 3)
    with pytest.raises(ValueError, match=r"folder must be a path without a zero byte, not 'a.x00'"):
        _require.path("folder", "a\0")


def test_a_count_says_where_its_bounds_come_from():
    assert _require.count("size", np.int8(3), most=3) == 3
    with pytest.raises(ValueError, match=r"^size must be an int from 1 to 3, not 4: there are 3$"):
        _require.count("size", 4, most=3, why="there are 3")


def test_leaves_are_numbers_or_arrays_of_them():
    tree = {"a": [1, 2.5, True, np.ones(2), jax.random.key(0)], "b": jnp.ones(2, jnp.bfloat16)}
    _require.leaves("tree", tree)
    shape = jax.ShapeDtypeStruct((2,), np.float32)
    _require.leaves("tree", {"a": shape}, shapes=True)
    for leaf, found in ((shape, "an array"), ("x", "a str"), (2**40, "an int"), (object, "a type")):
        with pytest.raises(
            ValueError, match=rf"tree\['a'\] must be an array of numbers, .*{found}"
        ):
            _require.leaves("tree", {"a": leaf})
    with pytest.raises(ValueError, match=r"tree\['a'\]\[1\] must be"):
        _require.leaves("tree", {"a": [1, np.array(["b"])]})


def test_text_and_sequences_of_one_type():
    assert _require.text("name", "a") == "a"
    with pytest.raises(ValueError, match=r"^name must be text, a str, not an int$"):
        _require.text("name", 3)
    assert _require.several("names", ("a", "b"), str, "file names") == ["a", "b"]
    for wrong in ("ab", {"a": 1}, 3, np.zeros(())):
        with pytest.raises(ValueError, match=r"^names must be a sequence of file names, not a"):
            _require.several("names", wrong, str, "file names")
    with pytest.raises(ValueError, match=r"^names\[\.\.\.\] must be file names, not an int$"):
        _require.several("names", ["a", 3], str, "file names")


def test_a_real_number_comes_back_and_an_int_as_a_float():
    assert isinstance(_require.real("r", 10**30), float)
    assert _require.real("r", 0.5) == 0.5
    x = jnp.array(2.0)
    assert _require.real("r", x) is x
