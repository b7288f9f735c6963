"""Texts to fine-tune a tiny decoder on, and a fine-tuning by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from decoders import golden

from sublim_jax.lm import decoder
from sublim_jax.lm.chat import Row
from sublim_jax.training import Recipe

KEY = jax.random.key(5)
PLAIN = Recipe(optimizer="sgd", learning_rate=0.3, epochs=3, batch_size=8, clip=1.0)
LENGTHS = (9, 4, 7, 8, 3, 6)  # packed by themselves 6 rows, and 4 together
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


def texts(lengths=LENGTHS, seed=0):
    """Texts of many words, of which one or many are learned."""
    random = np.random.default_rng(seed)
    return [
        Row(
            random.integers(0, 40, length).astype(np.int32),
            np.arange(length) >= random.integers(1, length),
        )
        for length in lengths
    ]


def model(name):
    return golden()[name].config, golden()[name].params


def moved(params, size=0.1, seed=0):
    """Parameters somewhere near."""
    leaves, structure = jax.tree.flatten(params)
    random = np.random.default_rng(seed)
    return structure.unflatten(
        [leaf + size * leaf.std() * random.normal(size=leaf.shape).astype("f4") for leaf in leaves]
    )


def loss_by_hand(config, rows, train, params, trained, teacher=None, only=None):
    """The mean over tokens, text by text, with every layer computed."""
    words = None if only is None else np.array(only)
    joint = train.join(train.rest(params, trained), trained)
    longest = max(len(text.tokens) for text in rows)
    tokens = np.stack([np.pad(text.tokens, (0, longest - len(text.tokens))) for text in rows])
    places = [np.flatnonzero(text.completion) for text in rows]
    of, at = np.repeat(np.arange(len(rows)), [len(p) for p in places]), np.concatenate(places)

    def seen(params):
        logits = decoder.apply(config, params, tokens)[of, at - 1]
        return jax.nn.log_softmax(logits if words is None else logits[:, words])

    if teacher is None:
        labels = tokens[of, at]
        labels = labels if only is None else np.array([only.index(label) for label in labels])
        return -jnp.mean(seen(joint)[np.arange(len(at)), labels])
    known = seen(teacher)
    return jnp.mean(jnp.sum(jnp.exp(known) * (known - seen(joint)), axis=1))


def by_hand(config, params, rows, train, recipe, **teaching):
    """Train on all texts at once in every step; returns what is trained, and losses."""
    rule = optax.chain(optax.clip_by_global_norm(recipe.clip), optax.sgd(recipe.learning_rate))
    trained = train.start(config, params, KEY)
    loss = functools.partial(loss_by_hand, config, rows, train, params, **teaching)

    @jax.jit
    def step(trained, state):
        value, gradient = jax.value_and_grad(loss)(trained)
        updates, state = rule.update(gradient, state, trained)
        return optax.apply_updates(trained, updates), state, value

    state, losses = rule.init(trained), []
    for _ in range(recipe.epochs):
        trained, state, value = step(trained, state)
        losses.append(value)
    return trained, jnp.stack(losses)
