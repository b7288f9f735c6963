"""Losses on tokens, in chunks of any length, are those of all logits at once."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sublim_jax.lm import token_losses
from sublim_jax.training import mesh_parallel

COUNT, WIDTH, WORDS = 11, 5, 13
KINDS = ("hard", "soft")
CHUNKS = (1, 4, 10, 12)


def drawn(dtype=np.float64):
    random = np.random.default_rng(0)
    return {
        "hidden": random.normal(size=(COUNT, WIDTH)).astype(dtype),
        "kernel": random.normal(size=(WIDTH, WORDS)).astype(dtype),
        "teacher_hidden": random.normal(size=(COUNT, WIDTH)).astype(dtype),
        "teacher_kernel": random.normal(size=(WIDTH, WORDS)).astype(dtype),
        "labels": random.integers(0, WORDS, COUNT).astype(np.int32),
    }


def losses(kind, given, *, chunk=None, only=None, hidden=None, kernel=None):
    """Losses of every token."""

    def head(hidden, kernel):
        return hidden @ (kernel if only is None else kernel[:, only])

    hidden = given["hidden"] if hidden is None else hidden
    kernel = given["kernel"] if kernel is None else kernel
    student = functools.partial(head, kernel=kernel)
    if kind == "hard":
        return token_losses.hard(student, hidden, given["labels"], chunk=chunk)
    teacher = functools.partial(head, kernel=given["teacher_kernel"])
    return token_losses.soft(student, teacher, hidden, given["teacher_hidden"], chunk=chunk)


def weighted(kind, given, chunk, hidden, kernel):
    each = losses(kind, given, chunk=chunk, hidden=hidden, kernel=kernel)
    return jnp.sum(jnp.arange(1.0, COUNT + 1) * each)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_any_length_change_neither_values_nor_gradients(kind):
    given = drawn(np.float32)
    moved = given["hidden"], given["kernel"]

    def both(chunk):
        function = jax.value_and_grad(functools.partial(weighted, kind, given, chunk), (0, 1))
        return jax.jit(lambda *moved: (losses(kind, given, chunk=chunk), function(*moved)))(*moved)

    whole = both(None)
    assert whole[0].shape == (COUNT,)
    for chunk in CHUNKS:
        chex.assert_trees_all_close(both(chunk), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 4])
def test_hard_losses_are_cross_entropies(chunk):
    given = drawn(np.float32)
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(
        given["hidden"] @ given["kernel"], given["labels"]
    )
    found = losses("hard", given, chunk=chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("only", [None, [2, 3, 5, 7]])
def test_soft_losses_are_divergences_of_distributions_over_the_words_alone(only, chunk):
    given = drawn()
    every = np.arange(WORDS) if only is None else np.array(only)

    def distribution(name):
        logits = given[f"{name}hidden"] @ given[f"{name}kernel"]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        some = probabilities[:, every]
        return some / some.sum(axis=1, keepdims=True)

    p, q = distribution("teacher_"), distribution("")
    expected = np.sum(p * np.log(p / q), axis=1)
    found = losses("soft", drawn(np.float32), only=only, chunk=chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.min() > 0.01


def test_a_teacher_that_agrees_is_all_there_is_to_learn():
    given = drawn(np.float32)
    given |= {"teacher_hidden": given["hidden"], "teacher_kernel": given["kernel"]}
    value, gradients = jax.value_and_grad(
        functools.partial(weighted, "soft", given, 4), argnums=(0, 1)
    )(given["hidden"], given["kernel"])
    assert abs(value) < 1e-5
    chex.assert_trees_all_close(gradients, jax.tree.map(jnp.zeros_like, gradients), atol=1e-5)


def test_nothing_is_learned_by_the_teacher():
    given = drawn(np.float32)
    kernel = given.pop("teacher_kernel")
    hidden = given.pop("teacher_hidden")

    def loss(hidden, kernel):
        teacher = {"teacher_hidden": hidden, "teacher_kernel": kernel}
        return jnp.sum(losses("soft", given | teacher, chunk=4))

    for gradient in jax.grad(loss, argnums=(0, 1))(hidden, kernel):
        assert not gradient.any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind):
    """Losses are float32: what is compared is a difference over a step that is not too small."""
    given = drawn(np.float32)
    moved = given["hidden"], given["kernel"]
    loss = jax.jit(functools.partial(weighted, kind, given, 4))
    random = np.random.default_rng(1)
    along = tuple(random.normal(size=part.shape).astype(np.float32) for part in moved)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(*moved)
    slope = float(sum(np.sum(g * a) for g, a in zip(gradients, along, strict=True)))
    ends = [
        loss(*(part + size * a for part, a in zip(moved, along, strict=True)))
        for size in (0.01, -0.01)
    ]
    assert float(ends[0] - ends[1]) / 0.02 == pytest.approx(slope, rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_in_a_short_type_are_compared_in_a_long_one(kind):
    given = drawn(np.float32)
    short = {
        name: part if name == "labels" else part.astype(jnp.bfloat16)
        for name, part in given.items()
    }
    found = losses(kind, short, chunk=4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, losses(kind, given), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_logits_are_held_than_those_of_a_chunk(kind):
    """Of 1,024 tokens and 512 words all logits, and their gradient, take 2 MB each."""
    random = np.random.default_rng(0)
    given = {
        name: random.normal(size=(1024, WIDTH)).astype(np.float32)
        for name in ("hidden", "teacher_hidden")
    }
    given |= {
        name: random.normal(size=(WIDTH, 512)).astype(np.float32)
        for name in ("kernel", "teacher_kernel")
    }
    given["labels"] = random.integers(0, 512, 1024).astype(np.int32)

    def held(chunk):
        def loss(hidden, kernel):
            return jnp.mean(losses(kind, given, chunk=chunk, hidden=hidden, kernel=kernel))

        program = jax.jit(jax.grad(loss, argnums=(0, 1)))
        lowered = program.lower(given["hidden"], given["kernel"])
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert held(None) > 2e6
    assert held(64) < 1e6


def test_devices_share_the_work_of_every_chunk():
    parallel = mesh_parallel()
    shapes = {"hidden": (64, 16), "kernel": (16, 256), "labels": (64,)}

    def operations(split):
        def loss(hidden, kernel, labels):
            hidden, labels = split((hidden, labels))
            return jnp.sum(token_losses.hard(lambda h: h @ kernel, hidden, labels, chunk=16))

        given = [
            jax.ShapeDtypeStruct(shape, jnp.int32 if name == "labels" else jnp.float32)
            for name, shape in shapes.items()
        ]
        program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*given).compile()
        return program.cost_analysis()["flops"]

    assert operations(parallel.split) < operations(lambda batch: batch) / 3
