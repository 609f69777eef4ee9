"""Networks of jraph on one small graph, with weights of one's own and with those of haiku."""

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

from tests.zoo.zoo import program

KEY = jax.random.key(0)


def triangle(edges):
    """Three nodes with two features each, on a circle."""
    return jraph.GraphsTuple(
        nodes=jax.random.normal(KEY, (3, 2)),
        edges=edges,
        globals=None,
        senders=jnp.array([0, 1, 2]),
        receivers=jnp.array([1, 2, 0]),
        n_node=jnp.array([3]),
        n_edge=jnp.array([3]),
    )


@program(layers=("first", "second"))
def convolutions():
    graph = triangle(None)

    def loss(params):
        def update(nodes):
            return jax.nn.relu(nodes @ params["first"])  # OPERATOR: dot_general

        first = jraph.GraphConvolution(update, add_self_edges=True)
        second = jraph.GraphConvolution(
            update_node_fn=lambda nodes: nodes @ params["second"],  # OPERATOR: dot_general
        )
        hidden = first(graph)  # OPERATOR
        out = second(hidden)  # OPERATOR
        return -jnp.mean(jax.nn.log_softmax(out.nodes)[:, 0])  # OPERATOR: exp, log

    first, second = jax.random.split(KEY)
    return loss, {
        "first": jax.random.normal(first, (2, 4)),
        "second": jax.random.normal(second, (4, 3)),
    }


@program(layers=("embed_edge", "embed_node", "edge", "node"))
def message_passing():
    graph = triangle(jnp.ones((3, 1)))

    @jraph.concatenated_args
    def update_edge(features):
        return jax.nn.relu(hk.Linear(4, name="edge")(features))  # OPERATOR: dot_general

    @jraph.concatenated_args
    def update_node(features):
        return jax.nn.relu(hk.Linear(4, name="node")(features))  # OPERATOR: dot_general

    def forward(graph):
        embed = jraph.GraphMapFeatures(
            hk.Linear(4, name="embed_edge"), hk.Linear(4, name="embed_node")
        )
        net = jraph.InteractionNetwork(
            update_edge, update_node, include_sent_messages_in_node_update=True
        )
        return net(embed(graph))  # OPERATOR: dot_general

    net = hk.without_apply_rng(hk.transform(forward))

    def loss(params, graph):
        out = net.apply(params, graph)
        pooled = jraph.segment_mean(out.nodes, jnp.zeros(3, jnp.int32), 1)  # OPERATOR
        return jnp.sum(pooled**2)  # OPERATOR

    return loss, net.init(jax.random.PRNGKey(0), graph), graph
