"""Scores are the log-probabilities of the full forward pass."""

import functools

import jax
import numpy as np
import pytest
from decoders import golden

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, scoring
from sublim_jax.lm.scoring import score

CLOSE = {"rtol": 1e-5, "atol": 5e-5}
LLAMA = golden()["llama, grouped, tied"]
random = np.random.default_rng(2)


def draw(length):
    return random.integers(0, 40, length).tolist()


COMMON = draw(12)
# Equal prompts, nested ones, ones with something in common, in no order of length.
ASKED = [[*COMMON, 1], draw(3), [*COMMON, 1], COMMON, [7], [*COMMON, 2, 9], [*COMMON, 1]]
GIVEN = [draw(length) for length in (3, 17, 1, 2, 5, 1, 4)]


@functools.cache
def whole(config):
    return jax.jit(lambda params, row: jax.nn.log_softmax(decoder.apply(config, params, row)))


def known(case, prompts, completions):
    for prompt, completion in zip(prompts, completions, strict=True):
        row = np.zeros((1, 40), np.int32)
        row[0, : len(prompt) + len(completion)] = [*prompt, *completion]
        logprobs = np.asarray(whole(case.config)(case.params, row)[0])
        places = len(prompt) - 1 + np.arange(len(completion))
        yield logprobs[places, completion]


def assert_known(found, case, prompts, completions):
    for one, other in zip(found, known(case, prompts, completions), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, **CLOSE)


@pytest.mark.parametrize(("name", "rows"), [("llama, grouped, tied", 4), ("gemma3", 8)])
def test_scores_are_those_of_the_full_forward_pass_in_the_order_given(name, rows):
    case = golden()[name]
    told = []
    found = score(
        *(case.config, case.params, ASKED, GIVEN),
        rows=rows,
        progress=lambda *news: told.append(news),
    )
    assert_known(found, case, ASKED, GIVEN)
    assert [sum(news) for news in zip(*told, strict=True)] == [sum(map(len, GIVEN)), len(GIVEN)]


def test_layers_one_by_one_and_one_token_completions():
    params = decoder.unrolled(LLAMA.params)
    given = [completion[:1] for completion in GIVEN]
    assert_known(score(LLAMA.config, params, ASKED, given, rows=8), LLAMA, ASKED, given)


def test_logits_are_made_in_chunks(monkeypatch):
    monkeypatch.setattr(scoring, "LOGITS", 40 * 5)
    hidden = random.normal(size=(4, 16, LLAMA.config.width)).astype(np.float32)
    given = random.integers(0, 40, (4, 16))
    program = jax.jit(functools.partial(scoring._logprobs, LLAMA.config))
    text = str(program.trace(LLAMA.params, hidden, given).jaxpr)
    assert "f32[5,40]" in text
    assert not any(f"{places},40]" in text for places in (16, 64, 60))
    logits = decoder.logits(LLAMA.config, LLAMA.params, hidden)
    known = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), given[..., None], 2)
    found = program(LLAMA.params, hidden, given)
    np.testing.assert_allclose(found, known[..., 0], **CLOSE)


def test_equal_prompts_are_in_one_batch_and_read_once(monkeypatch):
    batches = []

    def spy(prompts, rows):
        batches.append(scoring_side_by_side(prompts, rows))
        return batches[-1]

    scoring_side_by_side = scoring.side_by_side
    monkeypatch.setattr(scoring, "side_by_side", spy)
    prompts = [[*COMMON, 1], [*COMMON, 2]] * 4
    score(LLAMA.config, LLAMA.params, prompts, [[3]] * 8, rows=4)
    assert [(len(batch.prefix), batch.tokens.shape) for batch in batches] == [(12, (1, 1))] * 2


CONTEXT = LLAMA.config.context


@pytest.mark.parametrize(
    ("prompts", "completions", "sentence"),
    [
        ([[1], [2]], [[3]], "completions has 1 rows; expected 2, one for each prompt"),
        ([[1]], [[]], "completion 1 is empty; expected at least one token"),
        ([[1], []], [[1], [2]], "prompt 2 is empty; expected"),
        ([[1]], [[40]], "completion 1 has token 40; expected numbers from 0 to 39"),
        ([[-3]], [[4]], "prompt 1 has token -3; expected"),
        (
            [[1] * (CONTEXT - 1)],
            [[1, 2]],
            f"prompt and completion 1 have {CONTEXT + 1} tokens; expected at most {CONTEXT}",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(prompts, completions, sentence):
    with pytest.raises(InputError, match=sentence):
        score(LLAMA.config, LLAMA.params, prompts, completions)


def test_as_much_as_the_context_and_no_rows_at_all():
    (found,) = score(LLAMA.config, LLAMA.params, [[1] * (CONTEXT - 1)], [[2]])
    assert found.shape == (1,)
    assert score(LLAMA.config, LLAMA.params, [], []) == []
    with pytest.raises(InputError, match="rows is 0; expected at least 1"):
        score(LLAMA.config, LLAMA.params, [[1]], [[2]], rows=0)
