"""What a test compiles."""

import contextlib

import jax


@contextlib.contextmanager
def compilations():
    """Count what XLA compiles inside; what the persistent cache has counts too."""
    seconds = []

    def note(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
