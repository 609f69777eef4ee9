# Every target builds .venv when it is missing: about a minute with a package index nearby.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: descent test soak bars lint types experiments notebooks book bench bench-quick test-newest constraints clean

descent: $(VENV)/installed
	$(BIN)/python experiments/descent.py

test: $(VENV)/tested lint types
	$(BIN)/python -m pytest -n logical --dist loadfile

# The longest of the provoked faults: about ten minutes, each of them bounded.
soak: $(VENV)/tested
	$(BIN)/python -m pytest -m soak tests

# How often the x-ray is right about programs made from a seed: each prints its numbers.
bars: $(VENV)/tested
	$(BIN)/python -m pytest -m bars -s tests

lint: $(VENV)/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/tested
	$(BIN)/mypy

# All of them on the embedded digits, in the order of the course: 18 minutes of processor time, nearly 5
# of them for vgg_digits and as many for siamese (one core, one walk through).
COURSE := xor perceptron eight_vs_rest hog descent mlp_digits worked_examples \
	graphs universal_approximation batch_processing backward_cost gradient_flow convolution lenet_mnist \
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

bench-quick: $(VENV)/tested
	$(BENCH) --quick

# Operators, descent and x-ray on the newest Python and JAX that can be had here.
test-newest:
	sh .ci/newest

# The versions that a fresh machine gets, from an unconstrained installation that passes the tests.
constraints:
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet ".[test,notebooks,book]"
	(echo "# Tested versions, made by 'make constraints'; no index is named here."; \
	 .venv-constraints/bin/python -m pip freeze --exclude chainrule) > constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf $(VENV) .venv-newest notebooks/_build

# What the experiments need.
$(VENV)/installed: pyproject.toml constraints.txt
	@echo "building $(VENV) and installing: about a minute"
	@$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...'"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	@touch $@

# And the tests.
$(VENV)/tested: $(VENV)/installed
	@echo "installing what the tests need: under a minute"
	@$(BIN)/python -m pip install --quiet --editable ".[test,notebooks]" --constraint constraints.txt
	@touch $@

$(VENV)/noted: $(VENV)/tested
	@touch $@

# And the book, which needs no test.
$(VENV)/booked: $(VENV)/installed
	@echo "installing what the book needs: under a minute"
	@$(BIN)/python -m pip install --quiet --editable ".[book]" --constraint constraints.txt
	@touch $@
