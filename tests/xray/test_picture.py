"""The pictures show the numbers of the course, and group what stands together."""

import functools
import importlib.metadata
import re
import subprocess
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import losses, xray
from chainrule.ops import convolution, pooling
from chainrule.xray.groups import Group, tree
from chainrule.xray.picture import picture

SVG = "{http://www.w3.org/2000/svg}"


def sigmoid_neuron(w, x):
    return 1 / (1 + jnp.exp(-(w[0] * x[0] + w[1] * x[1] + w[2])))


def squared_norm(W, x):
    return jnp.sum(jnp.square(W @ x))


# Label, value, gradient: as printed in the course, whose second picture keeps two decimals (and
# goes on computing with what it rounded: its 0.39 and -0.59 are -0.20 times x).
COURSE = {
    "product": (
        lambda x, y, z: (x + y) * z,
        (-2.0, 5.0, -4.0),
        "x -2 -4; y 5 -4; z -4 3; add -2+5=3 -4; mul -12 1",
        0,
    ),
    "sigmoid": (
        sigmoid_neuron,
        ([2.0, -3.0, -3.0], [-1.0, -2.0]),
        "w[0] 2.00 -0.20; w[1] -3.00 -0.39; w[2] -3.00 0.20; x[0] -1.00 0.39; x[1] -2.00 -0.59; "
        "mul -2.00 0.20; mul 6.00 0.20; add 4.00 0.20; add 1.00 0.20; neg -1.00 -0.20; "
        "exp 0.37 -0.53; add 1.37 -0.53; div 0.73 1.00",
        2,
    ),
    "norm": (
        squared_norm,
        (jnp.array([[0.1, 0.5], [-0.3, 0.8]]), jnp.array([0.2, 0.4])),
        "W 0.1,0.5,-0.3,0.8 0.088,0.176,0.104,0.208; x 0.2,0.4 -0.112,0.636; "
        "dot_general 0.22,0.26 0.44,0.52; square 0.0484,0.0676 1,1; reduce_sum 0.116 1",
        4,
    ),
}


def numbers(text):
    """The numbers in what is drawn, true minus signs and spaces of fixed width included."""
    return [float(x.replace("−", "-")) for x in re.findall(r"−?[0-9.]+(?:e[+−][0-9]+)?", text)]


@pytest.mark.parametrize("case", COURSE)
def test_the_pictures_of_the_course_number_by_number(case):
    f, args, printed, decimals = COURSE[case]
    report = xray.xray(f, *args)
    rows = [row.split() for row in printed.split("; ")]
    shown = {n["label"]: n for n in picture(report.record)["nodes"] if n["kind"] != "constant"}
    assert [re.sub(r"_\d+$", "", label) for label in shown] == [row[0] for row in rows]
    # The same in the file, where every card is a group of texts.
    svg = ET.fromstring(report.to_svg())
    cards = {
        card.find(f"{SVG}title").text: [
            (text.get("class"), text.text) for text in card.iter(f"{SVG}text")
        ]
        for card in svg.iter(f"{SVG}g")
        if card.get("data-id", "").startswith("n")
    }
    for (label, node), (_, value, gradient) in zip(shown.items(), rows, strict=True):
        for kind, expected in (("value", value), ("gradient", gradient)):
            expected = [float(x) for x in expected.rpartition("=")[2].split(",")]
            for texts in (
                node[kind]["text"],
                [text for kinds, text in cards[label] if kind in kinds.split()],
            ):
                got = numbers(" ".join(texts))
                assert np.round(got, decimals).tolist() == expected, (label, kind)


def test_value_stands_above_the_name_and_gradient_below():
    svg = ET.fromstring(xray.xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0).to_svg())
    for card in svg.iter(f"{SVG}g"):
        if card.get("data-id"):
            height = {text.get("class"): float(text.get("y")) for text in card.iter(f"{SVG}text")}
            assert height["value"] < height["name"] < height["gradient"]


def test_each_branch_of_a_fan_out_shows_its_part_and_the_node_their_sum():
    report = xray.xray(lambda x, y: x * y + x, 2.0, -3.0)
    svg = report.to_svg()
    assert sorted(re.findall(r'<text class="part"[^>]*>([^<]*)<', svg)) == ["1", "−3"]
    assert picture(report.record)["nodes"][0]["sum"] == "−3 + 1 = −2"
    assert ">−3 + 1 = −2<" in svg


def test_a_part_stands_on_a_plate_as_wide_as_its_text_so_that_its_line_is_no_minus():
    svg = xray.xray(lambda x: -3 * x + x, 1.0).to_svg()
    plates = re.findall(
        r'<rect class="plate" x="([-\d.]+)" y="([-\d.]+)" width="([-\d.]+)" height="([-\d.]+)"'
        r' rx="7"/><text class="part" x="([-\d.]+)" y="([-\d.]+)">([^<]*)<',
        svg,
    )
    assert sorted(plate[-1] for plate in plates) == ["1", "−3"]
    for *numbers, text in plates:
        left, top, width, height, x, y = map(float, numbers)
        assert left + width / 2 == pytest.approx(x, abs=0.2)
        assert top < y < top + height
        assert width > 5 * len(text)


def plus(x):
    return jnp.tanh(x) + 1


def test_two_calls_of_a_function_on_one_line_are_two_groups():
    root, _ = tree(xray.xray(lambda x: plus(plus(x)), 0.5).record)
    calls = [child for child in root.children if isinstance(child, Group)]
    assert [call.name for call in calls] == ["plus", "plus"]
    assert not set(calls[0].nodes()) & set(calls[1].nodes())


def three(x):
    for _ in range(3):
        x = plus(x)
    return x


def turns(x):
    for _ in range(2):
        x = jnp.sin(x) * x
    return x


@pytest.mark.parametrize(
    ("f", "calls"),
    [
        (three, [2, 2, 2]),  # without the constants: each tanh and sum
        (lambda x: turns(turns(x)), [4, 4]),  # a loop inside is no other call
        (jax.grad(lambda x: three(x)), []),  # the way back goes backward
    ],
    ids=["in a loop", "with a loop", "differentiated"],
)
def test_the_calls_of_one_place_in_a_loop_are_told_apart(f, calls):
    record = xray.xray(f, 0.5).record
    groups = [child for child in tree(record)[0].children if isinstance(child, Group)]
    functions = [group for group in groups if group.kind == "function"]
    sizes = [sum(record.nodes[n].kind == "operator" for n in g.nodes()) for g in functions]
    assert sizes == calls


def test_arguments_parameters_and_constants_are_told_apart():
    report = xray.xray(lambda p, x: jnp.sum(p["w"] * x + 3.0), {"w": jnp.ones(3)}, jnp.ones(3))
    svg = ET.fromstring(report.to_svg())
    kinds = {
        card.find(f"{SVG}title").text: card.get("class").split()[1]
        for card in svg.iter(f"{SVG}g")
        if card.get("data-id")
    }
    assert kinds["p['w']"] == "parameter"
    assert kinds["x"] == "input"
    assert "constant" in kinds.values()


def layer(w, x):
    h = jnp.dot(w, x)
    return jnp.tanh(h)


def network(params, x):
    for name in ("one", "two"):
        with jax.named_scope(name):
            x = layer(params[name], x)
    return jnp.sum(x * x)


PARAMS = {"one": jnp.full((3, 3), 0.1), "two": jnp.full((3, 3), -0.2)}


def test_groups_follow_scopes_and_functions_and_hold_their_own_parameters():
    report = xray.xray(network, PARAMS, jnp.ones(3))
    root, _ = tree(report.record)
    scopes = [c for c in root.children if isinstance(c, Group)]
    assert [(g.name, g.kind) for g in scopes] == [("one", "scope"), ("two", "scope")]
    inside = [[report.nodes[n].label.partition("_")[0] for n in g.nodes()] for g in scopes]
    assert inside == [["params['one']", "dot", "tanh"], ["params['two']", "dot", "tanh"]]


def test_two_calls_of_one_function_are_two_groups():
    @jax.jit
    def square(x):
        return x * x + x

    def f(x):
        return layer(square(square(x)), 2.0)

    root, _ = tree(xray.xray(f, 0.5).record)
    assert [c.name for c in root.children if isinstance(c, Group)] == ["square", "square", "layer"]


def test_a_scope_that_is_entered_again_is_another_group_so_that_no_box_waits_for_itself():
    def f(x):
        with jax.named_scope("a"):
            x = jnp.sin(x) * x
        x = jnp.exp(x)
        with jax.named_scope("a"):
            return jnp.cos(x) * x

    root, _ = tree(xray.xray(f, 0.5).record)
    assert [c.name for c in root.children if isinstance(c, Group)] == ["a", "a"]


def test_a_scope_around_one_operator_is_its_name_and_no_group():
    def f(x):
        with jax.named_scope("hidden"):
            h = jnp.tanh(x)
        return h * x

    report = xray.xray(f, 0.5)
    root, names = tree(report.record)
    assert (root.children, names) == ((0, 1, 2), {1: "hidden"})
    assert ">hidden · tanh_1<" in report.to_svg()
    assert "hidden" in report.to_dot()


def test_a_long_row_is_cut_into_parts():
    def f(x):
        for k in np.random.default_rng(0).integers(0, 3, 120):
            x = (jnp.sin, jnp.cos, jnp.tanh)[k](x)
        return x

    report = xray.xray(f, 0.5, compiled=False)
    root, _ = tree(report.record)
    assert sorted(root.nodes()) == list(range(121))
    assert len(root.children) <= 48
    parts = [c for c in root.children if isinstance(c, Group)]
    assert {part.kind for part in parts} == {"part"}
    assert parts[0].name == f"x … {report.nodes[list(parts[0].nodes())[-1]].label}"
    assert report.to_svg(open="all").count('data-id="n') == 121


def test_large_graphs_start_closed_and_groups_open_by_name():
    def f(x):
        for k in range(9):
            with jax.named_scope(f"block{k}"):
                for _ in range(2 + k):
                    x = jnp.sin(x)
        return x

    report = xray.xray(f, 0.5, compiled=False)
    closed = ET.fromstring(report.to_svg())
    ids = [g.get("data-id") for g in closed.iter(f"{SVG}g") if g.get("data-id")]
    assert sorted(ids) == sorted(["n0", *(f"g{k}" for k in range(9))])
    one = report.to_svg(open=["block3"])
    assert one.count('data-id="n') == 6
    assert one.count('data-id="o3"') == 1
    assert report.to_svg(open="none").count('data-id="g') == 9
    with pytest.raises(ValueError, match=r"open is \['block9'\].*'block8'"):
        report.to_svg(open=["block9"])


def folds(f, *args, **settings):
    """What repeats: the name, how often, what it says, and the names of the first two turns."""
    data = picture(xray.xray(f, *args, compiled=False, **settings).record)
    rows = [g for g in data["groups"] if g["kind"] == "repeat"]
    inner = [[g["name"] for g in data["groups"] if g["parent"] == row["id"]][:2] for row in rows]
    assert not any(row["open"] for row in rows)
    return [
        (row["name"], row["times"], row["note"], names)
        for row, names in zip(rows, inner, strict=True)
    ]


def test_layers_and_steps_that_repeat_are_folded_with_what_they_differ_in():
    def deep(params, x):
        for k, w in enumerate(params):
            with jax.named_scope(f"layer_{k}"):
                x = layer(w, x)
        return jnp.sum(x)

    (ten,) = folds(deep, [jnp.eye(3)] * 24, jnp.ones(3))
    own = "they differ in their parameters"
    assert ten == ("layer × 24", 24, own, ["layer_0", "layer_1"])
    widths = [jnp.ones((4, 3)), *[jnp.eye(4)] * 12, jnp.ones((3, 4)), *[jnp.eye(3)] * 12]
    assert [row[:2] for row in folds(deep, widths, jnp.ones(3))] == [("layer × 12", 12)] * 2

    def recurrent(p, xs):
        return jax.lax.scan(lambda h, x: (jnp.tanh(p["w"] * h + x), None), 0.5, xs)[0]

    (steps,) = folds(recurrent, {"w": 0.5}, jnp.ones(24), unroll=True)
    assert steps == ("step × 24", 24, "they share their parameters", ["step0", "step1"])


def test_turns_of_a_loop_without_a_name_are_folded_and_numbered():
    def loop(x):
        for _ in range(30):
            x = jnp.sin(x) * x + 1.0
        return x

    (turns,) = folds(loop, 0.5)
    assert turns[:3] == ("sin … add × 30", 30, "they differ in their values")
    assert turns[3] == ["turn 1 … turn 15", "turn 16 … turn 30"]
    called = folds(lambda x: functools.reduce(lambda x, _: plus(x), range(30), x), 0.5)
    assert called[0][:2] == ("plus × 30", 30)


def test_what_others_wrote_is_one_node_until_it_is_opened():
    @jax.jit
    def mine(x):
        return jnp.tanh(x) * x

    def f(p, x):
        x = pooling.max_pool(convolution.conv(x, p["kernel"], p["bias"], padding=1), 2)
        x = layer(mine(x), 2.0)
        safe = optax.losses.safe_softmax_cross_entropy(x.reshape(1, -1), jnp.eye(1, 4))
        return jnp.sum(safe) + losses.cross_entropy(x.reshape(1, -1), jnp.array([1]))

    params = {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.ones(1)}
    report = xray.xray(f, params, jnp.ones((1, 4, 4, 1)), argnums=0)
    data = picture(report.record)
    top = {g["name"]: g["kind"] for g in data["groups"] if g["parent"] is None}
    closed = ("conv", "max_pool", "mine", "safe_softmax_cross_entropy", "cross_entropy")
    assert top == dict.fromkeys(closed, "call") | {"layer": "function"}
    assert [g["name"] for g in data["groups"] if g["open"]] == ["layer"]
    svg = report.to_svg()
    assert "_add_bias" not in svg
    assert "views" not in svg
    assert re.search(r'class="box closed"[^>]*><title>cross_entropy<', svg)
    assert ">_add_bias" in report.to_svg(open=["_add_bias"])


def test_a_large_graph_opens_depth_by_depth_as_long_as_there_are_few_boxes():
    def blocks(count):
        def f(x):
            for k in range(count):
                with jax.named_scope(f"block{k}"):
                    for j in range(2):
                        with jax.named_scope(f"part{j}"):
                            for _ in range(k + 2 * j + 2):
                                x = jnp.sin(x)
            return x

        data = picture(xray.xray(f, 0.5, compiled=False).record)
        return {g["name"] for g in data["groups"] if g["open"]}

    assert blocks(5) == {f"block{k}" for k in range(5)}  # and 50 operators in their parts
    assert blocks(2) == {"block0", "block1", "part0", "part1"}  # a small one
    assert blocks(13) == set()  # 27 boxes, were they open


def test_a_birth_is_marked_on_its_node_and_on_the_group_around_it():
    def distance(a, b):
        return jnp.sqrt(jnp.sum((a - b) ** 2))

    def f(a, b):
        return distance(a, b) * 2.0

    report = xray.xray(f, jnp.ones(3), jnp.ones(3))
    svg = report.to_svg()
    assert svg.count(">Inf born backward<") == 1
    assert re.search(r'class="box operator[^"]*born', svg)
    assert re.search(r'class="box closed[^"]*born', report.to_svg(open="none"))
    assert "Inf born backward" in report.to_dot()


def test_every_wire_ends_at_the_border_of_a_card():
    svg = ET.fromstring(xray.xray(network, PARAMS, jnp.ones(3)).to_svg(direction="down"))
    tops, bottoms = [], []
    for card in svg.iter(f"{SVG}g"):
        if card.get("data-id"):
            x, y = map(float, re.findall(r"[-0-9.]+", card.get("transform")))
            rect = card.findall(f"{SVG}rect")[-1]
            wide, high = float(rect.get("width")), float(rect.get("height"))
            tops.append((x, x + wide, y))
            bottoms.append((x, x + wide, y + high))
    wires = [p for p in svg.iter(f"{SVG}path") if "edge" in (p.get("class") or "")]
    assert len(wires) > 8
    borders = tops + bottoms
    for wire in wires:
        points = re.findall(r"(-?[0-9.]+),(-?[0-9.]+)", wire.get("d"))
        for x, y in (map(float, points[0]), map(float, points[-1])):
            assert any(a - 1 <= x <= b + 1 and abs(y - h) <= 1 for a, b, h in borders)


def test_only_statistics_are_drawn_where_only_those_are_kept():
    args = (PARAMS, jnp.ones(3))
    stats = picture(xray.xray(network, *args, keep="stats").record)
    values = picture(xray.xray(network, *args).record)
    assert stats["nodes"][-1]["value"] == values["nodes"][-1]["value"]
    assert "mean" in stats["nodes"][0]["value"]["text"][0]
    assert len(stats["steps"]) == len(values["steps"]) == 6


def test_graphviz_reads_the_dot_text():
    report = xray.xray(network, PARAMS, jnp.ones(3))
    files = importlib.metadata.files("graphviz-pure") or ()
    (program,) = (file.locate() for file in files if file.stem == "graphviz-pure")
    answer = subprocess.run(
        [program, "-Tsvg"], input=report.to_dot(), capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    texts = [text.text for text in ET.fromstring(answer.stdout).iter(f"{SVG}text")]
    assert {"one", "two", "params['one']", f"tanh_{report.nodes[-3].index}"} & set(texts)
    assert answer.stdout.count('class="cluster"') == 2


def places(report):
    """Where the middle of every node stands."""
    found = {}
    for card in ET.fromstring(report.to_svg(direction="right")).iter(f"{SVG}g"):
        if card.get("data-id"):
            x, y = map(float, re.findall(r"[-0-9.]+", card.get("transform")))
            rect = card.findall(f"{SVG}rect")[-1]
            middle = x + float(rect.get("width")) / 2, y + float(rect.get("height")) / 2
            found[card.find(f"{SVG}title").text] = middle
    return found


def test_operands_stand_in_their_order_and_values_flow_one_way():
    f, args, *_ = COURSE["sigmoid"]
    report = xray.xray(f, *args)
    at = places(report)
    heights = [at[name][1] for name in ("w[0]", "x[0]", "w[1]", "x[1]")]
    assert heights == sorted(heights)
    for node in report.nodes:
        for slot in node.inputs:
            assert at[report.nodes[slot.node].label][0] < at[node.label][0]


def test_no_two_cards_overlap():
    svg = ET.fromstring(xray.xray(network, PARAMS, jnp.ones(3)).to_svg(direction="down"))
    cards = []
    for card in svg.iter(f"{SVG}g"):
        if card.get("data-id", "").startswith("n"):
            x, y = map(float, re.findall(r"[-0-9.]+", card.get("transform")))
            rect = card.findall(f"{SVG}rect")[-1]
            cards.append((x, y, x + float(rect.get("width")), y + float(rect.get("height"))))
    for k, (a, b, c, d) in enumerate(cards):
        for e, f, g, h in cards[k + 1 :]:
            assert c <= e or g <= a or d <= f or h <= b


def test_what_is_inside_a_node_is_a_picture_too():
    def f(w, xs):
        return jax.lax.scan(lambda h, x: (jnp.tanh(w * h + x), h), 0.5, xs)[0]

    report = xray.xray(f, 2.0, jnp.arange(3.0), compiled=False)
    (scan,) = (node for node in picture(report.record)["nodes"] if node["opens"])
    assert scan["op"] == "scan"
    inside = report.open(scan["label"])
    svg = inside.to_svg()
    assert ">tanh<" in svg
    steps = picture(inside.record)["nodes"][-1]["value"]["text"]
    assert len(numbers(" ".join(steps))) == 3  # one number a step
