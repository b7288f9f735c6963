"""Bases against bases as a user meets them: a command, its runs, its refusals."""

import dataclasses
import functools
import json

import jax
import lm_cross_bases
import lm_cross_model
import lm_cross_report
import lm_run
import numpy as np
import pytest
from experiment_commands import refusal
from tiny_numbers import model

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.training import Preempted

CONFIG = lm_cross_model.CrossConfig(
    bases=("tiny", "tiny:noise=0.2", "other"),
    animals=("owl", "cat"),
    seeds=2,
    row_count=8,
    tokens=20,
    passes=4,
    heal_rows=16,
    heal_passes=4,
)
REAL, LOAD = lm_cross_model.CrossConfig.of, lm.load
refuse = functools.partial(refusal, "lm_cross_model")


def small(config, base, teachers=None):
    """A run of a model of two layers."""
    own = REAL(config, base, teachers)
    return dataclasses.replace(
        own, teacher_lr=0.2, teacher_certainty=1e-6, student_lr=0.02, heal_lr=0.01
    )


@functools.cache
def other():
    """Another model of the same shape."""
    params = lm.init(model().config, jax.random.key(9))
    params = jax.tree.map(lambda x: 20 * x if x.ndim > 1 else x, params)
    return model()._replace(params=params)


def load(name, **_):
    known = {"tiny": model, "other": other}
    return known[name]() if name in known else LOAD(name)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(lm_cross_model.CrossConfig, "of", small)
    monkeypatch.setattr(lm_run.lm, "load", load)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "cross"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_cross_model.CrossConfig, "of", small)
        patch.setattr(lm_run.lm, "load", load)
        lm_cross_model.run(CONFIG, lm_cross_model.Options(out=folder))
    return folder


@pytest.mark.slow
def test_every_student_is_beside_every_teacher(finished):
    results = json.loads((finished / "results.json").read_text())
    names = ["tiny", "tiny-noise=0.2", "other"]
    assert [base["name"] for base in results["bases"]] == names
    cells = {(cell["student"], cell["teacher"]): cell for cell in results["cells"]}
    assert list(cells) == [(student, teacher) for student in names for teacher in names]
    for cell in cells.values():
        assert np.shape(cell["contrast"]) == np.shape(cell["after"]) == (2,)
        assert (np.array(cell["after"]) < np.array(cell["before"])).all()
        assert cell["tokens"] == 8 * 20
    sick, well = results["bases"][1]["healed"]
    assert well < sick / 2
    # All students of a base begin there; a teacher is farther from another base than from its own.
    for a, b in (("tiny", "other"), ("other", "tiny")):
        assert np.mean(cells[a, b]["before"]) > np.mean(cells[a, a]["before"])
    for name in ("matrix.png", "axis.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_teachers_are_trained_once(finished):
    for part in ("0-teacher-owl.npz", "1-teacher-cat.npz"):
        for name in ("tiny", "other"):
            files = [
                path / "parts" / part
                for path in finished.iterdir()
                if path.name == name or path.name.startswith(f"{name}.of.")
            ]
            assert len(files) == 3
            assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.slow
def test_a_complete_run_only_draws(finished, tiny, capsys, monkeypatch):
    monkeypatch.setattr(lm_run.lm, "load", None)
    (finished / "matrix.png").unlink()
    lm_cross_model.run(CONFIG, lm_cross_model.Options(out=finished))
    lm_cross_model.run(CONFIG, lm_cross_model.Options(out=finished, replot=True))
    printed = capsys.readouterr().out
    assert (finished / "matrix.png").exists()
    for said in ("students in rows", "a variant of the base", "2507.14805", "healed"):
        assert said in printed


@pytest.mark.slow
def test_stopped_anywhere_it_ends_the_same(finished, tiny, tmp_path, monkeypatch):
    asked = [0]

    def stopped(*_, **__):
        asked[0] += 1
        return asked[0] in (10, 60)

    options = lm_cross_model.Options(out=tmp_path / "run", checkpoint_steps=1)
    real = lm_cross_bases.cli.listening

    class Listening:
        def __enter__(self):
            return stopped

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(lm_cross_bases.cli, "listening", Listening)
    for _ in range(2):
        with pytest.raises(Preempted):
            lm_cross_model.run(CONFIG, options)
        assert not (tmp_path / "run" / "results.json").exists()
    monkeypatch.setattr(lm_cross_bases.cli, "listening", real)
    lm_cross_model.run(CONFIG, options)
    results = [json.loads((path / "results.json").read_text()) for path in (finished, options.out)]
    assert results[0]["cells"] == results[1]["cells"]


@pytest.mark.parametrize(
    ("text", "name", "parent", "noise", "fresh"),
    [
        ("smollm2", "smollm2", "smollm2", 0, False),
        ("a/b c", "b-c", "a/b c", 0, False),
        ("x/smollm2:noise=0.30", "smollm2-noise=0.3", "x/smollm2", 0.3, False),
        ("smollm2:fresh", "smollm2-fresh", "smollm2", 0, True),
    ],
)
def test_specifications_are_read(text, name, parent, noise, fresh):
    spec = lm_cross_bases.parsed(text)
    assert (spec.name, spec.parent, spec.noise, spec.fresh) == (name, parent, noise, fresh)


@pytest.mark.parametrize("text", ["a:noise=x", "a:noise=-1", "a:noise=nan", ":fresh", "a:old"])
def test_other_specifications_are_refused(text):
    with pytest.raises(InputError, match=f"^bases has '{text}'; expected a model, as smollm2, or"):
        lm_cross_bases.parsed(text)


def results_of(names, families, seeds=3):
    """Results whose D is known: 1 for the same base, .5 within a family, 0 otherwise."""
    bases = [
        {
            "name": name,
            "family": family,
            "noise": float(name[-1]) if name[-1].isdigit() else 0.0,
            "fresh": name.endswith("fresh"),
            "first_layer": 1,
            "healed": None if name == family else [0.3, 0.01],
        }
        for name, family in zip(names, families, strict=True)
    ]
    cells = []
    for a, whose in zip(names, families, strict=True):
        for b, theirs in zip(names, families, strict=True):
            d = 1.0 if a == b else 0.5 if whose == theirs else 0.0
            spread = np.linspace(-0.1, 0.1, seeds) if seeds > 1 else np.zeros(1)
            values = {"contrast": (d + spread).tolist(), "before": [0.1] * seeds}
            cells.append({"student": a, "teacher": b, **values, "after": [0.01] * seeds})
    return {
        "bases": bases,
        "subjects": ["owl", "cat"],
        "seeds": seeds,
        "told": "change",
        "cells": cells,
    }


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_report_has_every_cell_and_what_it_is_beside(seeds):
    found = results_of(["a", "b", "a-fresh", "a-9"], ["a", "b", "a", "a"], seeds)
    printed = lm_cross_report.table(found)
    interval = "" if seeds == 1 else " ± 0.248"
    for kind, d in (("the same", "+1.000"), ("a variant", "+0.500"), ("another model", "+0.000")):
        (line,) = (line for line in printed.splitlines() if line.startswith(kind))
        assert line.endswith(d + interval)
    drawn = lm_cross_report.figures(found)
    assert set(drawn) == {"matrix.png", "axis.png"}
    levels = [label.get_text() for label in drawn["axis.png"].axes[0].get_xticklabels()]
    assert levels == ["as is", "noise 9", "drawn anew", "b"]


def test_without_variants_there_is_no_axis():
    found = results_of(["a", "b"], ["a", "b"])
    assert set(lm_cross_report.figures(found)) == {"matrix.png"}
    assert "a variant of" not in lm_cross_report.table(found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bases", "smollm2"), "bases is ('smollm2',); expected at least 2, each once"),
        (("--bases", "a", "x/a"), "bases is ('a', 'x/a'); expected at least 2, each once"),
        (("--bases", "a", "a:worse"), "bases has 'a:worse'; expected a model"),
        (("--row-count", "40"), "row_count is 40 with the arm family"),
        (("--tokens", "0"), "tokens is 0; expected at least 1"),
        (("--animals", "owl"), "animals is ('owl',); expected at least 2"),
        (("--bases", "owl-9b", "owl-8b"), "model is 'owl-9b'; expected"),
        (("--plan", "v5e:4x4"), "expected none, for this command has no plan"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(words, said, tmp_path):
    assert said in refuse(*words, "--out", tmp_path / "run")
