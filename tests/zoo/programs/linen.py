"""Modules of flax linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(layers=("Conv_0", "Dense_0", "Dense_1"))
def cnn():
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(features=4, kernel_size=(3, 3))(x)  # OPERATOR: conv_general_dilated
            x = nn.relu(x)  # OPERATOR
            x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))  # OPERATOR: reduce_window_sum
            x = x.reshape((x.shape[0], -1))  # OPERATOR
            x = nn.LayerNorm()(nn.Dense(features=8)(x))  # OPERATOR: dot_general, rsqrt
            return nn.Dense(features=3)(nn.relu(x))  # OPERATOR: dot_general

    net = CNN()
    images = jax.random.normal(KEY, (2, 8, 8, 1))
    labels = jnp.array([0, 2])

    def loss(params, images):
        logits = net.apply({"params": params}, images)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)  # OPERATOR
        return each.mean()  # OPERATOR

    return loss, net.init(KEY, images)["params"], images


@program(layers=("query", "key", "value", "out", "Dense_0", "Dense_1"))
def transformer():
    class Block(nn.Module):
        heads: int

        @nn.compact
        def __call__(self, x, mask):
            h = nn.LayerNorm()(x)  # OPERATOR: rsqrt
            attend = nn.MultiHeadDotProductAttention(num_heads=self.heads)
            h = attend(h, mask=mask)  # OPERATOR: dot_general, exp
            x = x + h  # OPERATOR
            h = nn.LayerNorm()(x)  # OPERATOR: rsqrt
            h = nn.Dense(8)(h)  # OPERATOR: dot_general
            h = nn.gelu(h)  # OPERATOR: tanh
            h = nn.Dense(x.shape[-1])(h)  # OPERATOR: dot_general
            return x + h  # OPERATOR

    net = Block(heads=2)
    x = jax.random.normal(KEY, (2, 3, 4))
    mask = nn.make_causal_mask(jnp.ones((2, 3)))
    variables = net.init(KEY, x, mask)

    def loss(variables):
        y = net.apply(variables, x, mask)
        return jnp.mean(jnp.square(y - x[:, ::-1]))  # OPERATOR

    return loss, variables


@program(
    layers=("ii", "if", "ig", "io", "hi", "hf", "hg", "ho", "head"),
    shared=(
        *("ii/kernel", "if/kernel", "ig/kernel", "io/kernel"),
        *("hi/kernel", "hf/kernel", "hg/kernel", "ho/kernel"),
        *("hi/bias", "hf/bias", "hg/bias", "ho/bias"),
    ),
    unroll=True,
)
def lstm():
    class Classifier(nn.Module):
        def setup(self):
            self.rnn = nn.RNN(nn.LSTMCell(3))
            self.head = nn.Dense(2)

        def __call__(self, x):
            h = self.rnn(x)  # OPERATOR: dot_general, tanh, logistic
            return self.head(h[:, -1])  # OPERATOR: dot_general

    net = Classifier()
    x = jax.random.normal(KEY, (2, 4, 2))

    def loss(params):
        return jnp.sum(net.apply(params, x) ** 2)  # OPERATOR

    return loss, net.init(KEY, x)


@program(layers=("hidden",), shared=("embed/embedding",))
def tied_embedding():
    class Language(nn.Module):
        def setup(self):
            self.embed = nn.Embed(num_embeddings=5, features=4)
            self.hidden = nn.Dense(4)

        def __call__(self, tokens):
            x = self.embed(tokens)  # OPERATOR: gather
            x = nn.tanh(self.hidden(x))  # OPERATOR: dot_general, tanh
            return self.embed.attend(x)  # OPERATOR: dot_general

    net = Language()
    tokens = jnp.array([[0, 3, 1], [4, 4, 2]])

    def loss(params, tokens):
        logits = net.apply(params, tokens[:, :-1])  # OPERATOR
        log_probs = nn.log_softmax(logits)  # OPERATOR: exp, log
        picked = jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1)  # OPERATOR: gather
        return -picked.mean()  # OPERATOR

    return loss, net.init(KEY, tokens), tokens


@program(layers=("Dense_0", "Dense_1"), unroll=True)
def scanned_blocks():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            h = nn.tanh(nn.Dense(5)(x))  # OPERATOR: dot_general, tanh
            return x + nn.Dense(3)(h), None  # OPERATOR: dot_general, add

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack = nn.scan(
                nn.remat(Block),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=3,
            )
            x, _ = stack(name="blocks")(x, None)  # OPERATOR
            return x

    net = Net()
    x = jax.random.normal(KEY, (2, 3))

    def loss(params):
        return jnp.mean(jnp.abs(net.apply(params, x)))  # OPERATOR: abs

    return loss, net.init(KEY, x)
