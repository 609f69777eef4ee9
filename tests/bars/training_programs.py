"""Training programs as people write them: five libraries, and a fault in the middle."""

import dataclasses
import re
import string
from collections.abc import Sequence

import numpy as np

from tests.bars.training_faults import Fault

MARK = "# BORN"
UNITS = 8
FIRST_STEP, LAST_STEP = 2, 40
OPEN, CLOSE = "def make_train_step():", "    return train_step"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is drawn for a training before it is written.

    Attributes:
      size: samples in a batch.
      features: numbers in a sample, or in one of its tokens.
      tokens: the length of sequences.
      layers: how many layers stand between the first and the last.
      step: the one that fails.
      seed: of parameters and data.
      wrap: see `Training`.
      closure: whether the step is made by a function.
      functional: for nnx, whether the state is split off the modules.
      noise: whether the state holds a random key that is used.
    """

    size: int
    features: int
    tokens: int
    layers: int
    step: int
    seed: int
    wrap: str
    closure: bool
    functional: bool
    noise: bool


def draw_plan(rng: np.random.Generator, fault: Fault, flavour: str) -> Plan:
    """Draw the sizes of a training and how it is written."""
    wrap = str(rng.choice(["jit", "jit", "donate", "eager"]))
    functional = wrap == "donate" or bool(rng.random() < 0.25)
    bound = (flavour == "nnx" and functional) or (flavour == "equinox" and wrap == "donate")
    return Plan(
        size=int(rng.integers(4, 10)),
        features=64 if fault.data == "image" else int(rng.integers(3, 8)),
        tokens=2 if fault.data == "pairs" else int(rng.integers(4, 7)),
        layers=int(rng.integers(0, 3)),
        step=int(rng.integers(FIRST_STEP, LAST_STEP + 1)),
        seed=int(rng.integers(1000)),
        wrap="fit" if flavour == "fit" else wrap,
        closure=bound or bool(rng.random() < 0.4),
        functional=flavour == "nnx" and functional,
        noise=bool(rng.random() < 0.3),
    )


ACTIVATIONS = ("jnp.tanh", "jax.nn.gelu", "jax.nn.silu", "jax.nn.relu", "jax.nn.softplus")
STEEP = ("jax.nn.leaky_relu", "leaky")  # do not make an infinity finite again
LEAKY = "def leaky(h, slope=0.1):\n    return jnp.where(h > 0, h, slope * h)\n"
ORNAMENTS = ("h = h + 0.1 * jnp.sin(h)", "h = 0.5 * h", "h = h + jnp.abs(h)")
SOFT_ORNAMENTS = (
    "h = h * lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-6)",
    "h = jax.nn.standardize(h, axis=-1)",
    "h = jnp.log1p(jnp.abs(h)) * jnp.sign(h)",
)
OBJECTIVES = {
    "real": (
        "def objective(outputs, targets):\n    return jnp.mean(jnp.square(outputs - targets))\n",
        "def objective(outputs, targets):\n"
        "    return optax.huber_loss(outputs, targets).sum(axis=-1).mean()\n",
    ),
    "label": (
        "def objective(outputs, labels):\n"
        "    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()\n",
        "def objective(outputs, labels):\n"
        "    logs = outputs - jax.nn.logsumexp(outputs, axis=-1, keepdims=True)\n"
        "    return -jnp.mean(logs[jnp.arange(len(labels)), labels])\n",
    ),
}
OPTIMIZERS = (
    "optax.adam(1e-3)",
    "optax.adamw(1e-3, weight_decay=1e-4)",
    "optax.sgd(1e-3)",
    "optax.sgd(1e-3, momentum=0.9)",
    "optax.chain(optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(1e-3, 99)))",
)
OUTPUTS = {"real": 2, "positive": 2, "label": 3, "binary": 1}
IMPORTS = {
    "fit": "from chainrule import training",
    "linen": "from flax import linen as nn\nfrom flax.training.train_state import TrainState",
    "nnx": "from flax import nnx",
    "equinox": "import equinox as eqx",
    "jax": "",
}

PLAIN = """
def dense(key, n, m):
    return {"kernel": jax.random.normal(key, (n, m)) / n**0.5, "bias": jnp.zeros(m)}


def init(key):
    keys = jax.random.split(key, $layers + 2)
    params = {"first": {"kernel": dense(keys[0], $features, $units)["kernel"]}}
    widths = [$width, *[$units] * $layers]
    params["layers"] = [dense(*args) for args in zip(keys[1:], widths, widths[1:])]
    params["head"] = dense(keys[-1], widths[-1], $outputs)
$set_gain    return params


def forward(params, $args):
$cast    h = $front
    h = h @ params["first"]["kernel"]
    h = $hidden
    $ornament
    for layer in params["layers"]:
        h = $activation(h @ layer["kernel"] + layer["bias"])
    h = h @ params["head"]["kernel"] + params["head"]["bias"]
    return $end
"""

LINEN = """
class Model(nn.Module):
    width: int = $units

    @nn.compact
    def __call__(self, $args):
        h = $front
        h = nn.Dense(self.width, use_bias=False$dtype)(h)
        h = $hidden
        $ornament
        for _ in range($layers):
            h = $activation(nn.Dense(self.width$dtype)(h))
        h = nn.Dense($outputs$dtype)(h)
$set_gain        return $end
"""

NNX = """
class Model(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear($features, $units, use_bias=False$dtype, rngs=rngs)
        widths = [$width, *[$units] * $layers]
        self.layers = nnx.List(
            [nnx.Linear(n, m$dtype, rngs=rngs) for n, m in zip(widths, widths[1:])]
        )
        self.head = nnx.Linear(widths[-1], $outputs$dtype, rngs=rngs)
$set_gain
    def __call__(self, $args):
        h = $front
        h = self.first(h)
        h = $hidden
        $ornament
        for layer in self.layers:
            h = $activation(layer(h))
        h = self.head(h)
        return $end
"""

EQUINOX = """
class Model(eqx.Module):
    first: eqx.nn.Linear
    layers: list[eqx.nn.Linear]
    head: eqx.nn.Linear
$field
    def __init__(self, key):
        keys = jax.random.split(key, $layers + 2)
        self.first = eqx.nn.Linear($features, $units, use_bias=False, key=keys[0])
        widths = [$width, *[$units] * $layers]
        self.layers = [
            eqx.nn.Linear(n, m, key=k) for k, n, m in zip(keys[1:], widths, widths[1:])
        ]
        self.head = eqx.nn.Linear(widths[-1], $outputs, key=keys[-1])
$set_gain
    def __call__(self, $args):
        h = $front
        h = $call_first
        h = $hidden
        $ornament
        for layer in self.layers:
            h = $activation(layer(h))
        h = self.head(h)
        return $end
"""

FIT_STEP = """
OPTIMIZER = $optimizer


def loss(params, state, batch, key):
    outputs = forward(params, $fields)
$noise    value = objective(outputs, batch["targets"]$clock)
    return value, ($new_state, {$metrics})


def create_state():
    params = init(jax.random.key($seed))
    return training.create(params, OPTIMIZER, key=jax.random.key(1)$start)
"""

JAX_STEP = """
OPTIMIZER = $optimizer


def loss_fn(params, batch, key, step):
    outputs = forward(params, $fields)
$noise    return objective(outputs, batch["targets"]$clock)

$inner
$open${decorate}def train_step(state, batch):
    key, used = jax.random.split(state["key"])
    loss, grads = $gradient(state["params"], batch, used, state["step"])
    updates, opt_state = OPTIMIZER.update(grads, state["opt_state"], state["params"])$update
    params = optax.apply_updates(state["params"], updates)
    step = state["step"] + 1
    state = {"params": params, "opt_state": opt_state, "step": step, "key": key}
    return state, {"loss": loss$metrics}
$close

def create_state():
    params = init(jax.random.key($seed))
    return {
        "params": params,
        "opt_state": OPTIMIZER.init(params),
        "step": jnp.zeros((), jnp.int32),
        "key": jax.random.key(7),
    }
"""

LINEN_STEP = """
OPTIMIZER = $optimizer


def loss_fn(params, state, batch):
    outputs = state.apply_fn({"params": params}, $fields)
    return objective(outputs, batch["targets"]$clock)

$inner
$open${decorate}def train_step(state, batch):
    loss, grads = $gradient(state.params, state, batch)
    state = state.apply_gradients(grads=grads)$update
    return state, {"loss": loss$metrics}
$close

def create_state():
    model = Model()
    params = model.init(jax.random.key($seed), $example)["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=OPTIMIZER)
"""

NNX_STEP = """
OPTIMIZER = $optimizer


def loss_fn(model, batch, step):
    outputs = model($fields)
    return objective(outputs, batch["targets"]$clock)


def build():
    model = Model(nnx.Rngs($seed))
    return model, nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)

$inner
$open${decorate}def train_step(state, batch):
    model, optimizer = $merge
    loss, grads = $gradient(model, batch, optimizer.step[...])
    optimizer.update(model, grads)$update
    return $result, {"loss": loss$metrics}
$close

def create_state():
    return $built
"""

EQUINOX_STEP = """
OPTIMIZER = $optimizer


def loss_fn(model, batch, key, step):
$cast    outputs = jax.vmap(model)($fields)
$noise    return objective(outputs, batch["targets"]$clock)

$inner
$open${decorate}def train_step(state, batch):
    key, used = jax.random.split(state["key"])
    model = $merge
    loss, grads = $gradient(model, batch, used, state["step"])
    params = eqx.filter(model, eqx.is_inexact_array)
    updates, opt_state = OPTIMIZER.update(grads, state["opt_state"], params)$update
    model = eqx.apply_updates(model, updates)
    state = {
        "model": $result,
        "opt_state": opt_state,
        "step": state["step"] + 1,
        "key": key,
    }
    return state, {"loss": loss$metrics}
$close

def create_state():
    model = Model(jax.random.key($seed))
    return {
        "model": $result,
        "opt_state": OPTIMIZER.init(eqx.filter(model, eqx.is_inexact_array)),
        "step": jnp.zeros((), jnp.int32),
        "key": jax.random.key(7),
    }
"""

MODELS = {"fit": PLAIN, "jax": PLAIN, "linen": LINEN, "nnx": NNX, "equinox": EQUINOX}
STEPS = {
    "fit": FIT_STEP,
    "jax": JAX_STEP,
    "linen": LINEN_STEP,
    "nnx": NNX_STEP,
    "equinox": EQUINOX_STEP,
}
GRADIENTS = {
    "jax": ("jax.value_and_grad(loss_fn)", "jax.jit"),
    "linen": ("jax.value_and_grad(loss_fn)", "jax.jit"),
    "nnx": ("nnx.value_and_grad(loss_fn)", "nnx.jit"),
    "equinox": ("eqx.filter_value_and_grad(loss_fn)", "eqx.filter_jit"),
}
GAINS = {
    "fit": ('    params["gain"] = jnp.asarray(GAIN)\n', 'params["gain"]'),
    "jax": ('    params["gain"] = jnp.full((), GAIN)\n', 'params["gain"]'),
    "linen": ('        gain = self.param("gain", nn.initializers.constant(GAIN), ())\n', "gain"),
    "nnx": ("        self.gain = nnx.Param(jnp.asarray(GAIN))\n", "self.gain[...]"),
    "equinox": ("        self.gain = jnp.asarray(GAIN)\n", "self.gain"),
}
CASTS = {
    "fit": "    params, x = jax.tree.map(lambda a: a.astype(jnp.float16), (params, x))\n",
    "jax": "    params, x = jax.tree.map(lambda a: a.astype(jnp.float16), (params, x))\n",
    "equinox": (
        "    half = lambda a: a.astype(jnp.float16) if eqx.is_inexact_array(a) else a\n"
        "    model, batch = jax.tree.map(half, (model, batch))\n"
    ),
}


def write(rng: np.random.Generator, fault: Fault, flavour: str, plan: Plan) -> str:
    """Return the text of a training, its line to be named ending in a mark."""
    words = dict.fromkeys(("cast", "dtype", "field", "noise", "set_gain", "clock"), "")
    steep = fault.phase == "forward"
    activation = choose(rng, STEEP if steep else ACTIVATIONS)
    optimizer = string.Template(fault.optimizer or choose(rng, OPTIMIZERS)).substitute(
        numbers(plan)
    )
    settled = fault.hidden == "h" and rng.random() < 0.7
    words |= {
        "units": UNITS,
        "features": plan.features,
        "layers": plan.layers,
        "width": fault.width or UNITS,
        "outputs": OUTPUTS[fault.targets],
        "seed": plan.seed,
        "args": "x, mask" if fault.masked else "x",
        "fields": 'batch["inputs"], batch["mask"]' if fault.masked else 'batch["inputs"]',
        "front": fault.front,
        "hidden": f"{activation}(h)" if settled else fault.hidden,
        "ornament": choose(rng, ORNAMENTS if steep or fault.half else ORNAMENTS + SOFT_ORNAMENTS),
        "activation": activation,
        "optimizer": optimizer,
        "update": f"  {MARK}" if fault.in_update else "",
        "metrics": choose(rng, ["", ', "grad_norm": optax.global_norm(grads)']),
    }
    gain, read_gain = GAINS[flavour]
    words["end"] = fault.end.replace("$gain", read_gain)
    if fault.gain:
        words["set_gain"] = gain
        words["field"] = "    gain: jax.Array\n"
    if fault.half:
        words["cast"] = CASTS.get(flavour, "")
        words["dtype"] = ", dtype=jnp.float16"
    if plan.noise:
        words["noise"] = (
            "    outputs = outputs + 1e-3 * jax.random.normal(key, outputs.shape, outputs.dtype)\n"
        )
    words |= step_words(fault, flavour, plan)
    parts = [header(flavour, plan, fault), helpers(rng, fault, plan)]
    if activation == "leaky":
        parts.append(LEAKY)
    parts.append(objective(rng, fault, plan))
    for template in (MODELS[flavour], STEPS[flavour]):
        parts.append(string.Template(template).substitute(words).strip("\n") + "\n")
    return tidy("\n\n".join(part for part in parts if part))


def choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Return one of some texts."""
    return str(rng.choice(options))


def header(flavour: str, plan: Plan, fault: Fault) -> str:
    """Return docstring, imports and constants."""
    constants = f"\nGAIN = {plan.step / 32!r}\n" if fault.gain else ""
    return (
        f'"""Train a small network ({flavour})."""\n\n'
        "import functools\nfrom typing import Any, NamedTuple\n\n"
        "import jax\nimport jax.numpy as jnp\nimport numpy as np\nimport optax\n"
        "from jax import lax\n"
        f"{IMPORTS[flavour]}\n{constants}"
    )


def helpers(rng: np.random.Generator, fault: Fault, plan: Plan) -> str:
    """Return the functions around the fault in one of their spellings."""
    text = str(rng.choice(fault.helpers))
    wrap = str(rng.choice(["", "", "@jax.jit\n", "@jax.checkpoint\n", "@jax.named_call\n"]))
    return string.Template(text.replace("$wrap\n", wrap)).substitute(numbers(plan))


def numbers(plan: Plan) -> dict[str, float]:
    """Return the numbers that a fault is set by."""
    times = next(n for n in (7, 5, 3, 2, 1) if (plan.step + 1) % n == 0)
    return {
        "step": plan.step,
        "features": plan.features,
        "before": plan.step - 1,
        "after": plan.step + 1,
        "scale": 2.0 ** (16 - times),
        "interval": (plan.step + 1) // times,
    }


def objective(rng: np.random.Generator, fault: Fault, plan: Plan) -> str:
    """Return the loss of the outputs."""
    text = fault.objective or str(rng.choice(OBJECTIVES[fault.targets]))
    return string.Template(text).substitute(numbers(plan))


def step_words(fault: Fault, flavour: str, plan: Plan) -> dict[str, str]:
    """Return the words of the template of a step."""
    if flavour == "fit":
        return fit_words(fault)
    gradient, jit = GRADIENTS[flavour]
    donates = plan.wrap == "donate"
    if donates or plan.functional:
        jit = "jax.jit"
    decorate = {
        "jit": f"@{jit}\n",
        "donate": "@functools.partial(jax.jit, donate_argnums=0)\n",
        "eager": "",
    }[plan.wrap]
    inner = ""
    if plan.wrap == "eager":
        inner, gradient = f"\ngradient = {GRADIENTS[flavour][1]}({gradient})\n", "gradient"
    words = {"gradient": gradient, "decorate": decorate, "inner": inner, "open": "", "close": ""}
    words["call_first"] = "jax.vmap(self.first)(h)" if tokens(fault) else "self.first(h)"
    words["example"] = example(fault, plan)
    if fault.clock:
        words["clock"] = ", state.step" if flavour == "linen" else ", step"
    opened = ""
    if flavour == "nnx":
        split = plan.functional
        opened = "graph, _ = nnx.split(build())" if split else ""
        words["merge"] = "nnx.merge(graph, state)" if split else "state"
        words["result"] = "nnx.state((model, optimizer))" if split else "(model, optimizer)"
        words["built"] = "nnx.split(build())[1]" if split else "build()"
    if flavour == "equinox":
        opened = f"static = eqx.partition(Model(jax.random.key({plan.seed})), eqx.is_array)[1]"
        opened = opened if donates else ""
        words["merge"] = 'eqx.combine(state["model"], static)' if donates else 'state["model"]'
        words["result"] = "eqx.filter(model, eqx.is_array)" if donates else "model"
    if plan.closure:
        words["open"] = f"{OPEN}\n{opened}\n\n" if opened else f"{OPEN}\n"
        words["close"] = f"\n{CLOSE}\n"
    return words


def fit_words(fault: Fault) -> dict[str, str]:
    """Return the words of the template of a loss for ``training.fit``."""
    words = {"new_state": "state", "start": "", "metrics": '"largest": jnp.max(jnp.abs(outputs))'}
    if fault.clock:
        words["clock"] = ', state["step"]'
        words["new_state"] = '{"step": state["step"] + 1}'
        words["start"] = ', state={"step": jnp.zeros((), jnp.int32)}'
    return words


def tokens(fault: Fault) -> bool:
    """Tell whether a sample is several vectors."""
    return fault.data in ("sequence", "tokens", "pairs")


def example(fault: Fault, plan: Plan) -> str:
    """Return the text of an example of what a model is given."""
    shape: tuple[int, ...] = (1, plan.features)
    if tokens(fault):
        shape = (1, plan.tokens, plan.features)
    elif fault.data == "image":
        shape = (1, 8, 8, 1)
    if fault.data == "tokens":
        return f"jnp.zeros((1, {plan.tokens}), jnp.int32)"
    mask = f", jnp.ones((1, {plan.tokens}), bool)" if fault.masked else ""
    return f"jnp.zeros({shape}){mask}"


def tidy(text: str) -> str:
    """Indent a step that is made by a function, and drop superfluous blank lines."""
    lines, inside = [], False
    for line in text.splitlines():
        inside = inside and line != CLOSE
        lines.append(f"{'    ' if inside else ''}{line}".rstrip())
        inside = inside or line == OPEN
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).rstrip() + "\n"
