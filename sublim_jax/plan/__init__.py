"""Plan a training for a machine before it is booked: memory, speed at best, and what would fit."""

from sublim_jax.plan.plan import Planned, plan
from sublim_jax.plan.report import Plan
from sublim_jax.plan.stages import RunPlan, Stage, Stages, plan_stages
from sublim_jax.plan.table import run_table, table
from sublim_jax.plan.topology import devices_of, in_subprocess, planning

__all__ = [
    "Plan",
    "Planned",
    "RunPlan",
    "Stage",
    "Stages",
    "devices_of",
    "in_subprocess",
    "plan",
    "plan_stages",
    "planning",
    "run_table",
    "table",
]
