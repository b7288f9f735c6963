"""Steps of fine-tuning and of sampling, described for devices that need not be there."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sublim_jax.lm import decoder
from sublim_jax.lm.batching import rounded
from sublim_jax.lm.choosing import Choice
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.finetuning import Computing, training
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.reading import prefix_reader
from sublim_jax.lm.sampler import CHUNK, laid_out
from sublim_jax.lm.trained import Full, LoRA
from sublim_jax.lm.writing import Rules, State, beginner, goer
from sublim_jax.plan import Planned
from sublim_jax.training import UNWATCHED, Recipe, padded
from sublim_jax.training.parallel import MeshParallel


class Learned(NamedTuple):
    """What students read and learn, where it is not texts and all of their tokens.

    Attributes:
        targets: places of a row at which the loss looks; all tokens by default.
        streams: whether rows are what lower layers made of texts.
        only: words over which a softmax is taken; the vocabulary by default.
        soft: whether a teacher's distribution is learned rather than tokens.
    """

    targets: int | None = None
    streams: bool = False
    only: int | None = None
    soft: bool = False


TEXTS = Learned()


class Written(NamedTuple):
    """What is written side by side.

    Attributes:
        rows: texts.
        prompts: of them, each read once.
        shared: tokens with which all prompts begin.
        own: of the longest prompt after these.
        tokens: of a text at most.
        stops: tokens that end a text.
        automaton: how many tokens it allows, and its states, if there is one.
    """

    rows: int
    prompts: int
    shared: int
    own: int
    tokens: int
    stops: int = 2
    automaton: tuple[int, int] | None = None


def planned_step(
    config: DecoderConfig,
    parallel: MeshParallel,
    *,
    train: Full | LoRA,
    recipe: Recipe,
    computing: Computing,
    length: int,
    rows: int,
    learned: Learned = TEXTS,
    frozen: Any = jnp.bfloat16,
) -> Planned:
    """Describe a step, with what is trained in float32.

    Args:
        config: the shape of the decoder.
        parallel: how the training is spread.
        train: what is trained.
        recipe: optimizer and batch size.
        computing: how the step is computed.
        length: of packed rows in tokens.
        rows: packed rows of the data set, which every device holds a share of.
        learned: what of them is learned.
        frozen: type of the frozen parameters, and of what lower layers made of texts.
    """

    def begin(key: Any) -> tuple[PyTree, PyTree]:
        params = decoder.init(config, key)
        trained = train.start(config, params, key)
        _, above = decoder.upper(config, params, train.first(config))
        rest = train.shifted(train.first(config)).rest(above, trained)
        head = {name: params[name] for name in ("embedding", "head") if name in params}
        return trained, _as(frozen, (rest, head if learned.soft else None))

    trained, others = jax.eval_shape(begin, jax.random.key(0))
    first = train.first(config)
    top = decoder.of_layers(config, slice(first, config.layers))
    words = None if learned.only is None else tuple(range(learned.only))
    fit = training(top, train.shifted(first), recipe, computing, UNWATCHED, parallel, words)
    learned = learned._replace(streams=learned.streams or first > 0)
    data = _rows(config, learned, rows=rows, length=length, dtype=frozen)
    arguments = fit.described(trained, data, frozen=others)
    state = arguments[0]
    return Planned(
        step=fit.programs.advance,
        arguments=arguments,
        parameters=(state.params, arguments[-1]),
        optimizer=state.opt_state,
        mesh=dict(parallel.mesh.shape),
        batch_size=recipe.batch_size,
        looped=True,
    )


def _rows(
    config: DecoderConfig, learned: Learned, *, rows: int, length: int, dtype: Any
) -> dict[str, jax.ShapeDtypeStruct]:
    targets = learned.targets or length
    data = {name: _ints(rows, length) for name in Packed._fields}
    data |= {name: _ints(rows, targets) for name in ("at", "labels")}
    data["weights"] = jax.ShapeDtypeStruct((rows, targets), jnp.float32)
    if learned.streams:
        data["tokens"] = jax.ShapeDtypeStruct((rows, length, config.width), dtype)
    if learned.soft:
        data["teacher"] = jax.ShapeDtypeStruct((rows, targets, config.width), dtype)
    return data


def described_params(
    config: DecoderConfig, parallel: MeshParallel, *, dtype: Any = jnp.bfloat16
) -> Params:
    """Describe the parameters of a decoder as `sublim_jax.lm.load` lays them onto devices."""
    params = jax.eval_shape(lambda key: _as(dtype, decoder.init(config, key)), jax.random.key(0))
    return parallel.described(params, "frozen")


def planned_sampling(
    config: DecoderConfig, parallel: MeshParallel, written: Written, *, dtype: Any = jnp.bfloat16
) -> tuple[Planned, Planned]:
    """Describe how the sampler reads a batch, and how it writes one more token of every text.

    Args:
        config: the shape of the decoder.
        parallel: how its parameters lie, and how rows are spread.
        written: the batch.
        dtype: of the parameters.

    Returns:
        Reading the prompts and choosing the first tokens; and writing.
    """
    params = _laid_out(config, parallel, dtype)
    begin = beginner(config, Choice(), rounded(written.tokens), parallel.groups)
    reading = _reading(config, parallel, params, written)
    state: State = _result(begin, *reading)
    arguments = (*reading[:2], state, jax.ShapeDtypeStruct((), jnp.int32))
    writing = _planned(parallel, written, goer(config, Choice()), arguments)
    return (
        _planned(parallel, written, begin, reading),
        writing._replace(looped=True, turns=CHUNK),
    )


def _planned(
    parallel: MeshParallel, written: Written, step: Any, arguments: tuple[PyTree, ...]
) -> Planned:
    return Planned(
        step=step,
        arguments=arguments,
        parameters=arguments[0],
        optimizer=(),
        mesh=dict(parallel.mesh.shape),
        batch_size=written.rows,
    )


def _reading(
    config: DecoderConfig, parallel: MeshParallel, params: Params, written: Written
) -> tuple[PyTree, ...]:
    """Describe the arguments of `beginner`."""
    rules = Rules(_ints(written.stops), None, None)
    if written.automaton is not None:
        some, states = written.automaton
        rules = rules._replace(allowed=_ints(some), follows=_ints(states, some))
    rules = parallel.described(rules, "shared")
    rows, count = (padded(n, parallel.groups) for n in (written.rows, written.prompts))
    prompts = _ints(count, rounded(written.own))
    shared = None
    if written.shared:
        common = parallel.described(_ints(1, rounded(written.shared)), "shared")
        shared = _result(prefix_reader(config), params, common, common)
    ended = jax.ShapeDtypeStruct((rows,), jnp.bool)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
    texts = ((prompts, prompts, _ints(rows)), ended, keys)
    read, *rest = parallel.described(texts, "texts")
    return params, rules, read, shared, *rest


def _laid_out(config: DecoderConfig, parallel: MeshParallel, dtype: Any) -> Params:
    params = described_params(config, parallel, dtype=dtype)
    if parallel.platform != "cpu":  # a process that plans has a CPU, for which it would lay out
        return params
    return _result(laid_out, params)


def _result(function: Any, *arguments: PyTree) -> Any:
    """Describe what a function makes, and where the compiler puts it."""
    program = jax.jit(function)
    lies = program.lower(*arguments).compile().output_shardings

    def described(array: Any, sharding: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree.map(described, jax.eval_shape(program, *arguments), lies)


def _ints(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def _as(dtype: Any, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda array: array.astype(dtype), tree)
