"""How the process of a command begins, beside those of other hosts, and how it ends.

Exit statuses, each but the first with a sentence: 0 done; 1 a fault of ours on one of several
hosts; 2 refused; 75 (EX_TEMPFAIL) interrupted by SIGTERM or by the end of another process of the
run; 130 interrupted by hand; 141 where the reader of the output has left.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax

from sublim_jax import hosts
from sublim_jax.errors import InputError, drop_output, first_line
from sublim_jax.training.preemption import EXIT_STATUS, Preempted


def begin(cluster: hosts.Cluster) -> None:
    """Join the other hosts; of all of them the first speaks.

    Raises:
        InputError: they do not meet; see `sublim_jax.hosts.connect`.
    """
    hosts.connect(cluster)
    if not hosts.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (to the end of the process)


@contextlib.contextmanager
def ending(*, resumable: bool) -> Iterator[None]:
    """Run the body of a command and end the process as the head of this file says if it fails.

    Args:
        resumable: whether the same command goes on where it was interrupted, to say so.
    """
    try:
        yield
        sys.stdout.flush()
    except InputError as fault:
        _leave(f"error: {fault}", 2)
    except Preempted as fault:
        saved = "saved; the same command continues" if fault.saved else "nothing was saved"
        _leave(f"{fault}: {saved}", EXIT_STATUS)
    except BrokenPipeError:
        drop_output()
        _leave(
            "nobody reads the output any more; the same command continues" if resumable else "", 141
        )
    except Exception as fault:
        if jax.process_count() == 1:
            raise
        if not hosts.lost_another(fault):
            traceback.print_exc()
            _leave("error: this process failed, and the others of this run will end, too", 1)
        _leave(
            f"error: lost another process of this run ({first_line(fault)}); start "
            "all of them again, the same command continues",
            EXIT_STATUS,
        )
    except KeyboardInterrupt:
        goes_on = "; the same command continues where it stopped" if resumable else ""
        _leave(f"interrupted{goes_on}", 130)


def _leave(message: str, status: int) -> NoReturn:
    """Say why the command ends, and end it."""
    if message:
        print(message, file=sys.stderr, flush=True)
    if jax.process_count() > 1:
        # An orderly end would wait for processes that may be gone.
        os._exit(status)
    sys.exit(status)
