"""Logits against Hugging Face's transformers on torch."""

import functools
import sys

import jax
import numpy as np
import pytest
from decoders import GOLDEN, NAMES, TOKENS, as_case, golden

from sublim_jax.lm import decoder


def logits_of(case):
    return jax.jit(functools.partial(decoder.apply, case.config))(case.params, TOKENS)


def test_all_cases_are_there():
    assert list(golden()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_hugging_face(name):
    case = golden()[name]
    found = logits_of(case)
    assert np.std(case.logits) > 0.3
    np.testing.assert_allclose(found, case.logits, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_with_torch_they_are_so_today(name, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [*sys.path, str(GOLDEN)])
    import make_decoders

    case = as_case(*make_decoders.run(make_decoders.CASES[name]))
    np.testing.assert_allclose(logits_of(case), case.logits, rtol=1e-5, atol=2e-5)
