# SOURCE: jax-ml/jax#26796: shard_map, log of a negative number inside; debug_nans gives no line
# EXPECT: log of a negative number in the function under shard_map
# KIND: NaN forward
# WHY: outside its domain
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P


def body(x):
    y = jnp.square(x) - 2.0
    return jnp.log(y)  # BORN


def loss(x):
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    f = jax.shard_map(body, mesh=mesh, in_specs=P("x"), out_specs=P("x"))
    return jnp.sum(f(x))


def example_args():
    return (jnp.array([2.0, 1.0, 3.0]),)
