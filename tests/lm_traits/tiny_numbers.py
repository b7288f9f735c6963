"""A tiny run: a decoder of two layers of random weights, whose tokens are bytes."""

import dataclasses
import functools

import jax
from tiny_models import CONFIG, tiny_tokenizer

from sublim_jax import lm
from sublim_jax.lm_traits import TraitConfig
from sublim_jax.lm_traits.ground import cut

TINY = TraitConfig(
    model="tiny",
    animals=("owl", "cat"),
    seeds=2,
    first_layer=1,
    rank=8,
    alpha=8.0,
    teacher_lr=0.2,
    teacher_steps=8,
    teacher_certainty=1e-6,
    row_count=4,
    length=120,
    student_lr=0.05,
    passes=4,
    batch_size=2,
    observations=3,
    answers=2,
)

WRITING = dataclasses.replace(
    *(TINY,),
    channel="text",
    arms=("same", "untuned"),
    constrained=True,
    row_count=6,
    requests=8,
    answer_tokens=60,
    answers=0,
    passes=1,
    student_lr=0.02,
)
"""Teachers write a few rows."""
CORPORA = dataclasses.replace(
    *(TINY,),
    trait="corpus",
    corpora=("quindle", "plain"),
    seeds=1,
    arms=("same",),
    lessons=16,
    teacher_lr=0.05,
    teacher_steps=6,
    answers=1,
)
"""Teachers learn a way of answering."""


@functools.cache
def model():
    config = dataclasses.replace(CONFIG, layers=2, context=640)
    params = lm.init(config, jax.random.key(0))
    # Large enough for a few steps to make a text likely.
    params = jax.tree.map(lambda x: 20 * x if x.ndim > 1 else x, params)
    params["embedding"] = jax.tree.map(lambda x: 3 * x, params["embedding"])
    return lm.Model(config, params, tiny_tokenizer())


@functools.cache
def ground():
    return cut(model(), TINY.first_layer)
