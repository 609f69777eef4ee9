"""Losses of optax, and a loop of its updates that is differentiated through."""

import jax
import jax.numpy as jnp
import optax

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(layers=("dense",), shared=("dense/w",))
def cross_entropy():
    x, labels = jax.random.normal(KEY, (4, 3)), jnp.array([0, 1, 1, 2])
    params = {"dense": {"w": jax.random.normal(KEY, (3, 3)), "b": jnp.zeros(3)}}

    def loss(params, x, labels):
        logits = x @ params["dense"]["w"] + params["dense"]["b"]  # OPERATOR: dot_general, add
        targets = optax.smooth_labels(jax.nn.one_hot(labels, 3), alpha=0.1)  # OPERATOR
        data = optax.losses.softmax_cross_entropy(logits, targets).mean()  # OPERATOR: exp, log
        return data + 1e-2 * optax.losses.l2_loss(params["dense"]["w"]).sum()  # OPERATOR

    return loss, params, x, labels


@program(repeated=("logits",))
def ctc():
    logit_paddings = jnp.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])

    def loss(logits):
        labels = jnp.array([[1, 2], [2, 0]])  # PERHAPS
        paddings = jnp.array([[0.0, 0.0], [0.0, 1.0]])  # PERHAPS
        each = optax.losses.ctc_loss(logits, logit_paddings, labels, paddings)  # OPERATOR: scan
        return jnp.mean(each)  # OPERATOR

    return loss, jax.random.normal(KEY, (2, 4, 3))


@program(shared=("w", "log_rate"))
def unrolled_inner_loop():
    x = jax.random.normal(KEY, (6, 2))
    y = x @ jnp.array([1.0, -2.0])

    def inner(w):
        return optax.losses.squared_error(x @ w, y).mean()  # OPERATOR: dot_general

    def loss(meta):
        optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(1.0))
        w = meta["w"]
        state = optimizer.init(w)  # OPERATOR
        for _ in range(3):
            grads = jax.grad(inner)(w)  # PERHAPS
            updates, state = optimizer.update(grads, state, w)  # OPERATOR: sqrt
            scaled = jnp.exp(meta["log_rate"]) * updates  # OPERATOR: exp, mul
            w = optax.apply_updates(w, scaled)  # OPERATOR: add
        return inner(w)

    return loss, {"w": jnp.array([0.5, 0.3]), "log_rate": jnp.array(-2.0)}


@program(layers=("encoder", "projection"))
def contrastive():
    x, labels = jax.random.normal(KEY, (4, 3)), jnp.array([0, 0, 1, 1])
    first, second = jax.random.split(KEY)
    params = {
        "encoder": {"kernel": jax.random.normal(first, (3, 5)), "bias": jnp.ones(5)},
        "projection": {"kernel": jax.random.normal(second, (5, 2))},
    }

    def embed(params, x):
        encoder = params["encoder"]
        h = jax.nn.softplus(x @ encoder["kernel"] + encoder["bias"])  # OPERATOR: dot_general
        return h @ params["projection"]["kernel"]  # OPERATOR: dot_general

    def loss(params):
        embeddings = embed(params, x)
        near = optax.losses.ntxent(embeddings, labels, temperature=0.5)  # OPERATOR
        apart = optax.losses.cosine_distance(embeddings[:2], embeddings[2:])  # OPERATOR: sqrt
        return near - apart.mean()  # OPERATOR

    return loss, params
