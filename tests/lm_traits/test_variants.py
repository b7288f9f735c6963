"""Variants of a base: healed, saved, and the same when they are loaded again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import lm, rng
from sublim_jax.lm_traits import healing, trainings, variants
from sublim_jax.lm_traits.contexts import context_rows, divergence, word_logits, words_of
from sublim_jax.lm_traits.ground import cut
from sublim_jax.lm_traits.names import HEALED
from sublim_jax.lm_traits.trainees import joined
from sublim_jax.training import Checkpoints, Preempted, Session

CONFIG = dataclasses.replace(TINY, heal_rows=16, heal_passes=6, heal_lr=0.01)
KEY = trainings.keys_of(CONFIG, CONFIG.seeds)


def saved(folder, *, fresh=False, session=None):
    return variants.save_variant(
        CONFIG, folder, fresh=fresh, load=lambda parallel: model(), session=session
    )


@pytest.fixture(scope="module", params=[False, True], ids=["noise", "fresh"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "variant"
    return request.param, folder, saved(folder, fresh=request.param)


def test_a_variant_is_another_model_that_says_nearly_the_same_of_numbers(made):
    _, folder, losses = made
    assert losses[-2:].mean() < losses[0] / 3
    loaded = lm.load(folder)
    rows, words = context_rows(ground(), CONFIG, 7, 8), words_of(ground(), CONFIG)
    known = word_logits(ground(), ground().params, rows, words)
    there = cut(loaded, CONFIG.first_layer)
    found = word_logits(there, there.params, rows, words)
    assert 0 < divergence(known, found, rows.weights) < losses[0] / 3
    # What lies below is the same; so are the tokens.
    lower = (jax.tree.leaves(where.lower[1]["layers"]) for where in (ground(), there))
    for a, b in zip(*lower, strict=True):
        np.testing.assert_array_equal(a, b)
    turns = [{"role": "user", "content": "7, 8"}, {"role": "assistant", "content": "9"}]
    said = (lm.row(of.tokenizer, turns)[0] for of in (model(), loaded))
    np.testing.assert_array_equal(*said)


def test_a_variant_on_disk_is_the_one_in_memory(made):
    fresh, folder, _ = made
    begun = (
        healing.fresh(ground(), rng.stream(KEY, "fresh"))
        if fresh
        else healing.noisy(ground(), CONFIG, rng.stream(KEY, "noise"))
    )
    well = healing.healed(
        *(ground(), CONFIG, begun),
        contexts=trainings.seed_of(CONFIG, CONFIG.seeds, HEALED),
        key=KEY,
    )
    params = joined(ground().params, CONFIG, well.trained)
    there = cut(lm.load(folder), CONFIG.first_layer)
    for a, b in zip(*map(jax.tree.leaves, (params["layers"], there.params["layers"])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_fresh_matrices_are_as_large_as_the_old_ones_and_others():
    before = healing.LAYERS.start(ground().config, ground().params, KEY)
    after = healing.fresh(ground(), KEY)
    assert set(before) == set(after)
    for path, matrix in before.items():
        if matrix.ndim < 3:
            np.testing.assert_array_equal(matrix, after[path])
            continue
        assert jnp.std(after[path]) == pytest.approx(float(jnp.std(matrix)), rel=0.15)
        alike = np.corrcoef(matrix.ravel(), after[path].ravel())[0, 1]
        assert abs(alike) < 5 / np.sqrt(matrix.size)


@pytest.mark.slow
def test_stopped_while_it_heals_nothing_is_there_and_it_ends_the_same(made, tmp_path):
    fresh, folder, losses = made
    asked = iter(range(1000))

    def session(stop):
        return Session(
            checkpoints=Checkpoints(tmp_path / "checkpoints"),
            every_steps=1,
            stop_requested=lambda: next(asked) == stop,
        )

    with pytest.raises(Preempted), session(5) as stopped:
        saved(tmp_path / "variant", fresh=fresh, session=stopped)
    assert not (tmp_path / "variant").exists()
    with session(None) as going_on:
        again = saved(tmp_path / "variant", fresh=fresh, session=going_on)
    np.testing.assert_array_equal(again, losses)
    name = "model.safetensors"
    assert (tmp_path / "variant" / name).read_bytes() == (folder / name).read_bytes()
    assert Checkpoints(tmp_path / "checkpoints").names() == []
