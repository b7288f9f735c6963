"""Drift metrics of groups of parameters, with what they would be without a pull."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sublim_jax.drift.files.compare import Comparison, Sums, regroup
from sublim_jax.drift.files.places import layout
from sublim_jax.drift.metrics import (
    cosine,
    distance_reduction,
    projection,
    projection_by_layer,
    relative_length,
)
from sublim_jax.drift.nulls import Null, isotropic_null, sign_null, z_scores
from sublim_jax.drift.products import Products

Groups = Float[np.ndarray, " groups"]


class Measures(NamedTuple):
    """Metrics of groups of parameters, one entry for each; NaN is undefined.

    Attributes:
        elements: parameters of the group.
        projection: on the teacher's displacement of the group.
        projection_share: the group's share of the projection of the whole; they add up to it.
        cosine: of the angle between the two displacements.
        relative_length: of the student's displacement, in units of the teacher's.
        distance_reduction: share of the distance to the teacher that the student has covered.
        displacement_share: the group's share of ``|d_T|**2``.
        student_norm: ``|d_S|``.
        teacher_norm: ``|d_T|``.
        init_norm: ``|theta_0|``.
        cosine_sd_isotropic: what the cosine of a random direction varies by, ``1 / sqrt(n)``.
        cosine_sd_signs: the same for random signs of the student's entries.
        projection_z: the projection less the controls' mean, in their standard deviations.
        cosine_z: the cosine less the controls' mean, in their standard deviations.
    """

    elements: Int[np.ndarray, " groups"]
    projection: Groups
    projection_share: Groups
    cosine: Groups
    relative_length: Groups
    distance_reduction: Groups
    displacement_share: Groups
    student_norm: Groups
    teacher_norm: Groups
    init_norm: Groups
    cosine_sd_isotropic: Groups
    cosine_sd_signs: Groups
    projection_z: Groups
    cosine_z: Groups


def measures(sums: Sums) -> Measures:
    """Derive the metrics of groups that make up the whole, one for each entry of ``sums``."""
    toward = sums.toward._replace(student_control=None)
    return Measures(
        elements=sums.elements,
        projection=projection(toward),
        projection_share=projection_by_layer(toward),
        cosine=cosine(toward),
        relative_length=relative_length(toward),
        distance_reduction=distance_reduction(sums.gap),
        displacement_share=toward.teacher / toward.teacher.sum(),
        student_norm=np.sqrt(toward.student),
        teacher_norm=np.sqrt(toward.teacher),
        init_norm=np.sqrt(toward.init),
        cosine_sd_isotropic=isotropic_null(toward, sums.elements).layer_cosine,
        cosine_sd_signs=_signs(toward, sums.matched).layer_cosine,
        projection_z=z_scores(projection(toward), projection(sums.controls)).z,
        cosine_z=z_scores(cosine(toward), cosine(sums.controls)).z,
    )


def _signs(products: Products, matched: Groups) -> Null:
    lengths = products.student * products.teacher
    concentration = np.where(lengths > 0, matched / np.where(lengths > 0, lengths, 1), np.nan)
    return sign_null(products, concentration)


def totals(comparison: Comparison) -> dict[str, Measures]:
    """Measure the whole, and apart its matrices and its vectors, where there are both.

    Biases and norm scales, the vectors, point the same way in students that no teacher pulls.
    Shares are of the whole.
    """
    vector = [len(tensor.shape) < 2 for tensor in comparison.tensors]
    found = {"all": measures(regroup(comparison.sums, np.zeros(len(vector), int), 1))}
    if len(set(vector)) == 2:
        halves = measures(regroup(comparison.sums, np.array(vector, int), 2))
        for i, name in enumerate(("matrices", "vectors")):
            found[name] = Measures(*(values[i : i + 1] for values in halves))
    return found


def by_layer(comparison: Comparison) -> tuple[tuple[str, ...], Measures]:
    """Measure each layer and each tensor outside of layers: their labels, their metrics."""
    places = layout([tensor.name for tensor in comparison.tensors])
    return places.rows, measures(regroup(comparison.sums, places.row, len(places.rows)))


class Grid(NamedTuple):
    """Metrics by layer and kind of tensor.

    Attributes:
        rows: a label for each layer and each tensor outside of layers.
        columns: the kinds of tensors.
        present: where there is a tensor.
        measures: arrays of shape ``[rows, columns]``.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    present: np.ndarray
    measures: Measures


def grid(comparison: Comparison) -> Grid:
    """Measure each kind of tensor in each layer."""
    places = layout([tensor.name for tensor in comparison.tensors])
    shape = len(places.rows), len(places.columns)
    index = np.ravel_multi_index((places.row, places.column), shape)
    cells = measures(regroup(comparison.sums, index, shape[0] * shape[1]))
    present = np.zeros(shape, bool)
    present.flat[index] = True
    return Grid(
        *(places.rows, places.columns, present),
        Measures(*(values.reshape(shape) for values in cells)),
    )
