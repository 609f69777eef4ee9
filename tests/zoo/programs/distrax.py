"""Likelihoods of distrax: a mixture, and a flow of bijectors."""

import distrax
import jax
import jax.numpy as jnp

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(shared=("loc",), repeated=("logits", "log_scale"))
def mixture():
    x = jax.random.normal(KEY, (5, 2))

    def loss(params):
        components = distrax.MultivariateNormalDiag(  # PERHAPS
            loc=params["loc"],
            scale_diag=jnp.exp(params["log_scale"]),  # OPERATOR: exp
        )
        weights = distrax.Categorical(logits=params["logits"])  # PERHAPS
        model = distrax.MixtureSameFamily(weights, components)  # PERHAPS
        prior = distrax.Normal(0.0, 10.0).log_prob(params["loc"]).sum()  # OPERATOR
        return -jnp.mean(model.log_prob(x)) - prior  # OPERATOR

    return loss, {
        "loc": jnp.array([[0.5, -1.0], [-0.3, 0.8]]),
        "log_scale": jnp.array([[0.1, -0.2], [0.3, 0.0]]),
        "logits": jnp.array([0.2, -0.4]),
    }


@program(layers=("conditioner",))
def coupling_flow():
    x = 0.5 * jax.random.normal(KEY, (4, 2))

    def loss(params):
        def conditioner(masked):
            return jnp.tanh(masked @ params["conditioner"]["w"])  # OPERATOR: dot_general, tanh

        def affine(out):
            shift, log_scale = jnp.split(out, 2, axis=-1)  # OPERATOR
            return distrax.ScalarAffine(shift=shift, log_scale=log_scale)  # PERHAPS

        mask = jnp.array([True, False])  # PERHAPS
        coupling = distrax.MaskedCoupling(mask, conditioner, affine)  # PERHAPS
        bend = distrax.Inverse(distrax.Tanh())  # PERHAPS
        base = distrax.MultivariateNormalDiag(params["loc"], jnp.ones(2))  # PERHAPS
        back = distrax.Chain([coupling, distrax.Block(bend, 1)])  # PERHAPS
        flow = distrax.Transformed(base, distrax.Inverse(back))  # PERHAPS
        return -flow.log_prob(jnp.tanh(x)).mean()  # OPERATOR

    w = jax.random.normal(KEY, (2, 4)) / 2
    return loss, {"conditioner": {"w": w}, "loc": jnp.zeros(2)}
