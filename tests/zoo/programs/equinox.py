"""Modules of equinox, which are pytrees with leaves that are no arrays."""

import equinox as eqx
import jax
import jax.numpy as jnp

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(layers=("layers[0]", "layers[1]", "layers[2]"), grad=eqx.filter_grad)
def mlp():
    model = eqx.nn.MLP(in_size=2, out_size=1, width_size=4, depth=2, key=KEY)
    x = jax.random.normal(KEY, (5, 2))
    y = jnp.sum(x, axis=1, keepdims=True)

    @eqx.filter_jit
    def loss(model, x, y):
        prediction = jax.vmap(model)(x)  # OPERATOR: dot_general
        return jnp.mean((y - prediction) ** 2)  # OPERATOR

    return loss, model, x, y


@program(layers=("layers[0]", "layers[4]", "layers[6]"), grad=eqx.filter_grad)
def cnn():
    class CNN(eqx.Module):
        layers: list

        def __init__(self, key):
            first, second, third = jax.random.split(key, 3)
            self.layers = [
                eqx.nn.Conv2d(1, 3, kernel_size=3, key=first),
                eqx.nn.MaxPool2d(kernel_size=2),
                jax.nn.relu,
                jnp.ravel,
                eqx.nn.Linear(147, 6, key=second),
                jax.nn.sigmoid,
                eqx.nn.Linear(6, 4, key=third),
                jax.nn.log_softmax,
            ]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)  # OPERATOR: conv_general_dilated, dot_general, logistic
            return x

    def cross_entropy(y, predicted):
        column = jnp.expand_dims(y, 1)  # OPERATOR
        predicted = jnp.take_along_axis(predicted, column, axis=1)  # OPERATOR: gather
        return -jnp.mean(predicted)  # OPERATOR

    def loss(model, x):
        predicted = jax.vmap(model)(x)
        return cross_entropy(jnp.array([1, 3]), predicted)  # PERHAPS

    return loss, CNN(KEY), jax.random.normal(KEY, (2, 1, 10, 10))


@program(
    layers=("cell", "linear"),
    shared=("cell/weight_ih", "cell/weight_hh", "cell/bias", "cell/bias_n"),
    grad=eqx.filter_grad,
    unroll=True,
)
def rnn():
    class RNN(eqx.Module):
        cell: eqx.nn.GRUCell
        linear: eqx.nn.Linear
        bias: jax.Array

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.cell = eqx.nn.GRUCell(2, 3, key=first)
            self.linear = eqx.nn.Linear(3, 1, use_bias=False, key=second)
            self.bias = jnp.zeros(1)

        def __call__(self, xs):
            hidden = jnp.zeros((self.cell.hidden_size,))  # OPERATOR

            def step(carry, x):
                return self.cell(x, carry), None  # OPERATOR: dot_general, logistic, tanh

            out, _ = jax.lax.scan(step, hidden, xs)  # OPERATOR
            return jax.nn.sigmoid(self.linear(out) + self.bias)  # OPERATOR: dot_general, logistic

    xs, ys = jax.random.normal(KEY, (3, 5, 2)), jnp.array([[0.0], [1.0], [1.0]])

    @eqx.filter_jit
    def loss(model, xs, ys):
        p = jax.vmap(model)(xs)  # PERHAPS
        return -jnp.mean(ys * jnp.log(p) + (1 - ys) * jnp.log(1 - p))  # OPERATOR: log

    return loss, RNN(KEY), xs, ys


@program(
    layers=("query_proj", "key_proj", "value_proj", "output_proj", "layers[0]", "layers[1]"),
    grad=eqx.filter_grad,
)
def transformer():
    class Block(eqx.Module):
        norm: eqx.nn.LayerNorm
        attention: eqx.nn.MultiheadAttention
        mlp: eqx.nn.MLP

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.norm = eqx.nn.LayerNorm(4)
            self.attention = eqx.nn.MultiheadAttention(num_heads=2, query_size=4, key=first)
            self.mlp = eqx.nn.MLP(4, 4, 6, depth=1, activation=jax.nn.gelu, key=second)

        def __call__(self, x):
            normed = jax.vmap(self.norm)(x)  # OPERATOR: rsqrt
            x = x + self.attention(normed, normed, normed)  # OPERATOR: dot_general, exp
            return x + jax.vmap(self.mlp)(x)  # OPERATOR: dot_general, tanh

    @eqx.filter_jit
    def loss(model, x):
        return jnp.sum(jax.vmap(model)(x)[:, 0] ** 2)  # OPERATOR

    return loss, Block(KEY), jax.random.normal(KEY, (2, 3, 4))


@program(layers=("hidden",), shared=("pytree/0/weight",), grad=eqx.filter_grad)
def tied_embedding():
    class Language(eqx.Module):
        ends: eqx.nn.Shared
        hidden: eqx.nn.Linear

        def __init__(self, key):
            first, second, third = jax.random.split(key, 3)
            embedding = eqx.nn.Embedding(5, 4, key=first)
            linear = eqx.nn.Linear(4, 5, use_bias=False, key=second)
            self.ends = eqx.nn.Shared(
                (embedding, linear), lambda pair: pair[1].weight, lambda pair: pair[0].weight
            )
            self.hidden = eqx.nn.Linear(4, 4, key=third)

        def __call__(self, token):
            embedding, linear = self.ends()
            x = embedding(token)  # OPERATOR: gather
            x = jnp.tanh(self.hidden(x))  # OPERATOR: dot_general, tanh
            return linear(x)  # OPERATOR: dot_general

    tokens = jnp.array([0, 3, 3, 1])

    @eqx.filter_jit
    def predict(model, tokens):
        return jax.vmap(model)(tokens)  # OPERATOR

    def loss(model):
        log_probs = jax.nn.log_softmax(predict(model, tokens[:-1]))  # OPERATOR
        return -jnp.mean(log_probs[jnp.arange(3), tokens[1:]])  # OPERATOR

    return loss, Language(KEY)


@program(layers=("linear1", "linear2"), unroll=True)
def stacked_blocks():
    class Linear(eqx.Module):
        weight: jax.Array
        bias: jax.Array

        def __init__(self, size, key):
            self.weight = jax.random.normal(key, (size, size)) / 2
            self.bias = jnp.zeros(size)

        def __call__(self, x):
            return self.weight @ x + self.bias  # OPERATOR: dot_general, add

    class Block(eqx.Module):
        linear1: Linear
        linear2: Linear

        def __init__(self, key):
            self.linear1, self.linear2 = (Linear(3, one) for one in jax.random.split(key))

        def __call__(self, x):
            return x + self.linear2(jax.nn.relu(self.linear1(x)))  # OPERATOR

    blocks = eqx.filter_vmap(Block)(jax.random.split(KEY, 3))
    params, static = eqx.partition(blocks, eqx.is_inexact_array)

    def loss(params, x):
        def step(x, params):
            block = eqx.combine(params, static)
            return block(x), None

        out, _ = jax.lax.scan(step, x, params)  # OPERATOR
        return jnp.mean(out**2)  # OPERATOR

    return loss, params, jnp.array([0.5, -1.0, 2.0])
