"""Load a language model by its name or from its files."""

import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from sublim_jax.errors import InputError
from sublim_jax.lm import fetching, weights
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.families import from_hugging_face
from sublim_jax.lm.llama_cpp import open_gguf
from sublim_jax.lm.text_part import TextPart
from sublim_jax.tensorfiles import open_tensors
from sublim_jax.tensorfiles.source import reading
from sublim_jax.training import Parallel

CONFIG = "config.json"


class Model(NamedTuple):
    """A language model.

    Attributes:
        config: its shape.
        params: its parameters.
        tokenizer: a tokenizer of transformers.
    """

    config: DecoderConfig
    params: Params
    tokenizer: Any


def load(
    model: str | Path,
    *,
    dtype: Any = jnp.float32,
    parallel: Parallel | None = None,
    revision: str | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> Model:
    """Load a model's configuration, parameters and tokenizer.

    ``config, params, tokenizer = lm.load("smollm2")``. A model that is not on this machine is
    downloaded; see `sublim_jax.lm.fetching.locate`.

    Args:
        model: a short name that ``sublim-jax models`` lists, a folder of Hugging Face, a name on
            its hub such as ``HuggingFaceTB/SmolLM2-135M-Instruct``, or a GGUF file.
        dtype: as what the parameters are kept.
        parallel: how they lie on devices, such as `sublim_jax.lm.decoder_mesh`; they are put there
            leaf by leaf. By default on the first one.
        revision: a branch, tag or commit of the hub, such as ``step3000`` of Pythia.
        cache_dir: where downloads that are not the hub's are kept, as in
            `sublim_jax.data.load_images`.
        progress: whether to show the progress of a download on the standard error stream.

    Raises:
        InputError: the name is not known, the model can be found nowhere, its files are damaged,
            or it is of a family or kind that is not read.
    """
    path = fetching.locate(model, revision=revision, cache_dir=cache_dir, progress=progress)
    read = load_folder if path.is_dir() else load_gguf
    return read(path, dtype, parallel)


def load_gguf(path: Path, dtype: Any = jnp.float32, parallel: Parallel | None = None) -> Model:
    """Load a model from a GGUF file, dequantised.

    Raises:
        InputError: as `load` does.
    """
    from sublim_jax.lm import tokenizer

    config, source = open_gguf(path)
    params = functools.partial(weights.read, config, source, dtype, parallel)
    return _both(config, params, lambda: tokenizer.from_gguf(path))


def load_folder(path: Path, dtype: Any = jnp.float32, parallel: Parallel | None = None) -> Model:
    """Load a model from a folder as Hugging Face's libraries write it.

    Raises:
        InputError: as `load` does.
    """
    from sublim_jax.lm import tokenizer

    file = path / CONFIG
    with reading(file, "the configuration of a model of Hugging Face"):
        content = json.loads(file.read_bytes())
    if not isinstance(content, dict):
        raise InputError(f"{file} is no JSON object; expected the configuration of a model")
    config = from_hugging_face(content)
    source = open_tensors(path)
    source = TextPart(source) if "text_config" in content else source
    params = functools.partial(weights.read, config, source, dtype, parallel)
    return _both(config, params, lambda: tokenizer.from_folder(path))


def _both(
    config: DecoderConfig, params: Callable[[], Params], tokenizer: Callable[[], Any]
) -> Model:
    # The tokenizer, whose library alone takes most of a second to import, is made meanwhile.
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(tokenizer)
        return Model(config, params(), made.result())
