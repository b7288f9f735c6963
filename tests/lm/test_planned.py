"""Described steps are those that are run: arguments of the same shapes, types and places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import CONFIG

from sublim_jax import lm, rng
from sublim_jax.lm import planned, precomputed, sampler
from sublim_jax.lm.finetuning import PLAIN
from sublim_jax.lm.packing import in_order
from sublim_jax.plan import plan
from sublim_jax.training import Recipe, fit

KEY = jax.random.key(0)
WRITTEN = planned.Written(rows=4, prompts=4, shared=9, own=7, tokens=20, stops=1)
RECIPE = Recipe(epochs=1, batch_size=4)
MESHES = [{}, {"fsdp": 2, "tensor": 2}]


def shapes(tree):
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf).name), tree)


def places(tree):
    """Shapes of what a device holds of all global arrays."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if getattr(leaf, "sharding", None) is not None]
    return [leaf.sharding.shard_shape(leaf.shape) for leaf in leaves]


def sampled(monkeypatch, parallel, automaton=None):
    """What the sampler calls its programs with."""
    seen = {}

    def spy(name):
        def made(*given):
            program = original[name](*given)

            def call(*arguments):
                seen.setdefault(name, arguments)
                return program(*arguments)

            return call

        return made

    original = {name: getattr(sampler, name) for name in ("beginner", "goer")}
    for name in original:
        monkeypatch.setattr(sampler, name, spy(name))
    params = parallel.place(lm.init(CONFIG, KEY), "frozen")
    prompts = [[*range(2, 11), *range(20 + i, 27 + i)] for i in range(4)]
    lm.sample(
        CONFIG,
        params,
        prompts,
        limits=lm.Limits(tokens=20, rows=4),
        stops=[1],
        automaton=automaton,
        parallel=parallel,
        key=KEY,
    )
    return seen


@pytest.mark.parametrize("mesh", MESHES)
def test_the_sampler_is_described_as_it_is_called(mesh, monkeypatch):
    parallel = lm.decoder_mesh(**mesh)
    called = sampled(monkeypatch, parallel)
    reading, writing = planned.planned_sampling(CONFIG, parallel, WRITTEN, dtype=jnp.float32)
    assert shapes(reading.arguments) == shapes(called["beginner"])
    assert shapes(writing.arguments) == shapes(called["goer"])
    for mine, theirs in ((reading, "beginner"), (writing, "goer")):
        assert places(mine.arguments[2:]) == places(called[theirs][2:])


def test_an_automaton_is_described_by_its_size(monkeypatch):
    follows = np.zeros((5, 3), np.int32)
    automaton = lm.Automaton(np.array([1, 4, 6], np.int32), follows)
    parallel = lm.decoder_mesh()
    called = sampled(monkeypatch, parallel, automaton)
    reading, _ = planned.planned_sampling(
        CONFIG, parallel, WRITTEN._replace(automaton=(3, 5)), dtype=jnp.float32
    )
    assert shapes(reading.arguments) == shapes(called["beginner"])


@pytest.mark.parametrize("mesh", MESHES)
def test_reading_and_writing_are_counted(mesh):
    matrices = 16 * 16 * 2 + 2 * 16 * 8 + 3 * 16 * 16  # query, output, key, value, gate, up, down
    head = CONFIG.width * CONFIG.vocabulary

    def of(which):
        def make(devices):
            parallel = lm.decoder_mesh(devices, **mesh)
            return planned.planned_sampling(CONFIG, parallel, WRITTEN, dtype=jnp.float32)[which]

        return plan("cpu:4", make)

    reading, writing = of(0), of(1)
    rows = WRITTEN.rows / 4
    attention = 2 * 16  # of a query and a slot: with its key, and with its value
    own = shared = 16  # places of 7 tokens of a prompt, and of 9
    assert reading.flops == 2 * rows * (own * (matrices + attention * (shared + own)) + head)
    slots = shared + own + 32  # for 20 tokens that are written
    assert writing.flops == 2 * rows * (matrices + attention * slots + head)
    assert writing.traffic_bytes > 4 * (matrices + head) / np.prod([*mesh.values(), 1])
    assert bool(sum(reading.collective_bytes.values())) == bool(mesh)
    assert not [note for note in writing.notes if "once for many" in note]


def texts(count):
    row = np.arange(2, 14, dtype=np.int32)
    return [lm.Row(row + i, np.arange(12) >= 6) for i in range(count)]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_a_training_is_described_as_it_is_called(streams, soft, monkeypatch):
    parallel, seen = lm.decoder_mesh(fsdp=2), {}
    original = fit.FitFunction.__call__

    def spy(self, params, rows, **options):
        seen["call"] = shapes((params, rows, options["frozen"]))
        return original(self, params, rows, **options)

    monkeypatch.setattr(fit.FitFunction, "__call__", spy)
    packed = in_order(texts(8), each=2)
    params = parallel.place(lm.init(CONFIG, KEY), "frozen")
    if streams:
        packed = packed._replace(tokens=precomputed.streams(CONFIG, params, packed, parallel))
    words = tuple(range(30))
    kind = lm.LoRA(rank=2)
    lm.finetune(
        CONFIG,
        params,
        packed,
        train=kind,
        recipe=RECIPE,
        teacher=lm.Teacher(params) if soft else None,
        only=words,
        parallel=parallel,
        key=rng.stream(KEY, "order"),
    )
    rows, length = packed.positions.shape
    step = planned.planned_step(
        CONFIG,
        parallel,
        train=kind,
        recipe=RECIPE,
        computing=PLAIN,
        length=length,
        rows=rows,
        learned=planned.Learned(packed.at.shape[1], streams, 30, soft),
        frozen=jnp.float32,
    )
    state, _, data, *_, frozen = step.arguments
    assert shapes((state.params, data, frozen)) == seen["call"]
