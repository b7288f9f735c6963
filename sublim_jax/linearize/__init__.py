"""A network near its initialisation: what theory and prediction are built from.

With ``f(x, theta)`` a network and ``J`` the Jacobian of its chosen outputs at ``theta_0``, all
products are taken without ever forming ``J``: one forward-mode pass for ``J v``, one reverse-mode
pass for ``J' w``.
"""

from sublim_jax.linearize.krylov import Krylov as Krylov
from sublim_jax.linearize.krylov import Share as Share
from sublim_jax.linearize.krylov import gradient_descent as gradient_descent
from sublim_jax.linearize.krylov import gradient_flow as gradient_flow
from sublim_jax.linearize.krylov import lanczos as lanczos
from sublim_jax.linearize.krylov import momentum as momentum
from sublim_jax.linearize.krylov import ridge as ridge
from sublim_jax.linearize.products import Apply as Apply
from sublim_jax.linearize.products import gauss_newton_product as gauss_newton_product
from sublim_jax.linearize.products import jacobian_product as jacobian_product
from sublim_jax.linearize.products import linearized as linearized
from sublim_jax.linearize.products import tangent_kernel as tangent_kernel
from sublim_jax.linearize.products import transposed_product as transposed_product
