"""``python -m sublim_jax.commands``, the same as ``sublim-jax``."""

from sublim_jax.commands import main

if __name__ == "__main__":
    main()
