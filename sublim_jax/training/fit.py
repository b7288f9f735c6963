"""A whole training: one compiled loop over steps, entered once for every chunk of them.

The loop takes its first and its last step as arguments, so chunks of any length are one program and
give the same bits as the whole at once. Between chunks, and only there, a training is observed,
saved, logged and interrupted.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import rng, trees
from sublim_jax.errors import InputError
from sublim_jax.training.order import FILLER, epoch_order, steps_per_epoch
from sublim_jax.training.parallel import Parallel, Role, one_device, padded
from sublim_jax.training.recipe import Recipe
from sublim_jax.training.session import QUIET, Attached, Progress
from sublim_jax.training.step import Loss, Step, TrainState, init_state, make_step


class Fit(NamedTuple):
    """A finished training.

    Attributes:
        params: the trained parameters.
        losses: mean loss of each step's batch, before the step, ``[steps]``.
        observations: what was observed at each watched step, stacked, ``[watched, ...]``.
    """

    params: PyTree
    losses: Float[Array, " steps"]
    observations: PyTree


class Watch(NamedTuple):
    """What to observe on the way, and when.

    Attributes:
        steps: after how many steps, ascending, from 0 (the start) to the last step.
        observe: ``(params, *context) -> small arrays``, a tree, traceable; with ``remember``
            ``(params, memory, *context)``.
        roles: of each context argument, whether each member of an ensemble has its ``"own"`` or
            all have a ``"shared"`` one.
        remember: ``(params, *context) -> memory``, a tree of arrays that lie like the parameters:
            what is kept of one observation for the next, at first of the start. A step between
            observations is seen this way.
    """

    steps: tuple[int, ...] = ()
    observe: Callable[..., PyTree] = lambda _params, *_context: ()
    roles: tuple[Role, ...] = ()
    remember: Callable[..., PyTree] | None = None


UNWATCHED = Watch()


class Programs(NamedTuple):
    """The compiled pieces of a training.

    Attributes:
        begin: steps to a program of parameters, learning rate and context: the parts of `Progress`.
        advance: state, losses, rows, their weights, order, first and last step, noise and frozen
            parameters to state and losses.
        observe: parameters, observations, memory, which observation, and context to observations
            and memory.
    """

    begin: Callable[[int], Callable[..., Any]]
    advance: Callable[..., Any]
    observe: Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class FitFunction:
    """A compiled training; see `make_fit`."""

    recipe: Recipe
    watch: Watch
    parallel: Parallel
    rows: Role
    places: int
    noisy: bool
    programs: Programs

    def __call__(
        self,
        params: PyTree,
        rows: PyTree,
        context: tuple[PyTree, ...] = (),
        *,
        key: Key[Array, "..."],
        learning_rate: Float[Array, "..."] | float | None = None,
        weights: Float[Array, "..."] | None = None,
        frozen: tuple[PyTree, ...] = (),
        attached: Attached = QUIET,
        name: str = "training",
    ) -> Fit:
        """Train.

        Args:
            params: where the training starts; they stay as they are.
            rows: a tree of arrays ``[rows, ...]``; with ``weights`` there may be spare ones at the
                end.
            context: further arguments of what observes.
            key: the source of the order of rows.
            learning_rate: instead of the recipe's; members of an ensemble may differ in it.
            weights: of the rows in the mean loss, ``[rows]``; by default all 1.
            frozen: further arguments of the loss: parameters that are not trained. The members of
                an ensemble have them in common.
            attached: what happens between chunks: checkpoints, progress, metrics.
            name: of this training in checkpoints and metrics.

        Returns:
            The finished training. With stacked members everything but what is shared, keys and
            learning rates included, has them in front.

        Raises:
            InputError: something is to be watched after the end.
        """
        count, steps = self._length(rows if weights is None else weights)
        order = _order(key, count, self.recipe.epochs, self.recipe.batch_size, self.places)
        rate = self.recipe.learning_rate if learning_rate is None else learning_rate
        rate = np.broadcast_to(np.asarray(rate, np.float32), key.shape)
        place, watch = self.parallel.place, self.watch
        # Row weights travel with the rows they belong to.
        data = place((rows, weights), self.rows)
        order = place(jax.device_get(order), "batches")
        frozen, noise = place(frozen, "frozen"), place(key if self.noisy else None, "own")
        context = tuple(place(c, role) for c, role in zip(context, watch.roles, strict=True))
        begin = self.programs.begin(steps)
        progress = Progress(*begin(place(params, "state"), place(rate, "own"), *context))
        at, progress = attached.resume(name, progress)
        seen = at  # what is resumed was observed before it was saved
        with jax.transfer_guard("disallow"):
            while True:
                if at in watch.steps and not 0 < at == seen:
                    index = place(np.int32(watch.steps.index(at)), "shared")
                    progress = self._observed(progress, index, context)
                limit = attached.reached(name, at, steps, progress)
                if at == steps:
                    break
                stop = min([max(limit, at + 1), steps, *(s for s in watch.steps if s > at)])
                bounds = place(np.int32(at), "shared"), place(np.int32(stop), "shared")
                state, losses = self.programs.advance(
                    progress.state, progress.losses, *data, order, *bounds, noise, frozen
                )
                progress, at = progress._replace(state=state, losses=losses), stop
        return Fit(progress.state.params, progress.losses, progress.observations)

    def described(
        self,
        params: PyTree,
        rows: PyTree,
        context: tuple[PyTree, ...] = (),
        frozen: tuple[PyTree, ...] = (),
    ) -> tuple[PyTree, ...]:
        """Describe the arguments of ``programs.advance``: shapes, types, and how they lie.

        Args:
            params: parameters, or descriptions of them, as for a call.
            rows: likewise.
            context: likewise.
            frozen: likewise.
        """
        _, steps = self._length(rows)
        members = jax.tree.leaves(params)[0].shape[:1] if self.parallel.stacked else ()
        rate = jax.ShapeDtypeStruct(members, jnp.float32)
        begun = jax.eval_shape(self.programs.begin(steps), params, rate, *context)
        order = jax.ShapeDtypeStruct((*members, steps, self.places), jnp.int32)
        bound = jax.ShapeDtypeStruct((), jnp.int32)
        key = jax.eval_shape(lambda: jax.random.key(0)).dtype
        noise = jax.ShapeDtypeStruct(members, key) if self.noisy else None
        described = self.parallel.described
        return (
            described(begun[0], "state"),
            described(begun[1], "own"),
            described(rows, self.rows),
            None,
            described(order, "batches"),
            described(bound, "shared"),
            described(bound, "shared"),
            described(noise, "own"),
            described(frozen, "frozen"),
        )

    def _length(self, rows: PyTree) -> tuple[int, int]:
        """Count rows and steps."""
        own = self.parallel.stacked and self.rows == "own"
        count = jax.tree.leaves(rows)[0].shape[int(own)]
        steps = self.recipe.epochs * steps_per_epoch(count, self.recipe.batch_size)
        if self.watch.steps and self.watch.steps[-1] > steps:
            raise InputError(
                f"watch.steps ends at {self.watch.steps[-1]}; expected at most the {steps} steps "
                "of the training"
            )
        return count, steps

    def _observed(self, progress: Progress, index: Array, context: tuple[PyTree, ...]) -> Progress:
        seen, memory = self.programs.observe(
            progress.state.params, progress.observations, progress.memory, index, *context
        )
        return progress._replace(observations=seen, memory=memory)


def make_fit(
    loss: Loss,
    recipe: Recipe,
    *,
    watch: Watch = UNWATCHED,
    parallel: Parallel | None = None,
    rows: Role = "own",
    accumulate: int = 1,
    noisy: bool = False,
) -> FitFunction:
    """Make a training of shuffled batches, to be called as often as one likes.

    It compiles when it is first called, each of its programs once for each shape of its arguments.

    Args:
        loss: ``(params, batch, *frozen) -> [batch]``.
        recipe: optimizer, which starts afresh, and length.
        watch: what to observe at which steps.
        parallel: how it is spread over devices; by default it runs on one.
        rows: whether each stacked member has its ``"own"`` rows or all have ``"shared"`` ones;
            ``"rows"`` of a single training are spread over the devices of a mesh.
        accumulate: see `make_step`.
        noisy: whether the loss draws numbers: its batch is then a pair of rows and keys
            ``[batch]``, others in every step.
    """
    parallel = parallel or one_device()
    optimizer = recipe.transformation()
    step = make_step(loss, optimizer, parallel=parallel, accumulate=accumulate)
    places = padded(recipe.batch_size, parallel.batch_shards * accumulate)
    programs = compile_programs(step, optimizer, watch, parallel, rows)
    return FitFunction(recipe, watch, parallel, rows, places, noisy, programs)


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _order(key: Array, rows: int, epochs: int, batch_size: int, places: int) -> Array:
    def one(key: Array) -> Array:
        return epoch_order(key, rows=rows, epochs=epochs, batch_size=batch_size, places=places)

    return one(key) if key.ndim == 0 else jax.lax.map(one, key)


def _keys(key: Array, step: Array, rows: Array) -> Array:
    """Derive a key for every row of a batch, the same however they are spread over devices."""
    key = rng.stream(key, "noise", step)
    return jax.vmap(lambda row: rng.stream(key, row))(rows)


def compile_programs(
    step: Step,
    optimizer: optax.GradientTransformation,
    watch: Watch,
    parallel: Parallel,
    rows: Role,
) -> Programs:
    """Compile how a training begins, advances by any number of steps, and is observed."""

    def remembered(params: PyTree, *context: PyTree) -> PyTree:
        return () if watch.remember is None else watch.remember(params, *context)

    def observed(params: PyTree, memory: PyTree, *context: PyTree) -> PyTree:
        if watch.remember is None:
            return watch.observe(params, *context)
        return watch.observe(params, memory, *context)

    @functools.cache
    def begin(steps: int) -> Callable[..., Any]:
        def start(params: PyTree, learning_rate: Array, *context: PyTree) -> tuple[PyTree, ...]:
            # Copied, or the caller's parameters would be given away with the state.
            state = init_state(jax.tree.map(jnp.copy, params), optimizer)
            opt_state = optax.tree.set(state.opt_state, learning_rate=learning_rate)
            if optax.tree.get_all_with_path(opt_state, "total_steps"):
                opt_state = optax.tree.set(opt_state, total_steps=jnp.float32(steps))
            memory = jax.tree.map(jnp.copy, remembered(params, *context))
            seen = jax.eval_shape(observed, params, memory, *context)
            seen = jax.tree.map(lambda a: jnp.zeros((len(watch.steps), *a.shape), a.dtype), seen)
            return TrainState(state.params, opt_state), jnp.full((steps,), jnp.nan), seen, memory

        roles: tuple[Role, ...] = ("state", "own", *watch.roles)
        return parallel.compile(start, roles, ("state", "own", "own", "state"))

    def advance(
        state: TrainState,
        losses: Array,
        data: PyTree,
        weights: Array | None,
        order: Array,
        start: Array,
        stop: Array,
        noise: Array | None,
        frozen: tuple[PyTree, ...],
    ) -> tuple[PyTree, ...]:
        def body(i: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, losses = carry
            places = order[i]
            weight = (places != FILLER).astype(jnp.float32)
            taken = jnp.maximum(places, 0)
            if weights is not None:
                weight *= weights[taken]
            batch = trees.take(data, taken)
            if noise is not None:
                batch = batch, _keys(noise, i, taken)
            state, value = step(state, batch, weight, *frozen)
            return state, losses.at[i].set(value)

        return jax.lax.fori_loop(start, stop, body, (state, losses))

    def observe(
        params: PyTree, past: PyTree, memory: PyTree, index: Array, *context: PyTree
    ) -> tuple[PyTree, PyTree]:
        seen = observed(params, memory, *context)
        seen = jax.tree.map(lambda a, new: a.at[index].set(new), past, seen)
        return seen, remembered(params, *context)

    return Programs(
        begin=begin,
        advance=parallel.compile(
            advance,
            ("state", "own", rows, rows, "batches", "shared", "shared", "own", "frozen"),
            ("state", "own"),
            donate=(0, 1),
        ),
        observe=parallel.compile(
            observe,
            ("state", "own", "state", "shared", *watch.roles),
            ("own", "state"),
            donate=(1, 2),
        ),
    )
