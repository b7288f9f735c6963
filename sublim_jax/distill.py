"""Teacher to student: a trait is learnt, outputs are imitated, and the arms that tell why.

The way of the data is the same for a digit and for an owl: initialisation, teacher (trait), carrier
data, imitation, student, trait evaluation.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import losses, trees
from sublim_jax.data import scale
from sublim_jax.losses import ImitationLossName
from sublim_jax.nets import Net
from sublim_jax.training import UNWATCHED, FitFunction, Parallel, Recipe, Role, Watch, make_fit

ArmName = Literal["student_aux", "student_all", "other_aux", "other_all", "shuffled_aux"]


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

    name: ArmName
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


def teaching(
    net: Net,
    recipe: Recipe,
    *,
    class_logits: slice,
    watch: Watch = UNWATCHED,
    parallel: Parallel | None = None,
    rows: Role = "own",
    frozen: Sequence[str] = (),
) -> FitFunction:
    """Make the training that gives a network a trait: its class logits learn labelled images.

    Its rows are pixels ``uint8[rows, features]``, scaled batch by batch, and classes
    ``int[rows]``.

    Args:
        net: the network.
        recipe: optimizer and length.
        class_logits: where the class logits stand; the loss sees no other.
        watch: what to observe at which steps.
        parallel: how it is spread over devices; by default it runs on one.
        rows: whether each stacked member has its ``"own"`` images or all have ``"shared"`` ones.
        frozen: layers whose gradient is zero; none of the optimizers then moves them.
    """

    def trait_loss(params: PyTree, batch: tuple[Array, Array]) -> Array:
        pixels, classes = batch
        logits = net.apply(trees.held(params, frozen), scale(pixels))[..., class_logits]
        return losses.cross_entropy(logits, classes)

    return make_fit(trait_loss, recipe, watch=watch, parallel=parallel, rows=rows)


def imitation(
    net: Net,
    recipe: Recipe,
    *,
    outputs: slice,
    loss: ImitationLossName,
    watch: Watch = UNWATCHED,
    parallel: Parallel | None = None,
    frozen: Sequence[str] = (),
) -> FitFunction:
    """Make the training of a student: the chosen logits become the teacher's on carrier inputs.

    Its rows are the inputs ``[rows, features]`` and the teacher's logits on them, the chosen ones
    only, ``[rows, chosen]``: the teacher is frozen, so they are computed once, by the caller.

    Args:
        net: the network.
        recipe: optimizer and length.
        outputs: where the chosen logits stand; the loss sees no other.
        loss: the imitation loss.
        watch: what to observe at which steps.
        parallel: how it is spread over devices; by default it runs on one.
        frozen: layers whose gradient is zero; none of the optimizers then moves them.
    """
    distance = losses.IMITATION_LOSSES[loss]

    def imitation_loss(params: PyTree, batch: tuple[Array, Array]) -> Array:
        inputs, targets = batch
        return distance(net.apply(trees.held(params, frozen), inputs)[..., outputs], targets)

    return make_fit(imitation_loss, recipe, watch=watch, parallel=parallel)


def shuffle_targets(
    key: Key[Array, ""], teacher_logits: Float[Array, "rows chosen"]
) -> Float[Array, "rows chosen"]:
    """Permute the teacher's outputs over the inputs: the same outputs, told of the wrong inputs.

    What is left is their mean over inputs, so this is a weak signal and not a zero one.
    """
    return jax.random.permutation(key, teacher_logits, axis=0)
