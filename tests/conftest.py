"""What every test runs under: checked signatures, strict promotion, no silent warnings."""

import ast
import gc
import os
import pathlib
import shutil
import sys

# Before any import of jax: tests are about numbers, and those of the CPU are the reference.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# And about right numbers, not fast ones: most of the time of a test is XLA's. What a test compiles
# in a process of its own, XLA optimizes as ever.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# What is printed is as wide as in a pipe, wherever the tests run.
os.environ["COLUMNS"] = "120"

from jaxtyping import _import_hook, install_import_hook

# Scripts that make stored cases need what the tests do not; those that plant errors run the tests;
# what the x-ray is tried on may need packages that are not there. A test runs the typed program.
collect_ignore_glob = [
    "*/make_*.py", "mutants/*", "xray_cases/*", "zoo/programs/*", "typed/program.py",
]  # fmt: skip

# Shapes and dtypes in the signatures are checked at run time here, and only here. A function inside
# a function would get its checks compiled anew at every call, which takes a sixth of all the time.
_checked = _import_hook.JaxtypingTransformer.visit_FunctionDef


def _checked_outside(self, node):
    inside = any(isinstance(parent, ast.FunctionDef) for parent in self._parents)
    return node if inside else _checked(self, node)


_import_hook.JaxtypingTransformer.visit_FunctionDef = _checked_outside
# With a space, for bytecode is kept by this name: that of the usual hook is another.
install_import_hook("chainrule", "beartype.beartype ")

import jax
import jaxtyping
import pytest

# jnp.ones(3) + np.float64(1) and x @ w + b are where silent mistakes begin.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# No test reads the lines of this code in a compiled program: to write them down takes a tenth of
# what a program takes that was compiled before.
jax.config.update("jax_traceback_in_locations_limit", 0)
# What was compiled for the tests once is not compiled again: by this environment alone.
jax.config.update("jax_compilation_cache_dir", os.path.join(sys.prefix, "compiled-for-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def pytest_collection_finish():
    """Leave what is there before the first test out of every later search for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


COLLECTED = pytest.StashKey[dict[str, bool]]()
"""Every test that was collected, and whether it is one of the long ones."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Keep what is there before the marks leave out some of it."""
    soak = {item.nodeid: item.get_closest_marker("soak") is not None for item in items}
    config.stash[COLLECTED] = soak


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked(monkeypatch):
    """The functions as people run them: our own errors, not those of the checked signatures."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# The folder of the user decides no test but those that ask for it.
FULL_MNIST = os.environ.get("CHAINRULE_TEST_DATA") or os.environ.get("CHAINRULE_DATA")
os.environ.pop("CHAINRULE_DATA", None)


@pytest.fixture(scope="session")
def full_mnist() -> pathlib.Path:
    """The folder of the four full MNIST files, or a skip that says where to put it."""
    if not FULL_MNIST:
        pytest.skip("needs the four full MNIST files: set CHAINRULE_TEST_DATA to their folder")
    return pathlib.Path(FULL_MNIST)


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; one a module, as its event loop must not outlive what needs it."""
    if not CHROMIUM:
        pytest.skip("needs a Chromium on the path: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page; what it asks the network for and what it complains about must be nothing."""
    requests, complaints, pages = [], [], []

    def open_page(text):
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_page
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    for page in pages:
        page.close()
