"""What holds of every decoder, whatever its weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import NAMES, TOKENS, golden

from sublim_jax import trees
from sublim_jax.lm import decoder
from sublim_jax.lm.attention import NOWHERE

few = pytest.mark.parametrize("name", ["llama, grouped, tied", "gemma3", "neox"])
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


def of(name):
    case = golden()[name]
    return case.config, case.params, case.logits


@functools.cache
def compiled(name):
    return jax.jit(functools.partial(decoder.apply, of(name)[0]))


@few
def test_no_token_depends_on_a_later_one(name):
    config, params, _ = of(name)
    table = params["embedding"]["table"]

    def logits(embedded):
        # Each place has a token of its own, so that its embedding can move alone.
        own = params | {"embedding": {"table": jnp.concatenate([table, embedded])}}
        alone = config.vocabulary + jnp.arange(24)[None]
        return decoder.apply(config, own, alone)[0, :, : config.vocabulary]

    jacobian = jax.jit(jax.jacrev(lambda e: jnp.sum(logits(e) ** 2, axis=-1)))(table[TOKENS[0]])
    influence = np.abs(np.asarray(jacobian)).sum(axis=-1)
    assert (influence[np.triu_indices(24, 1)] == 0).all()
    assert (np.diag(influence) > 0).all()
    sees = config.window is None or bool(config.global_layers)
    assert (influence[-1, 0] > 0) == sees


@few
@pytest.mark.parametrize("layout", [lambda params: params, decoder.unrolled])
def test_streams_are_those_of_as_many_layers(name, layout):
    config, params, _ = of(name)
    found = decoder.streams(config, layout(params), TOKENS)
    assert len(found) == config.layers
    for layers, after in enumerate(found, 1):
        lower = decoder.lower(config, params, layers)
        np.testing.assert_allclose(after, decoder.stream(*lower, TOKENS), **CLOSE)


@few
def test_rows_do_not_know_of_each_other(name):
    _, params, known = of(name)
    apply = compiled(name)
    np.testing.assert_allclose(apply(params, TOKENS[::-1])[::-1], known, **CLOSE)
    np.testing.assert_allclose(apply(params, TOKENS[:1]), known[:1], **CLOSE)


@few
def test_padding_before_and_after_changes_nothing(name):
    _, params, known = of(name)
    for before in (0, 3):
        tokens = np.zeros((2, 30), int)
        positions = np.full((2, 30), NOWHERE)
        place = slice(before, before + 24)
        tokens[:, place], positions[:, place] = TOKENS, np.arange(24)
        found = compiled(name)(params, tokens, positions=positions)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[:, place], known, **CLOSE)


@few
def test_texts_in_one_row_do_not_see_each_other(name):
    _, params, known = of(name)
    packed = TOKENS.reshape(1, -1)
    positions, segments = np.tile(np.arange(24), 2)[None], np.repeat([0, 1], 24)[None]
    found = compiled(name)(params, packed, positions=positions, segments=segments)
    np.testing.assert_allclose(found.reshape(known.shape), known, **CLOSE)


@few
def test_a_tuple_of_layers_is_a_stack_of_them(name):
    _, params, known = of(name)
    found = compiled(name)(decoder.unrolled(params), TOKENS)
    np.testing.assert_allclose(found, known, **CLOSE)


@few
def test_rematerialising_changes_no_gradient(name):
    config, params, _ = of(name)

    def gradient(remat):
        def loss(params):
            return jnp.mean(decoder.apply(config, params, TOKENS, remat=remat) ** 2)

        return jax.jit(jax.grad(loss))(params)

    plain, again = gradient(False), gradient(True)
    assert trees.norm(plain) > 0
    assert trees.norm(trees.sub(plain, again)) < 1e-5 * trees.norm(plain)


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_names_of_their_own(name):
    config, params, _ = of(name)
    named = decoder.by_layer(params)
    assert {key for key in named if key.startswith("layer_")} == {
        f"layer_{i}" for i in range(config.layers)
    }
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (named, params)]
    assert sizes[0] == sizes[1]
    np.testing.assert_allclose(trees.dot(named, named), trees.dot(params, params), rtol=1e-6)


def test_a_network_that_is_drawn_has_the_shapes_of_one_that_is_read():
    for name in NAMES:
        config, params, _ = of(name)
        drawn = jax.eval_shape(lambda key, c=config: decoder.init(c, key), jax.random.key(0))
        assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)


def test_a_network_that_is_drawn_knows_nothing_yet():
    config = golden()["llama"].config
    params = decoder.init(config, jax.random.key(0))
    found = jax.nn.log_softmax(decoder.apply(config, params, TOKENS))
    np.testing.assert_allclose(found, -np.log(40), atol=0.5)
    other = decoder.init(config, jax.random.key(1))
    assert trees.cosine(params["layers"]["mlp"], other["layers"]["mlp"]) < 0.1
    first, second = (trees.take(params["layers"]["mlp"], i) for i in (0, 1))
    assert trees.cosine(first, second) < 0.1
