"""Plan a training for a machine before it is booked: memory, speed at best, and what would fit."""

from sublim_jax.plan.plan import Planned, plan
from sublim_jax.plan.report import Plan
from sublim_jax.plan.table import table
from sublim_jax.plan.topology import devices_of, in_subprocess, planning

__all__ = ["Plan", "Planned", "devices_of", "in_subprocess", "plan", "planning", "table"]
