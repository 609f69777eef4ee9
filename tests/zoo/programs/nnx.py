"""Modules of flax nnx."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(layers=("linear1", "linear2"))
def mlp():
    class MLP(nnx.Module):
        def __init__(self, din, dmid, dout, *, rngs):
            self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
            self.bn = nnx.BatchNorm(dmid, rngs=rngs)
            self.linear2 = nnx.Linear(dmid, dout, rngs=rngs)

        def __call__(self, x):
            x = self.bn(self.linear1(x))  # OPERATOR: dot_general, rsqrt
            return self.linear2(nnx.gelu(x))  # OPERATOR: dot_general, tanh

    model = MLP(3, 4, 2, rngs=nnx.Rngs(0))
    x, y = jax.random.normal(KEY, (5, 3)), jnp.ones((5, 2))

    @nnx.jit
    def loss(model, x, y):
        prediction = model(x)
        return ((prediction - y) ** 2).mean()  # OPERATOR

    return loss, model, x, y


@program(layers=("query", "key", "value", "out"))
def attention():
    model = nnx.MultiHeadAttention(
        num_heads=2, in_features=4, qkv_features=4, decode=False, rngs=nnx.Rngs(0)
    )
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    x = jax.random.normal(KEY, (2, 3, 4))

    def loss(params):
        model = nnx.merge(graphdef, params, rest)
        y = model(x)  # OPERATOR: dot_general, exp
        return optax.huber_loss(y, jnp.zeros_like(y)).sum()  # OPERATOR: abs

    return loss, params


@program(
    layers=("dense_i", "dense_h", "head"),
    shared=("dense_i/kernel", "dense_i/bias", "dense_h/kernel"),
    grad=nnx.grad,
    unroll=True,
)
def gru():
    class Tagger(nnx.Module):
        def __init__(self, *, rngs):
            self.rnn = nnx.RNN(nnx.GRUCell(2, 3, rngs=rngs))
            self.head = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.rnn(x))  # OPERATOR: dot_general, tanh, logistic

    model = Tagger(rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (2, 4, 2))

    def loss(model, x):
        return jnp.mean(model(x) ** 2)  # OPERATOR

    return loss, model, x


@program(
    layers=("layers[0]", "layers[1]", "head"),
    shared=("layers/0/kernel", "layers/0/bias", "layers/1/kernel", "layers/1/bias"),
)
def siamese():
    class Encoder(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
            self.head = nnx.Linear(4, 1, rngs=rngs)

        def embed(self, x):
            for layer in self.layers:
                x = nnx.tanh(layer(x))  # OPERATOR: dot_general, tanh
            return x

        def __call__(self, a, b):
            apart = jnp.abs(self.embed(a) - self.embed(b))  # OPERATOR: abs, sub
            return self.head(apart)[:, 0]  # OPERATOR: dot_general

    model = Encoder(nnx.Rngs(0))
    a, b = jax.random.normal(KEY, (2, 4, 3))
    same = jnp.array([1.0, 0.0, 0.0, 1.0])

    def loss(model):
        return optax.sigmoid_binary_cross_entropy(model(a, b), same).mean()  # OPERATOR

    return loss, model
