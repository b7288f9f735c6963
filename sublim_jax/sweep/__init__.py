"""Sweeps: a map over configurations, in one process, in an array job or on Ray.

Configurations of one compiled program are one unit of work, so that their members train side by
side. `grid` makes configurations, `Sweep` knows their folders and what is finished, `serial` and
`on_ray` run units, `share` takes those of one task of an array job, and `Sweep.table` gathers what
is finished, the same however it was executed.
"""

from sublim_jax.sweep.array import Task as Task
from sublim_jax.sweep.array import announced_task as announced_task
from sublim_jax.sweep.array import share as share
from sublim_jax.sweep.engines import Outcome as Outcome
from sublim_jax.sweep.engines import serial as serial
from sublim_jax.sweep.folder import Point as Point
from sublim_jax.sweep.folder import Sweep as Sweep
from sublim_jax.sweep.folder import Sweepable as Sweepable
from sublim_jax.sweep.folder import Unit as Unit
from sublim_jax.sweep.grid import grid as grid
from sublim_jax.sweep.grid import groups as groups
from sublim_jax.sweep.on_ray import on_ray as on_ray
from sublim_jax.sweep.table import write_table as write_table
