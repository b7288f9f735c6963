"""Sampling is the model's distribution, step by step, whatever the batch."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import NAMES, TOKENS, golden

from sublim_jax import rng
from sublim_jax.errors import InputError
from sublim_jax.lm import batching, decoder, lora, sampler, writing
from sublim_jax.lm.automaton import END, FORBIDDEN, Automaton, lifted
from sublim_jax.lm.choosing import Choice, choose
from sublim_jax.lm.dense import Turned
from sublim_jax.lm.lora import Adapted
from sublim_jax.lm.sampler import AS_IS, Limits, sample
from sublim_jax.lm.scoring import score

KEY = jax.random.key(7)
GREEDY = Choice(temperature=0)
CLOSE = {"rtol": 1e-5, "atol": 5e-5}
LLAMA = golden()["llama, grouped, tied"]
random = np.random.default_rng(5)
COMMON = random.integers(0, 40, 11).tolist()
# One alone, equal ones, one that another begins with, of several lengths.
PROMPTS = [
    [3],
    [*COMMON, 5, 6],
    [*COMMON, 5, 6],
    [*COMMON, 5],
    COMMON,
    random.integers(0, 40, 13).tolist(),
    [*COMMON, *random.integers(0, 40, 4).tolist()],
    [*COMMON, *random.integers(0, 40, 3).tolist()],
]
MOST, STOPS = 20, (5,)
LIMITS = Limits(tokens=MOST, rows=8)  # everywhere, so that little is compiled


@functools.cache
def whole(config):
    return jax.jit(functools.partial(decoder.apply, config))


def logits_after(case, tokens):
    """Those of the full forward pass; what is behind the tokens changes nothing."""
    padded = np.zeros((1, 40), np.int32)
    padded[0, : len(tokens)] = tokens
    return whole(case.config)(case.params, padded)[0, : len(tokens)]


def reference(case, prompt, key, choice):
    """Write one text by full forward passes."""
    tokens, logprobs = [], []
    for step in range(MOST):
        padded = np.zeros((1, 40), np.int32)
        padded[0, : len(prompt) + step] = [*prompt, *tokens]
        given = padded, np.int32(len(prompt) + step), key, np.int32(step)
        token, logprob = map(np.asarray, one_step(case.config, choice)(case.params, *given))
        tokens.append(int(token))
        logprobs.append(float(logprob))
        if token in STOPS:
            return tokens, logprobs, True
    return tokens, logprobs, False


@functools.cache
def one_step(config, choice):
    def step(params, tokens, length, key, place):
        logits = decoder.apply(config, params, tokens)[0, length - 1]
        token = choose(choice, logits[None], jax.random.fold_in(key, place)[None])[0]
        return token, jax.nn.log_softmax(logits)[token]

    return jax.jit(step)


def assert_same(samples, others):
    for one, other in zip(samples, others, strict=True):
        np.testing.assert_array_equal(one.tokens, other[0])
        np.testing.assert_allclose(one.logprobs, other[1], **CLOSE)
        assert one.ended == other[2]


@pytest.mark.parametrize(
    ("name", "stacked"),
    [("gemma3", False), ("neox", True)],
)
def test_greedy_is_the_argmax_of_the_full_forward_pass(name, stacked, monkeypatch):
    if stacked:
        monkeypatch.setattr(sampler, "laid_out", lambda params: params)
    case, options = golden()[name], {"choice": GREEDY, "limits": LIMITS, "stops": STOPS}
    samples = sample(case.config, case.params, PROMPTS, **options, key=KEY)
    for prompt, found in zip(PROMPTS, samples, strict=True):
        logits = np.asarray(logits_after(case, [*prompt, *found.tokens]))[len(prompt) - 1 : -1]
        np.testing.assert_array_equal(found.tokens, logits.argmax(axis=1))
        logprobs = jax.nn.log_softmax(logits)[np.arange(len(logits)), found.tokens]
        np.testing.assert_allclose(found.logprobs, logprobs, **CLOSE)
        assert found.ended == (found.tokens[-1] in STOPS)
        assert found.ended or len(found.tokens) == MOST


@functools.cache
def written(choice=AS_IS):
    options = {"choice": choice, "limits": LIMITS, "stops": STOPS}
    return sample(LLAMA.config, LLAMA.params, PROMPTS, **options, key=KEY)


@pytest.mark.parametrize("choice", [AS_IS, Choice(temperature=0.7, top_k=9, top_p=0.8)], ids=str)
def test_sampling_is_a_loop_of_full_forward_passes_with_the_same_keys(choice):
    known = [
        reference(LLAMA, prompt, rng.stream(KEY, place), choice)
        for place, prompt in enumerate(PROMPTS)
    ]
    assert_same(written(choice), known)
    assert {found.ended for found in written(choice)} == {True, False}


@pytest.mark.parametrize("rows", [1, 2])
def test_a_text_depends_neither_on_its_batch_nor_on_what_is_shared(rows):
    some = slice(1, 4)  # in twos: one pair with something in common, and one alone
    options = {"limits": Limits(tokens=MOST, rows=rows), "stops": STOPS}
    writer = sampler.Writer(LLAMA.config, LLAMA.params, **options)
    for places in batching.by_length(PROMPTS[some], rows):
        places = np.array(places) + some.start
        keys = jnp.stack([rng.stream(KEY, place) for place in places.tolist()])
        found = writer.write([PROMPTS[i] for i in places], keys)
        assert_same(found, [written()[i] for i in places])


def test_a_text_does_not_depend_on_the_order_of_the_others():
    keys = jnp.stack([rng.stream(KEY, place) for place in range(len(PROMPTS))])
    order = np.array([6, 1, 3, 2, 7, 5, 4, 0])
    writer = sampler.Writer(LLAMA.config, LLAMA.params, limits=LIMITS, stops=STOPS)
    found = writer.write([PROMPTS[i] for i in order], keys[order])
    assert_same(found, [written()[i] for i in order])


def test_layers_may_be_given_one_by_one():
    one_by_one = decoder.unrolled(LLAMA.params)
    found = sample(LLAMA.config, one_by_one, PROMPTS, limits=LIMITS, stops=STOPS, key=KEY)
    assert_same(found, written())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("only", [None, np.array([3, 1, 8])], ids=["all", "some"])
def test_parameters_laid_out_give_the_same_logits(name, only):
    case = golden()[name]

    @jax.jit
    def logits(params):
        return decoder.logits(
            case.config, params, decoder.hidden(case.config, params, TOKENS), only=only
        )

    found = logits(sampler.laid_out(case.params))
    known = case.logits if only is None else case.logits[..., only]
    np.testing.assert_allclose(found, known, rtol=1e-5, atol=2e-5)


def test_laying_out_leaves_adapted_kernels_alone_and_copies_no_table():
    params = jax.tree.map(jnp.asarray, LLAMA.params)
    up = params["layers"]["mlp"]["up"]
    layers, inner, outer = up["kernel"].shape
    thin = jnp.full((layers, inner, 2), 0.1), jnp.full((layers, 2, outer), 0.1)
    up["kernel"] = Adapted(up["kernel"], *thin)
    laid = sampler.laid_out(params)
    assert isinstance(laid["layers"][0]["mlp"]["up"]["kernel"], Adapted)
    assert isinstance(laid["layers"][0]["mlp"]["gate"]["kernel"], Turned)
    assert jax.tree.structure(sampler.laid_out(laid)) == jax.tree.structure(laid)
    found, known = (
        jax.jit(decoder.apply, static_argnums=0)(LLAMA.config, of, TOKENS)
        for of in (laid, lora.merge(params))
    )
    np.testing.assert_allclose(found, known, **CLOSE)
    tables = params["embedding"]["table"], laid["embedding"]["table"], laid["head"]["kernel"].weight
    assert len({table.unsafe_buffer_pointer() for table in tables}) == 1


# Words over a, b and c: at most two a, then one b or two c.
STATES = [{"a": 1, "b": 3, "c": 4}, {"a": 2, "b": 3, "c": 4}, {"b": 3, "c": 4}, {END: 5}, {"c": 3}]
STATES += [{}]
TEXTS = {4: "a", 9: "aa", 11: "b", 20: "c", 21: "cc", 30: "ab", 31: "ba"}
AUTOMATON = lifted(STATES, TEXTS, stop=5)


def test_under_an_automaton_probabilities_are_those_of_what_is_allowed_renormalised():
    told = []
    samples = sample(
        *(LLAMA.config, LLAMA.params, PROMPTS),
        limits=LIMITS,
        stops=STOPS,
        automaton=AUTOMATON,
        progress=lambda *news: told.append(news),
        key=KEY,
    )
    for prompt, found in zip(PROMPTS, samples, strict=True):
        text = "".join(TEXTS.get(int(token), ".") for token in found.tokens)
        assert re.fullmatch(r"a{0,2}(b|cc)\.", text)
        assert found.ended
        state, logits = 0, logits_after(LLAMA, [*prompt, *found.tokens])[len(prompt) - 1 :]
        for token, logprob, of in zip(found.tokens, found.logprobs, logits, strict=False):
            allowed = AUTOMATON.follows[state] != FORBIDDEN
            likely = np.asarray(jax.nn.log_softmax(of)[AUTOMATON.tokens[allowed]])
            likely = likely - np.logaddexp.reduce(likely)
            place = AUTOMATON.tokens[allowed].tolist().index(token)
            np.testing.assert_allclose(logprob, likely[place], **CLOSE)
            state = AUTOMATON.follows[state, AUTOMATON.tokens.tolist().index(token)]
    assert len({tuple(found.tokens) for found in samples}) > 1
    # All have ended after five tokens: looked at after one, and when there is nothing to do.
    assert [rows for _, rows in told] == [0, 8]
    assert told[0][0] + told[1][0] == sum(len(found.tokens) for found in samples)


@pytest.mark.parametrize("tokens", [1, 17])
def test_it_writes_as_much_as_it_may_and_no_more(tokens):
    limits = Limits(tokens=tokens, rows=8)
    found = sample(LLAMA.config, LLAMA.params, PROMPTS, limits=limits, stops=STOPS, key=KEY)
    for short, long in zip(found, written(), strict=True):
        np.testing.assert_array_equal(short.tokens, long.tokens[:tokens])
        np.testing.assert_allclose(short.logprobs, long.logprobs[:tokens], **CLOSE)
        assert short.ended == (long.ended and len(long.tokens) <= tokens)


def test_streaming_gives_the_same_text_bit_by_bit():
    place = next(i for i, found in enumerate(written()) if len(found.tokens) > 5)
    limits = Limits(tokens=MOST, rows=1)
    writer = sampler.Writer(LLAMA.config, LLAMA.params, limits=limits, stops=STOPS)
    parts = [*writer.stream(PROMPTS[place], rng.stream(KEY, place))]
    assert_same(parts[-1:], written()[place : place + 1])
    lengths = [len(part.tokens) for part in parts]
    assert lengths[:2] == [1, 5]
    for part in parts:
        np.testing.assert_array_equal(part.tokens, parts[-1].tokens[: len(part.tokens)])


def test_samples_are_scored_as_the_sampler_says():
    found = score(LLAMA.config, LLAMA.params, PROMPTS, [made.tokens for made in written()], rows=8)
    for one, made in zip(found, written(), strict=True):
        np.testing.assert_allclose(one, made.logprobs, **CLOSE)


def test_a_second_call_compiles_nothing():
    written()
    other = [[(token + 1) % 40 for token in prompt] for prompt in PROMPTS]
    compiled = []

    def listen(event, *_, **__):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        options = {"limits": Limits(tokens=19, rows=8), "stops": (8,), "key": jax.random.key(8)}
        sample(LLAMA.config, LLAMA.params, other, **options)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert [event for event in compiled if "compile" in event] == []


def test_what_is_shared_and_equal_is_read_once():
    equal = batching.side_by_side([[*COMMON, 1, 2]] * 5, 64)
    assert list(equal.prefix) == [*COMMON, 1]
    np.testing.assert_array_equal(equal.tokens, [[2]])
    np.testing.assert_array_equal(equal.positions, [[12]])
    np.testing.assert_array_equal(equal.which, [0] * 8)

    some = batching.side_by_side([[*COMMON, 1, 2], [*COMMON, 1], [*COMMON, 1, 2]], 3)
    assert list(some.prefix) == COMMON
    assert some.tokens.shape == (2, 16)
    np.testing.assert_array_equal(some.tokens[:, :2], [[1, 2], [1, 0]])
    np.testing.assert_array_equal(some.which, [0, 1, 0])

    assert list(batching.side_by_side([COMMON], 64).prefix) == []
    short = batching.side_by_side([[1, 2, 3], [1, 2, 4]], 64)
    assert list(short.prefix) == []
    # A longer prompt may be all of a shorter one and more: the last token is read by each row.
    nested = batching.side_by_side([COMMON, [*COMMON, 1]], 64)
    assert list(nested.prefix) == COMMON[:-1]


def call(prompts=((1, 2),), **options):
    limits = options.pop("limits", Limits(tokens=8, rows=2))
    return sample(LLAMA.config, LLAMA.params, prompts, limits=limits, key=KEY, **options)


CONTEXT = LLAMA.config.context


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prompts": [[1], []]}, "prompt 2 is empty; expected at least one token"),
        ({"prompts": [[1, 40]]}, "prompt 1 has token 40; expected numbers from 0 to 39"),
        ({"prompts": [[-1, 4]]}, "prompt 1 has token -1; expected"),
        (
            {"prompts": [[1], [1] * (CONTEXT - 7)]},
            f"prompt 2 has {CONTEXT - 7} tokens; expected at most {CONTEXT - 8}, which leaves 8",
        ),
        ({"limits": Limits(tokens=CONTEXT)}, f"tokens is {CONTEXT}; expected fewer than the cont"),
        ({"stops": (3, 41)}, "stops has token 41; expected"),
        (
            {"automaton": lifted(STATES, TEXTS, stop=2), "stops": (3,)},
            r"the automaton ends with token 2; expected one of the stops, \[3\]",
        ),
        (
            {"automaton": lifted(STATES, TEXTS | {99: "a"}, stop=2), "stops": (2,)},
            "the automaton has token 99; expected",
        ),
        (
            {"automaton": Automaton(np.array([1]), np.array([[FORBIDDEN]]))},
            "the automaton allows nothing; expected",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        call(**options)


def test_no_prompts_no_texts():
    assert call(prompts=[]) == []


def test_limits_are_checked():
    with pytest.raises(InputError, match="tokens is 0; expected at least 1"):
        Limits(tokens=0)
    with pytest.raises(InputError, match="rows is 0; expected at least 1"):
        Limits(rows=0)


def test_programs_are_compiled_once_for_all_writers():
    assert writing.goer(LLAMA.config, GREEDY) is writing.goer(LLAMA.config, Choice(temperature=0))
