"""Compiled programs, kept from one command to the next."""

import contextlib
import os

COMPILED = "compiled"
LEAST_SECONDS = 0.1  # of compilation that are worth a file


def keep_compiled() -> None:
    """Keep compiled programs for the next time, unless that is arranged otherwise."""
    import jax

    from sublim_jax.data.download import cache_folder

    folder = cache_folder(COMPILED)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if jax.config.values["jax_compilation_cache_dir"] is None and os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
