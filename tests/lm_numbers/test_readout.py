"""What is read of the upper part is what the whole model says."""

import jax
import numpy as np
import pytest
from tiny_numbers import ground, model

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm_numbers.ground import cut, lifted, whole
from sublim_jax.lm_numbers.readout import logprobs, make_readout, named, opened

ASKED = ["Which animal?", "And your favorite one, please?"]


@pytest.mark.parametrize("candidates", [["owl", "cat", "elephant"], ["owl"]])
def test_log_probabilities_are_those_of_the_whole_text(candidates):
    config, params, _ = model()
    base = ground()
    found = logprobs(base.config, base.params, make_readout(base, ASKED, "It is the", candidates))
    for row, question in zip(found, ASKED, strict=True):
        asked = [opened(base, question, "It is the")] * len(candidates)
        texts = [named(base, candidate) for candidate in candidates]
        known = [scores.sum() for scores in lm.score(config, params, asked, texts)]
        np.testing.assert_allclose(row, known, atol=1e-4)


def test_both_parts_make_the_whole():
    config, params, _ = model()
    base = ground()
    moved = jax.tree.map(lambda x: x + 0.01, base.params)
    tokens = np.arange(2, 12)[None]
    known = lm.apply(config, params | {"layers": whole(base, moved)["layers"]}, tokens)
    assert np.abs(known - lm.apply(config, params, tokens)).max() > 1e-3
    again = whole(base, base.params)
    np.testing.assert_array_equal(lm.apply(config, again, tokens), lm.apply(config, params, tokens))


def test_without_a_lower_part_rows_stay_tokens():
    base = cut(model(), 0)
    row = lm.row(
        base.tokenizer,
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "12"}],
    )
    assert lifted(base, [row]).tokens.ndim == 2
    assert lifted(ground(), [row]).tokens.ndim == 3


def test_a_candidate_inside_another_is_refused():
    with pytest.raises(InputError, match="candidates has cat and cattle; expected none"):
        make_readout(ground(), ASKED, "It is the", ["cat", "cattle"])


@pytest.mark.parametrize("layers", [-1, 2])
def test_a_cut_that_leaves_nothing_is_refused(layers):
    with pytest.raises(InputError, match=f"first_layer is {layers}; expected 0 to 1"):
        cut(model(), layers)
