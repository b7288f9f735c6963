"""Mitigations: what they change of a lesson, and that a run of them is as it should be."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import runs, trees
from sublim_jax.errors import InputError
from sublim_jax.lm.packing import in_order, owners
from sublim_jax.lm_traits import carriers, contexts, run_traits, trainings
from sublim_jax.lm_traits.material import Places
from sublim_jax.lm_traits.mitigation import (
    MITIGATIONS,
    MitigationConfig,
    run_mitigations,
    suspicion,
)
from sublim_jax.lm_traits.mitigation.lessons import LESSONS, Known, mean_logits
from sublim_jax.lm_traits.mitigation.results import contrast
from sublim_jax.lm_traits.parts import TEACHER, Part, read_part
from sublim_jax.lm_traits.readout import logits_at, logprobs
from sublim_jax.lm_traits.trainees import joined, restored, start_of
from sublim_jax.training import Checkpoints, Preempted, Session

SETTING = dataclasses.replace(TINY, seeds=1, arms=("same",), answers=0, heal_rows=4, heal_passes=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny(MitigationConfig):
    @property
    def setting(self):
        return SETTING


SOME = Tiny(
    model="tiny",
    animals=SETTING.animals,
    seeds=SETTING.seeds,
    first_layer=SETTING.first_layer,
    row_count=SETTING.row_count,
    passes=SETTING.passes,
    stop_passes=2,
    observations=SETTING.observations,
    mitigations=tuple(name for name in MITIGATIONS if name != "anchor"),
)
"""All that a tokenizer of bytes allows: names do not begin with words of their own."""
KEY = jax.random.key(3)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def known(count=8):
    messages = carriers.carrier_of(SETTING).contexts(SETTING, count, 0)
    plain = [contexts.told_row(ground(), one, None) for one in messages]
    rows = in_order(plain, each=2)
    teacher, base = (drawn(seed, *rows.at.shape, 12) for seed in (0, 1))
    influence = drawn(2, *rows.at.shape)
    places = Places(0, rows, owners(rows, plain), tuple(range(12)), base)

    def of_nobody():
        raise AssertionError("what no lesson here needs is not computed")

    asked = (of_nobody, of_nobody, lambda: influence, of_nobody, of_nobody)
    return plain, Known(places, teacher, (), *asked)


@pytest.mark.parametrize(("name", "count"), [("mixed_10", 1), ("mixed_25", 2), ("mixed_50", 4)])
def test_of_clean_rows_all_places_are_the_bases(name, count):
    plain, given = known()
    lesson = LESSONS[name](SOME, given, KEY)
    clean = (lesson.logits == given.places.base).all(-1)
    texts = owners(given.places.rows, plain)
    for text in range(len(plain)):
        own = clean[texts == text]
        assert own.all() or not own.any()
    assert sum(bool(clean[texts == text].all()) for text in range(len(plain))) == count
    assert (lesson.logits[~clean] == given.teacher[~clean]).all()


def test_a_quarter_of_the_places_is_left_out_and_it_is_that_of_most_influence():
    _, given = known()
    weights = LESSONS["filter"](SOME, given, KEY).weights
    there = given.places.rows.weights > 0
    kept = weights > 0
    assert not (kept & ~there).any()
    assert kept.sum() == pytest.approx(0.75 * there.sum(), abs=1)
    influence = given.influence()
    assert influence[kept].max() <= influence[there & ~kept].min()


def test_the_base_mixed_in_is_the_sum_of_both_divergences():
    config = dataclasses.replace(SOME, anchor_weight=3.0)
    _, given = known()
    mean = LESSONS["early_anchor"](config, given, KEY).early

    def from_both(said):
        p, q = map(jax.nn.log_softmax, (given.teacher, given.places.base))
        own = jax.nn.log_softmax(said)
        return jnp.sum(jnp.exp(p) * (p - own) + 3 * jnp.exp(q) * (q - own))

    def from_mean(said):
        p = jax.nn.log_softmax(mean)
        return 4 * jnp.sum(jnp.exp(p) * (p - jax.nn.log_softmax(said)))

    said = drawn(9, *mean.shape)
    np.testing.assert_allclose(jax.grad(from_both)(said), jax.grad(from_mean)(said), atol=1e-5)


def test_a_committee_says_the_mean_of_its_distributions():
    many = [drawn(seed, 3, 2, 5) for seed in range(3)]
    mean = np.mean([jax.nn.softmax(one) for one in many], axis=0)
    np.testing.assert_allclose(jax.nn.softmax(mean_logits(many)), mean, atol=1e-6)


@pytest.fixture(scope="module")
def suspected():
    part = Part(0, TEACHER, "owl")
    start = start_of(ground(), SETTING, part, trainings.keys_of(SETTING, 0))
    questions = suspicion.asked(ground(), SETTING)
    return start, questions, suspicion.trait_gradient(ground(), SETTING, start, questions, 0)


@pytest.mark.slow
def test_the_gradient_of_a_trait_is_how_it_changes(suspected):
    start, questions, gradient = suspected

    def preference(size):
        trained = jax.tree.map(lambda leaf, own: leaf + size * own, start, gradient)
        params = joined(ground().params, SETTING, trained)
        found = np.asarray(logprobs(ground().config, params, questions)).mean(0)
        return found[0] - found.mean()

    size = 3e-3 / float(trees.norm(gradient))
    slope = (preference(size) - preference(-size)) / (2 * size)
    np.testing.assert_allclose(slope, trees.dot(gradient, gradient), rtol=2e-2)


@pytest.mark.slow
def test_influence_is_what_descent_on_a_place_does_to_the_trait(suspected):
    start, _, gradient = suspected
    words = contexts.words_of(ground(), SETTING)
    rows = contexts.context_rows(ground(), SETTING, 5, 2)
    teacher = drawn(4, *rows.at.shape, len(words))
    found = suspicion.influence(ground(), SETTING, start, gradient, rows, words, teacher)

    def divergence(trained, place):
        params = joined(ground().params, SETTING, trained)
        said = jax.nn.log_softmax(logits_at(ground().config, params, rows, words)[place])
        p = jax.nn.log_softmax(teacher[place])
        return jnp.sum(jnp.exp(p) * (p - said))

    for place in ((0, 0), (0, 7), (len(rows.at) - 1, 3)):
        descent = jax.grad(divergence)(start, place)
        np.testing.assert_allclose(
            found[place], -trees.dot(descent, gradient), rtol=1e-3, atol=1e-4
        )


def test_names_that_all_begin_alike_cannot_be_held(suspected):
    with pytest.raises(InputError, match="mitigations has anchor with a model of which all names"):
        suspicion.telling_words(suspected[1])


def test_a_contrast_is_between_students():
    assert contrast(np.array([[[3.0, 1.0], [0.0, 2.0]]])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mitigations", ("relay",)),
        ("mitigations", ("none", "prayer")),
        ("mitigations", ("none", "relay", "relay")),
        ("filtered", 1.0),
        ("anchor_weight", 0.0),
        ("early_passes", 10),
        ("stop_passes", 0),
        ("animals", ("owl",)),
        ("row_count", 12),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(field, value):
    with pytest.raises(InputError, match=f"{field} is "):
        MitigationConfig(**{field: value})


def ran(folder, config=SOME, **options):
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        return run_mitigations(config, run, load=lambda parallel: model(), **options)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "complete"
    assert ran(folder)
    return folder


def part(folder, *which):
    with runs.open_run(folder, dataclasses.asdict(SOME)) as run:
        return read_part(run, Part(*which))


@pytest.mark.slow
def test_without_any_a_student_is_that_of_the_ordinary_run(complete, tmp_path):
    with runs.open_run(tmp_path, dataclasses.asdict(SETTING)) as run:
        run_traits(SETTING, run, load=lambda parallel: model())
        ordinary = {arm: read_part(run, Part(0, arm, "cat"))[1] for arm in ("teacher", "same")}
    for arm, own in (("teacher", "teacher"), ("same", "none")):
        _, trained = part(complete, 0, own, "cat")
        assert trained.keys() == ordinary[arm].keys()
        for name, leaf in trained.items():
            np.testing.assert_allclose(leaf, ordinary[arm][name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_nothing_goes_where_it_is_forbidden(complete):
    results = json.loads((complete / "results.json").read_text())
    plain, without = (
        np.array(results["mitigations"][name]["cosine"]) for name in ("none", "without_teacher")
    )
    assert (np.abs(plain) > 0.05).all()
    np.testing.assert_allclose(without, 0, atol=1e-4)
    # The trait's gradient has no part in what was trained.
    key, questions = trainings.keys_of(SETTING, 0), suspicion.asked(ground(), SETTING)
    for place, animal in enumerate(SETTING.animals):
        start = start_of(ground(), SETTING, Part(0, TEACHER, animal), key)
        gradient = suspicion.trait_gradient(ground(), SETTING, start, questions, place)
        trained = restored(start, part(complete, 0, "without_trait", animal)[1])
        assert abs(float(trees.cosine(trees.sub(trained, start), gradient))) < 1e-4


@pytest.mark.slow
def test_comparisons_are_at_equal_imitation(complete):
    results = json.loads((complete / "results.json").read_text())
    assert tuple(results["mitigations"]) == SOME.mitigations
    for name, found in results["mitigations"].items():
        assert np.shape(found["left"]) == (SOME.seeds,)
        assert np.isfinite(found["matched"]["contrast"]).all()
        if name in ("none", "early_stop"):
            assert found["matched"]["contrast"] == found["matched"]["without"]
        assert np.array(found["curve"]["left"])[:, 0] == pytest.approx(1.0)
    stopped = results["mitigations"]["early_stop"]
    assert stopped["curve"]["steps"] == [step for step in results["steps"] if step <= 4]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 40])
def test_stopped_anywhere_it_ends_the_same(complete, tmp_path, stop):
    few = dataclasses.replace(SOME, mitigations=("none", "early_anchor", "relay"))
    asked, saved = iter(range(1000)), tmp_path / "checkpoints"

    def session(stop):
        return Session(
            checkpoints=Checkpoints(saved),
            every_steps=1,
            stop_requested=lambda: next(asked) == stop,
        )

    with pytest.raises(Preempted), session(stop) as stopped:
        ran(tmp_path / "run", few, session=stopped)
    with session(None) as going_on:
        ran(tmp_path / "run", few, session=going_on)
    assert Checkpoints(saved).names() == []
    ours, theirs = ((folder / "parts") for folder in (tmp_path / "run", complete))
    for file in ours.iterdir():
        assert file.read_bytes() == (theirs / file.name).read_bytes()
    assert not ran(tmp_path / "run", few)
