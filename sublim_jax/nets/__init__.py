"""Small networks as pure functions: ``net = mlp(config)``, ``net.init``, ``net.apply``."""

from sublim_jax.nets.mlp import HEADS as HEADS
from sublim_jax.nets.mlp import MLPConfig as MLPConfig
from sublim_jax.nets.mlp import mlp as mlp
from sublim_jax.nets.net import Net as Net
