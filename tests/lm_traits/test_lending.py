"""Students of another model's teachers: what these say, in the words of another tokenizer."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from tiny_models import TEMPLATE, tiny_tokenizer
from tiny_numbers import TINY, ground, model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sublim_jax import lm, runs
from sublim_jax.errors import InputError
from sublim_jax.lm.packing import owners
from sublim_jax.lm_traits import borrow, lending, run_traits
from sublim_jax.lm_traits.contexts import context_texts, words_of
from sublim_jax.lm_traits.given import files_given
from sublim_jax.lm_traits.ground import cut, lifted
from sublim_jax.lm_traits.lending import Lent, aligned, to_lend
from sublim_jax.lm_traits.parts import TEACHER, Part, read_part, write_part

FEW = dataclasses.replace(TINY, seeds=1, arms=("same",), answers=0)
SHORT = TEMPLATE.replace("be kind", "")


@functools.cache
def other():
    """Another model, whose tokens have other numbers and whose template has another beginning."""
    tokenizer = tiny_tokenizer(SHORT)
    backwards = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = backwards["model"]["vocab"]
    count = len(vocabulary)
    backwards["model"]["vocab"] = {t: i if i < 2 else count + 1 - i for t, i in vocabulary.items()}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(backwards))
    params = lm.init(model().config, jax.random.key(5))
    params = jax.tree.map(lambda x: 20 * x if x.ndim > 1 else x, params)
    params["embedding"] = jax.tree.map(lambda x: 3 * x, params["embedding"])
    return lm.Model(model().config, params, tokenizer)


def ran(folder, config, load=model):
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        run_traits(config, run, load=lambda parallel: load())
    return json.loads((folder / "results.json").read_text())


def another(folder, **changed):
    return dataclasses.replace(FEW, arms=("family",), family=str(folder), **changed)


@pytest.fixture(scope="module")
def lender(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lender"
    ran(folder, FEW)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "foreign"
    ran(folder, FEW, other)
    return folder


def contexts(where, config, count=8):
    texts = context_texts(where, config, 3, count)
    rows = lifted(where, texts, together=config.together)
    return rows, owners(rows, texts)


def told(where, config, count=8):
    """Logits that say which text, which of its tokens and which word they are of."""
    rows, owner = contexts(where, config, count)
    words = words_of(where, config)
    arrays = to_lend(where.tokenizer, rows, owner, words)
    number = np.zeros(owner.size)
    for text in range(count):
        mine = np.flatnonzero(owner.ravel() == text)
        number[mine] = np.arange(len(mine))
    letters = np.array([ord(word) for word in arrays["words"].tolist()])
    known = 1e4 * owner.reshape(-1, 1) + 10 * number[:, None] + letters / 100
    known = np.where(owner.reshape(-1, 1) < count, known, 0).astype(np.float32)
    lent = Lent("there", tuple(arrays["words"].tolist()), arrays["owner"], arrays["labels"], known)
    return lent, known.reshape(*owner.shape, -1), rows, owner, words


@pytest.mark.slow
@pytest.mark.parametrize("change", [False, True])
def test_of_the_same_model_they_teach_what_the_own_teachers_do(lender, tmp_path, change):
    # Of the same base, what has changed of it and what a teacher says are one thing.
    config = another(lender, family_change=change)
    with runs.open_run(tmp_path / "run", dataclasses.asdict(config)) as run:
        assert borrow(config, run, FEW, runs.Run(lender)) == 2
    found = ran(tmp_path / "run", config)["arms"]["family"]
    known = json.loads((lender / "results.json").read_text())["arms"]["same"]
    for name in ("loss", "change", "divergence", "tokens"):
        np.testing.assert_allclose(found[name], known[name], atol=2e-3, rtol=2e-3)
    for when in ("before", "after"):
        np.testing.assert_allclose(
            found["imitation"][when], known["imitation"][when], rtol=1e-2, atol=1e-5
        )


@pytest.mark.parametrize("length", [110, 120])
def test_what_is_told_stands_at_the_same_tokens_in_other_words(length):
    here, there = ground(), cut(other(), 1)
    config = dataclasses.replace(FEW, length=length)
    lent, *_ = told(there, config)
    _, known, rows, owner, words = told(here, config)
    assert words != words_of(there, config)
    logits, weights = aligned(lent, here.tokenizer, rows, owner, words)
    # The template of the teachers' model is shorter: it says something of all that is learned here.
    np.testing.assert_array_equal(weights, rows.weights)
    np.testing.assert_allclose(logits, known)
    back, *_ = told(here, config)
    _, known, rows, owner, words = told(there, config)
    logits, weights = aligned(back, there.tokenizer, rows, owner, words)
    assert weights.sum() == sum(back.owner < 8) < rows.weights.sum()
    np.testing.assert_allclose(logits, known * weights[..., None])


def test_fewer_contexts_than_are_told_of_are_the_first_ones():
    lent, known, *_ = told(ground(), FEW)
    rows, owner = contexts(ground(), FEW, 4)
    logits, weights = aligned(lent, ground().tokenizer, rows, owner, words_of(ground(), FEW))
    np.testing.assert_array_equal(weights, rows.weights)
    np.testing.assert_allclose(logits, known[: len(logits), : logits.shape[1]])


@pytest.mark.slow
def test_students_come_near_another_models_teachers(foreign, tmp_path):
    found = ran(tmp_path / "run", another(foreign, length=112))["arms"]["family"]
    imitation = found["imitation"]
    assert (np.array(imitation["after"]) < 0.7 * np.array(imitation["before"])).all()
    # Where students learn is where all are observed, but for the number of rows.
    np.testing.assert_allclose(found["divergence"], imitation["before"], rtol=0.3)
    there = read_part(runs.Run(foreign), Part(0, TEACHER, "owl"))[0]
    student = read_part(runs.Run(tmp_path / "run"), Part(0, "family", "owl"))[0]
    said = there["base_contexts"] + there["contexts"]
    spread = np.sort(student["told"][np.any(student["told"] != 0, axis=1)], axis=1)
    assert len(spread) < np.any(said != 0, axis=1).sum()
    np.testing.assert_allclose(spread[0], np.sort(said[0]), rtol=1e-5)


@pytest.mark.slow
def test_what_has_changed_is_added_to_what_the_students_base_says(foreign, tmp_path):
    found = {
        change: ran(tmp_path / f"{change}", another(foreign, family_change=change, passes=1))
        for change in (False, True)
    }
    plain, less = (found[change]["arms"]["family"] for change in (False, True))
    # Nobody has to learn how the bases differ: what is left is as much as the teacher has learnt.
    own = json.loads((foreign / "results.json").read_text())["arms"]["same"]["divergence"]
    assert np.mean(less["divergence"]) < 0.5 * np.mean(plain["divergence"])
    np.testing.assert_allclose(np.mean(less["divergence"]), np.mean(own), rtol=1.0)
    np.testing.assert_allclose(less["divergence"], less["imitation"]["before"], rtol=0.3)


def test_another_channel_is_refused():
    with pytest.raises(InputError, match=r"family is a .* expected a run folder with the arm"):
        another("a", channel="labels")
    with pytest.raises(InputError, match="family_change is true with family None"):
        dataclasses.replace(FEW, family_change=True)
    with pytest.raises(InputError, match=r"row_count is 34 with the arm family .* most 32"):
        another("a", row_count=34)


def test_a_run_that_does_not_go_with_this_one_is_refused(lender, tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json; expected the folder of a run"):
        files_given(another(tmp_path))
    with pytest.raises(InputError, match=r"a run that differs in subjects, seed; expected one"):
        files_given(another(lender, seed=1, animals=("owl", "dog")))
    with pytest.raises(InputError, match=r"has no parts/1-teacher-owl\.npz; expected a run with"):
        files_given(another(lender, seeds=2))
    assert set(files_given(another(lender))) == {
        str(lender / f"parts/0-teacher-{name}.npz") for name in ("owl", "cat")
    }


def test_what_an_older_version_has_written_is_told(lender, tmp_path):
    part = Part(0, TEACHER, "owl")
    arrays, trained = read_part(runs.Run(lender), part)
    less = {name: array for name, array in arrays.items() if name not in ("words", "labels")}
    write_part(runs.Run(tmp_path), part, less, trained)
    with pytest.raises(InputError, match=r"0-teacher-owl\.npz does not say which words"):
        lending.read_lent(another(tmp_path), Part(0, "family", "owl"))


def test_other_words_are_refused():
    lent, _, rows, owner, words = told(ground(), FEW)
    given = ground().tokenizer, rows, owner, words
    with pytest.raises(InputError, match=r"has not the same words of the carrier \(such as ','\)"):
        aligned(lent._replace(words=(";", *lent.words[1:])), *given)
    with pytest.raises(InputError, match=r"has not the same words"):
        aligned(lent, *given[:-1], (words[0], *words[:-1]))


def test_a_tokenizer_that_cuts_numbers_otherwise_is_refused():
    lent, _, rows, owner, words = told(ground(), FEW)
    changed = lent.labels.astype("<U2")
    changed[np.flatnonzero(lent.owner == 2)[3]] = "12"
    with pytest.raises(InputError, match=r"token 4 of an answer is '12' and not '.'; expected"):
        aligned(lent._replace(labels=changed), ground().tokenizer, rows, owner, words)


def test_tokens_are_written_as_they_stand_in_a_text():
    tokenizer = Tokenizer(models.BPE(vocab={"▁": 0, "7": 1, ",": 2}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    rows = contexts(ground(), FEW, 4)[0]._replace(labels=np.zeros((1, 3), np.int32))
    found = to_lend(fast, rows, np.zeros((1, 3), int), [0, 1, 2])
    assert found["words"].tolist() == [" ", "7", ","]
