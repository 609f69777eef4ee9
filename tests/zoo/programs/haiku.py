"""Functions of haiku, transformed."""

import haiku as hk
import jax
import jax.numpy as jnp

from tests.zoo.zoo import program

KEY = jax.random.key(0)
RNG = jax.random.PRNGKey(0)


@program(layers=("linear_0", "linear_1", "linear_2"))
def mlp():
    def forward(x):
        net = hk.nets.MLP([4, 4, 3])
        return net(x)  # OPERATOR: dot_general

    net = hk.without_apply_rng(hk.transform(forward))
    x, y = jax.random.normal(KEY, (4, 5)), jax.nn.one_hot(jnp.array([0, 1, 2, 1]), 3)

    def loss(params):
        log_probs = jax.nn.log_softmax(net.apply(params, x))  # OPERATOR: exp, log
        return -jnp.sum(y * log_probs) / len(x)  # OPERATOR

    return loss, net.init(RNG, x)


@program(layers=("conv2_d", "linear"))
def cnn():
    def forward(x, is_training):
        convolve = hk.Conv2D(output_channels=3, kernel_shape=3, stride=2)
        x = convolve(x)  # OPERATOR: conv_general_dilated
        norm = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)
        x = norm(x, is_training)  # OPERATOR: rsqrt
        return hk.Sequential([jax.nn.relu, hk.Flatten(), hk.Linear(2)])(x)  # OPERATOR: dot_general

    net = hk.transform_with_state(forward)
    x = jax.random.normal(KEY, (2, 6, 6, 1))
    params, state = net.init(RNG, x, True)

    def loss(params, x):
        logits, _ = net.apply(params, state, None, x, True)
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[:, 0])  # OPERATOR: exp, log

    return loss, params, x


@program(layers=("lstm/linear", "head"), shared=("lstm/linear/w", "lstm/linear/b"), unroll=True)
def lstm():
    def forward(xs):
        core = hk.LSTM(3)
        start = core.initial_state(xs.shape[1])  # OPERATOR
        hidden, _ = hk.dynamic_unroll(core, xs, start)  # OPERATOR: dot_general, logistic, tanh
        return hk.BatchApply(hk.Linear(2, name="head"))(hidden)  # OPERATOR: dot_general

    net = hk.without_apply_rng(hk.transform(forward))
    xs = jax.random.normal(KEY, (4, 2, 2))

    def loss(params):
        return jnp.sum(jnp.sin(net.apply(params, xs)))  # OPERATOR: sin

    return loss, net.init(RNG, xs)


@program(layers=("query", "key", "value", "multi_head_attention/linear"))
def attention():
    class Block(hk.Module):
        def __call__(self, x):
            norm = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)
            attend = hk.MultiHeadAttention(
                2, key_size=2, w_init=hk.initializers.VarianceScaling(1.0), model_size=4
            )
            h = norm(x)  # OPERATOR: rsqrt
            return x + attend(h, h, h)  # OPERATOR: dot_general, exp

    net = hk.transform(lambda x: Block()(x))
    x = jax.random.normal(KEY, (2, 3, 4))

    def loss(params):
        y = jnp.tanh(net.apply(params, None, x))  # OPERATOR: tanh
        return jnp.max(y, axis=1).sum()  # OPERATOR: reduce_max

    return loss, net.init(RNG, x)
