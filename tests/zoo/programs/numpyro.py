"""Densities and a variational bound of numpyro: the library computes what a model describes."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.util import log_density, potential_energy
from numpyro.optim import Adam

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(shared=("intercept", "slope", "spread"))
def regression():
    age = jax.random.normal(KEY, (6,))
    rate = 0.5 * age + 0.1

    def model(age, rate):
        intercept = numpyro.sample("intercept", dist.Normal(0.0, 0.2))  # PERHAPS
        slope = numpyro.sample("slope", dist.Normal(0.0, 0.5))  # PERHAPS
        spread = numpyro.sample("spread", dist.Exponential(1.0))  # PERHAPS
        mean = intercept + slope * age  # OPERATOR: mul, add
        numpyro.sample("rate", dist.Normal(mean, spread), obs=rate)  # PERHAPS

    def loss(params):
        density, _ = log_density(model, (age, rate), {}, params)  # OPERATOR
        return -density  # OPERATOR

    return loss, {name: jnp.array(0.3) for name in ("intercept", "slope", "spread")}


@program(shared=("mu", "tau", "theta"))
def eight_schools():
    effect = jnp.array([28.0, 8.0, -3.0, 7.0])
    error = jnp.array([15.0, 10.0, 16.0, 11.0])

    def model(error, effect):
        mu = numpyro.sample("mu", dist.Normal(0, 5))  # PERHAPS
        tau = numpyro.sample("tau", dist.HalfCauchy(5))  # PERHAPS
        with numpyro.plate("schools", 4):  # PERHAPS
            theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))  # PERHAPS
            numpyro.sample("y", dist.Normal(mu + tau * theta, error), obs=effect)  # OPERATOR

    def loss(unconstrained):
        return potential_energy(model, (error, effect), {}, unconstrained)  # OPERATOR

    theta = jnp.array([0.5, 0.1, -0.3, 0.2])
    return loss, {"mu": jnp.array(1.0), "tau": jnp.array(0.4), "theta": theta}


@program(shared=("skill_auto_loc", "skill_auto_scale"))
def variational():
    faces = jnp.array([1.0, 1.0, 0.0, 1.0])

    def model(faces):
        skill = numpyro.sample("skill", dist.Normal(0.0, 1.0))  # PERHAPS
        with numpyro.plate("data", len(faces)):  # PERHAPS
            numpyro.sample("face", dist.Bernoulli(logits=2 * skill), obs=faces)  # OPERATOR

    guide = AutoNormal(model)
    elbo = Trace_ELBO(num_particles=2)
    svi = SVI(model, guide, Adam(0.01), elbo)
    params = svi.get_params(svi.init(jax.random.PRNGKey(0), faces))

    def loss(params):
        return elbo.loss(jax.random.PRNGKey(1), params, model, guide, faces)  # OPERATOR

    return loss, params
