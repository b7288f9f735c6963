"""Where processes of a test meet, and how they compile."""

import os
import socket

FOR_TESTS = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")


def free_address():
    """Give ``host:port`` that nobody uses."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def as_users_compile():
    """Give the environment without what makes programs of tests compile faster."""
    return {name: value for name, value in os.environ.items() if name not in FOR_TESTS}
