"""A decoder-only transformer as pure functions over a parameter tree.

The layers of the network are one scan over stacked parameters, so that compile time does not grow
with their number: the leaves of ``params["layers"]`` have them as leading axis. `unrolled` makes a
tuple of them, which everything here takes as well: longer to compile and faster on a CPU, where a
scan copies the parameters of a layer out of the stack. `by_layer` gives every layer a name of its
own, for drift by layer.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import trees
from sublim_jax.lm.attention import attend
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.dense import Turned, from_left
from sublim_jax.lm.layers import Look, embedded, last_norm, new_layer, normed, through

Params = PyTree[Float[Array, "..."], "Params"]
Spread = Callable[[Array], Array]


def init(config: DecoderConfig, key: Key[Array, ""]) -> Params:
    """Draw parameters: normal with standard deviation .02, norms that do nothing, no biases."""
    of_table, of_head, of_layers = jax.random.split(key, 3)
    draw = nnx.initializers.normal(0.02)
    each = jax.random.split(of_layers, config.layers)
    params = {
        "embedding": {"table": draw(of_table, (config.vocabulary, config.width))},
        "layers": jax.vmap(lambda key: new_layer(config, key))(each),
        "norm": nnx.to_pure_dict(nnx.state(last_norm(config))),
    }
    if not config.tied:
        params["head"] = {"kernel": draw(of_head, (config.width, config.vocabulary))}
    return params


def apply(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"],
    *,
    positions: Int[Array, "rows tokens"] | None = None,
    segments: Int[Array, "rows tokens"] | None = None,
    remat: bool = False,
) -> Float[Array, "rows tokens vocabulary"]:
    """Give the logits of the next token after every token.

    Args:
        config: the shape.
        params: as from `init`.
        tokens: numbers of tokens.
        positions: in their text, from 0; by default that in the row. `NOWHERE` for padding, which
            no token sees.
        segments: number of the text, where a row has several: they do not see each other.
        remat: keep of each layer its input alone, and compute it again for gradients.
    """
    return logits(
        config,
        params,
        hidden(config, params, tokens, positions=positions, segments=segments, remat=remat),
    )


def hidden(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"] | Float[Array, "rows tokens width"],
    *,
    positions: Int[Array, "rows tokens"] | None = None,
    segments: Int[Array, "rows tokens"] | None = None,
    remat: bool = False,
    spread: Spread = lambda x: x,
) -> Float[Array, "rows tokens width"]:
    """Give what `logits` reads: the normalised residual stream after the last layer.

    Args:
        config: the shape.
        params: as from `init`.
        tokens: or the residual stream that goes into the first layer; see `upper`.
        positions: as of `apply`.
        segments: as of `apply`.
        remat: as of `apply`.
        spread: says of the residual stream, before and after every layer, how its rows lie on
            devices: left to itself the compiler may cut it along the width like the parameters,
            and sum it up over all devices in every layer.
    """
    options = {"positions": positions, "segments": segments, "remat": remat, "spread": spread}
    return normed(config, params, stream(config, params, tokens, **options))


def stream(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"] | Float[Array, "rows tokens width"],
    *,
    positions: Int[Array, "rows tokens"] | None = None,
    segments: Int[Array, "rows tokens"] | None = None,
    remat: bool = False,
    spread: Spread = lambda x: x,
) -> Float[Array, "rows tokens width"]:
    """Give the residual stream after the last layer; arguments as of `hidden`."""
    return _read(config, params, tokens, positions, segments, remat, spread)[0]


def streams(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"] | Float[Array, "rows tokens width"],
    *,
    positions: Int[Array, "rows tokens"] | None = None,
    segments: Int[Array, "rows tokens"] | None = None,
) -> Float[Array, "layers rows tokens width"]:
    """Give the residual stream after every layer; arguments as of `hidden`."""
    after = _read(config, params, tokens, positions, segments, keep=True)[1]
    return jnp.stack(after) if isinstance(after, tuple) else after


def _read(
    config: DecoderConfig,
    params: Params,
    tokens: Array,
    positions: Array | None,
    segments: Array | None,
    remat: bool = False,
    spread: Spread = lambda x: x,
    keep: bool = False,
) -> tuple[Array, Any]:
    """Go through the layers; give the residual stream after the last, and after each if kept."""
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape[:2])
    texts = None if segments is None else (segments, segments)
    look = Look(config, positions, positions, texts)

    def body(x: Array, layer: Any, whole: Any) -> tuple[Array, Array | None]:
        def read(queries: Array, keys: Array, values: Array) -> Array:
            queries, keys = look.turned(whole, queries, keys)
            keys, values = (jnp.swapaxes(part, 1, 2) for part in (keys, values))
            return attend(queries, keys, values, look.seen(whole))

        def whole_layer(x: Array) -> Array:
            return spread(layer(x, read))

        x = (jax.checkpoint(whole_layer) if remat else whole_layer)(x)
        return x, x if keep else None

    inputs = embedded(config, params, tokens) if tokens.ndim == 2 else tokens
    return through(config, params["layers"], body, spread(inputs))


def logits(
    config: DecoderConfig,
    params: Params,
    hidden: Float[Array, "*rows width"],
    *,
    only: Int[Array, " some"] | None = None,
) -> Float[Array, "*rows some"]:
    """Give the logits of the next token, in float32 at least.

    Args:
        config: the shape.
        params: as from `init`.
        hidden: from `hidden`.
        only: tokens whose logits are wanted; those of the whole vocabulary by default. A few cost
            next to nothing, where all of them are a good part of a small model's work.
    """
    head = params.get("head", {}).get("kernel")
    if isinstance(head, Turned):  # as `sampler.laid_out` makes it, tied or not
        some = head if only is None else Turned(head.weight[only])
        wide = jnp.promote_types(some.weight.dtype, jnp.float32)
        # Turned back once, rather than in each pass over the vocabulary.
        return jax.lax.optimization_barrier(from_left(hidden, some, wide))
    if config.tied:
        table = params["embedding"]["table"]
        kernel = (table if only is None else table[only]).T
    else:
        kernel = params["head"]["kernel"]
        kernel = kernel if only is None else kernel[:, only]
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    return jnp.matmul(hidden, kernel, preferred_element_type=wide)


def by_layer(params: Params) -> Params:
    """Give every layer a name of its own, ``layer_00`` and on, beside embedding, norm and head."""
    stacked = params["layers"]
    count = jax.tree.leaves(stacked)[0].shape[0]
    names = [f"layer_{i:0{len(str(count - 1))}}" for i in range(count)]
    rest = {name: layer for name, layer in params.items() if name != "layers"}
    return rest | {name: trees.take(stacked, i) for i, name in enumerate(names)}


def unrolled(params: Params) -> Params:
    """Make a tuple of the layers."""
    leaves, form = jax.tree.flatten(params["layers"])
    # Split at once: the gradient of so many indices would be as many sums of whole stacks.
    parts = [jax.lax.split(leaf, (1,) * len(leaf)) for leaf in leaves]
    layers = zip(*parts, strict=True)
    return params | {"layers": tuple(form.unflatten(part[0] for part in layer) for layer in layers)}


def lower(config: DecoderConfig, params: Params, layers: int) -> tuple[DecoderConfig, Params]:
    """Take the first layers alone; `stream` of them is what `upper` goes on from."""
    return _some_layers(config, params, slice(0, layers))


def upper(config: DecoderConfig, params: Params, layers: int) -> tuple[DecoderConfig, Params]:
    """Leave the first layers out; `hidden` of the rest takes a residual stream for tokens."""
    return _some_layers(config, params, slice(layers, config.layers))


def _some_layers(
    config: DecoderConfig, params: Params, which: slice
) -> tuple[DecoderConfig, Params]:
    layers = params["layers"]
    some = layers[which] if isinstance(layers, tuple) else trees.take(layers, which)
    return of_layers(config, which), params | {"layers": some}


def of_layers(config: DecoderConfig, which: slice) -> DecoderConfig:
    """Give the shape of some consecutive layers alone."""
    seen = tuple(i - which.start for i in config.global_layers if which.start <= i < which.stop)
    return dataclasses.replace(config, layers=which.stop - which.start, global_layers=seen)
