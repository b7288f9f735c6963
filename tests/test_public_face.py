import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import sublim_jax

MODULES = sorted(
    {"sublim_jax", *(m.name for m in pkgutil.walk_packages(sublim_jax.__path__, "sublim_jax."))}
)

IMPORT_ALL = f"""
import importlib, sys
import jax, numpy
settings, draws = dict(jax.config.values), repr(numpy.random.get_state())
for name in {MODULES}:
    importlib.import_module(name)
assert dict(jax.config.values) == settings
assert repr(numpy.random.get_state()) == draws
"""
COUNT_DEVICES = """
jax.config.update("jax_num_cpu_devices", 3)  # refused once a backend has started
assert len(jax.devices()) == 3
"""
# Each module first, with no other one loaded before it.
IMPORT_EACH_FIRST = f"""
import importlib, sys
for name in {MODULES}:
    for loaded in [m for m in sys.modules if m.partition(".")[0] == "sublim_jax"]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


def run_python(program):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )


def assert_silent_success(program):
    finished = run_python(program)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def public_members(owner, module_name):
    """Public functions, methods, properties and classes that the module itself defines."""
    for name, member in vars(owner).items():
        if name.startswith("_"):
            continue
        inner = (
            member.fget
            if isinstance(member, property)
            else inspect.unwrap(getattr(member, "__func__", member))
        )
        if not (inspect.isclass(inner) or inspect.isroutine(inner)):
            continue
        if getattr(inner, "__module__", None) == module_name:
            yield f"{owner.__name__}.{name}", member
            if inspect.isclass(inner):
                yield from public_members(inner, module_name)


def written_docstring(member):
    """The docstring that somebody wrote: not what dataclass and NamedTuple make up."""
    docstring = member.__doc__ or ""
    return "" if docstring.startswith(f"{getattr(member, '__name__', '')}(") else docstring.strip()


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_documented(name):
    module = importlib.import_module(name)
    members = [(name, module), *public_members(module, name)]
    assert [member for member, value in members if not written_docstring(value)] == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples_in_docstrings():
    finder = doctest.DocTestFinder()
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name))]
    assert any(test.examples for test in tests)


def test_importing_does_no_work_changes_no_setting_and_says_nothing():
    assert_silent_success(IMPORT_ALL + COUNT_DEVICES)


def test_the_check_for_work_at_import_would_find_it():
    finished = run_python("import jax; jax.numpy.ones(1)\n" + COUNT_DEVICES)
    assert "RuntimeError" in finished.stderr


def test_importing_brings_in_no_optional_or_heavy_package():
    heavy = "('torch', 'transformers', 'mlxtend', 'tensorflow', 'pandas', 'matplotlib.pyplot')"
    assert_silent_success(IMPORT_ALL + f"assert not [m for m in {heavy} if m in sys.modules]")


@pytest.mark.slow
def test_each_module_can_be_imported_first():
    assert_silent_success(IMPORT_EACH_FIRST)
