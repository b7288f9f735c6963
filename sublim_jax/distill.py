"""Teacher to student: a trait is learnt, outputs are imitated, and the arms that tell why.

The way of the data is the same for a digit and for an owl: initialisation, teacher (trait), carrier
data, imitation, student, trait evaluation. The functions here are one member's, pure and traceable.
"""

import dataclasses
from typing import Literal

import jax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from sublim_jax import losses
from sublim_jax.data import scale
from sublim_jax.losses import ImitationLossName
from sublim_jax.nets import Net
from sublim_jax.training import UNWATCHED, Fit, Recipe, Watch, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of making a student, with what tells it from the others.

    Attributes:
        name: the key in files.
        label: the name in tables and figures.
        outputs: which of the teacher's logits are imitated.
        initialisation: where the student starts: at its teacher's initialisation or another's.
        targets: the teacher's outputs on each input, or the same outputs permuted over the inputs.
    """

    name: str
    label: str
    outputs: Literal["auxiliary", "all"]
    initialisation: Literal["same", "other"] = "same"
    targets: Literal["teacher", "shuffled"] = "teacher"


ARMS = (
    Arm(name="student_aux", label="student (auxiliary logits)", outputs="auxiliary"),
    Arm(name="student_all", label="student (all logits)", outputs="all"),
    Arm(
        name="other_aux",
        label="other initialisation (auxiliary)",
        outputs="auxiliary",
        initialisation="other",
    ),
    Arm(
        name="other_all",
        label="other initialisation (all)",
        outputs="all",
        initialisation="other",
    ),
    Arm(
        name="shuffled_aux",
        label="shuffled targets (auxiliary)",
        outputs="auxiliary",
        targets="shuffled",
    ),
)
"""The students of the paper's Figure 10 and the control of shuffled targets."""


def derangement(members: int) -> list[int]:
    """Give every member another one: ``i`` starts where ``derangement(members)[i]`` started.

    A shift by one: the initialisations are independent draws, so a random derangement is no more
    random, and a permutation with fixed points would put some students at their own teacher's.
    """
    return [(i + 1) % members for i in range(members)]


def train_teacher(
    net: Net,
    recipe: Recipe,
    init: PyTree,
    images: UInt8[Array, "rows features"],
    labels: Int[Array, " rows"],
    *,
    class_logits: slice,
    watch: Watch = UNWATCHED,
    key: Key[Array, ""],
) -> Fit:
    """Give a network a trait: train its class logits on labelled images.

    Args:
        net: the network.
        recipe: optimizer and length.
        init: its initialisation.
        images: pixels as bytes, scaled batch by batch.
        labels: their classes.
        class_logits: where the class logits stand; the loss sees no other.
        watch: what to observe at which steps.
        key: the source of the order of rows.
    """

    def trait_loss(params: PyTree, batch: tuple[Array, Array]) -> Array:
        pixels, classes = batch
        return losses.cross_entropy(net.apply(params, scale(pixels))[..., class_logits], classes)

    return fit(trait_loss, recipe, init, (images, labels), watch=watch, key=key)


def imitate(
    net: Net,
    recipe: Recipe,
    init: PyTree,
    inputs: Float[Array, "rows features"],
    teacher_logits: Float[Array, "rows chosen"],
    *,
    outputs: slice,
    loss: ImitationLossName,
    watch: Watch = UNWATCHED,
    key: Key[Array, ""],
) -> Fit:
    """Make a student: train the chosen logits to be the teacher's on the carrier inputs.

    The teacher is frozen, so its outputs are computed once, by the caller.

    Args:
        net: the network.
        recipe: optimizer and length.
        init: where the student starts.
        inputs: the carrier inputs.
        teacher_logits: the teacher's logits on them, the chosen ones only.
        outputs: where the chosen logits stand; the loss sees no other.
        loss: the imitation loss.
        watch: what to observe at which steps.
        key: the source of the order of rows.
    """
    distance = losses.IMITATION_LOSSES[loss]

    def imitation_loss(params: PyTree, batch: tuple[Array, Array]) -> Array:
        rows, targets = batch
        return distance(net.apply(params, rows)[..., outputs], targets)

    return fit(imitation_loss, recipe, init, (inputs, teacher_logits), watch=watch, key=key)


def shuffle_targets(
    key: Key[Array, ""], teacher_logits: Float[Array, "rows chosen"]
) -> Float[Array, "rows chosen"]:
    """Permute the teacher's outputs over the inputs: the same outputs, told of the wrong inputs.

    What is left is their mean over inputs, so this is a weak signal and not a zero one.
    """
    return jax.random.permutation(key, teacher_logits, axis=0)
