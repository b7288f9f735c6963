"""Where processes of a test meet."""

import socket


def free_address():
    """Give ``host:port`` that nobody uses."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"
