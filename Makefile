# Every target builds .venv when it is missing. How long things take stands in notebooks/experiments.md.
# Of the interpreters that run here it takes the newest; another one: make PYTHON=python3.11 ...
PYTHON ?= $(shell sh .ci/python)
VENV := .venv
BIN := $(VENV)/bin
# A module is compiled for its checks and its asserts once, not in every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: descent test soak bars mutate zoo house lint types experiments notebooks book bench bench-quick test-oldest constraints clean

descent: $(VENV)/installed
	$(BIN)/python experiments/descent.py

# The examples of the docstrings come last, and not the long files of few tests: the workers end together.
test: $(VENV)/tested lint types
	$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder

# The longest of the provoked faults, each of them bounded in time.
soak: $(VENV)/tested
	$(BIN)/python -m pytest -m soak tests

# How often the x-ray is right about programs made from a seed: each prints its numbers.
bars: $(VENV)/tested
	$(BIN)/python -m pytest -m bars -s tests

lint: $(VENV)/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# The package, and then a program that uses it, checked as its author would.
types: $(VENV)/tested
	$(BIN)/mypy
	cd tests/typed && ../../$(BIN)/mypy --config-file= --strict --follow-untyped-imports program.py

# All of them on the embedded digits, in the order of the course.
COURSE := xor perceptron eight_vs_rest hog known_results descent edge_of_stability catapult mlp_digits \
	worked_examples graphs universal_approximation batch_processing backward_cost gradient_flow convolution lenet_mnist \
	vgg_digits siamese xray_gallery
experiments: $(VENV)/installed
	for name in $(COURSE); do $(BIN)/python experiments/$$name.py || exit 1; done

notebooks: $(VENV)/noted
	$(BIN)/python notebooks/run.py

# The notebooks, the pages beside them and the API, to be read: notebooks/_build/html/index.html.
book: $(VENV)/booked
	$(BIN)/python -m sphinx -q -W --keep-going -j auto -b html notebooks notebooks/_build/html

# Against PyTorch only where that is installed: .venv/bin/pip install -e ".[bench]", several GB.
BENCH := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python experiments/benchmarks/run.py
bench: $(VENV)/tested
	$(BENCH) --publish
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BENCH) --publish --only "VGG16: step of training"
	MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 $(BENCH) --publish --only "VGG16: step of training"

bench-quick: $(VENV)/tested
	$(BENCH) --quick

# Operators, graphs of them, descent and x-ray on Python 3.11 with the newest JAX that it can have.
test-oldest:
	sh .ci/oldest

# The x-ray on programs of other libraries, where these can be had: the newest JAX is needed.
zoo: $(VENV)/tested
	@if $(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 12))"; then \
	    $(BIN)/python -m pip install --quiet --editable ".[zoo]" --constraint constraints.txt && \
	    $(BIN)/basedpyright --pythonpath $(BIN)/python --project tests/typed && \
	    $(BIN)/python -m pytest -m zoo -s tests/zoo tests/xray; \
	else echo "zoo: Python 3.12 or newer is needed, nothing tested"; fi

# Write the map of the package and the cases of its faults into CONTRIBUTING.md, and count its lines
# of code.
house: $(VENV)/tested
	$(BIN)/python tests/test_house.py
	$(BIN)/python -m tests.test_contributing

# Plant errors in the package, one at a time, and count those that the tests see. SEED and COUNT
# choose them.
SEED ?= 0
COUNT ?= 200
mutate: $(VENV)/tested
	$(BIN)/python tests/mutants/run.py --seed $(SEED) --count $(COUNT)

# The versions that a fresh machine gets, from unconstrained installations on the oldest and on the
# newest Python here.
constraints:
	sh .ci/constraints

clean:
	rm -rf $(VENV) .venv-oldest notebooks/_build

# What the experiments need.
$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with its venv: none runs here"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing JAX, flax, optax and what they need into $(VENV) with $$($(BIN)/python --version)"
	@$(BIN)/python -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...'"
	@$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	@touch $@

# And the tests.
$(VENV)/tested: $(VENV)/installed
	@echo "installing what the tests need into $(VENV): pytest, ruff, mypy, Jupyter's kernel, oracles"
	@$(BIN)/python -m pip install --quiet --editable ".[test,notebooks]" --constraint constraints.txt
	@touch $@

$(VENV)/noted: $(VENV)/tested
	@touch $@

# And the book, which needs no test.
$(VENV)/booked: $(VENV)/installed
	@echo "installing what the book needs into $(VENV): Sphinx and its theme"
	@$(BIN)/python -m pip install --quiet --editable ".[book]" --constraint constraints.txt
	@touch $@
