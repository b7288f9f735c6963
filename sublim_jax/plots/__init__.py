"""Figures in one style: arrays in, a matplotlib Figure out."""

from sublim_jax.plots.arms import Cloud as Cloud
from sublim_jax.plots.arms import Panel as Panel
from sublim_jax.plots.arms import Published as Published
from sublim_jax.plots.arms import curve_panels as curve_panels
from sublim_jax.plots.arms import interval_bars as interval_bars
from sublim_jax.plots.arms import scatter_panels as scatter_panels
from sublim_jax.plots.heatmap import Heat as Heat
from sublim_jax.plots.heatmap import heat_maps as heat_maps
from sublim_jax.plots.plane import Field as Field
from sublim_jax.plots.plane import Scene as Scene
from sublim_jax.plots.plane import barrier_curves as barrier_curves
from sublim_jax.plots.plane import growing_paths as growing_paths
from sublim_jax.plots.plane import plane_strip as plane_strip
from sublim_jax.plots.predictors import drift_figure as drift_figure
from sublim_jax.plots.predictors import layers_figure as layers_figure
from sublim_jax.plots.preference import Bars as Bars
from sublim_jax.plots.preference import along_figure as along_figure
from sublim_jax.plots.preference import bars_figure as bars_figure
from sublim_jax.plots.preference import matrix_figure as matrix_figure
from sublim_jax.plots.style import Look as Look
from sublim_jax.plots.style import colors as colors
from sublim_jax.plots.style import looks as looks
from sublim_jax.plots.style import panels as panels
from sublim_jax.plots.style import save as save
