"""Configuration of an experiment on mitigations."""

import dataclasses

from sublim_jax.errors import InputError
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.mitigation.names import EARLY_STOP, MITIGATIONS, NEEDS_BASES, NONE


@dataclasses.dataclass(frozen=True, kw_only=True)
class MitigationConfig:
    """What the results depend on."""

    model: str = "smollm2"
    """The base of students and teachers: a name that `sublim-jax models` lists or of the hub, a
    Hugging Face folder, a GGUF file."""
    animals: tuple[str, ...] = ("owl", "eagle")
    """Favourites of the teachers."""
    seeds: int = 3
    """Independent repetitions."""
    mitigations: tuple[str, ...] = tuple(MITIGATIONS)
    """What is tried; none must be among it, with which all others are compared."""
    first_layer: int = 15
    """The first layer that is trained."""
    row_count: int = 32
    """Conversations from which a student learns."""
    passes: int = 10
    """Times that a student sees every row."""
    student_lr: float = 1e-3
    """Learning rate of a student's Adam, at its highest."""
    observations: int = 7
    """Points of the curves along a training, the start included."""
    anchor_weight: float = 1.0
    """With anchor and early_anchor: weight of the divergence from the base beside that from the
    teacher."""
    early_passes: int = 1
    """With early_anchor: passes in which the base is held to."""
    stop_passes: int = 3
    """With early_stop: passes after which a student is taken."""
    filtered: float = 0.25
    """With filter: share of the places that are left out."""
    base_noise: float = 0.3
    """Of other bases: normal noise on every trained matrix, in standard deviations of its entries;
    then they are healed."""
    heal_rows: int = 512
    """Of other bases: conversations with random numbers on which a noisy base learns what the base
    says of digits and separators."""
    heal_passes: int = 4
    """Of other bases: times that it sees them."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        names = self.mitigations
        if NONE not in names or len(set(names)) < len(names) or not set(names) <= {*MITIGATIONS}:
            raise InputError(
                f"mitigations is {names}; expected {NONE} and some of "
                f"{', '.join(name for name in MITIGATIONS if name != NONE)}, each once"
            )
        if not 0 < self.filtered < 1:
            raise InputError(f"filtered is {self.filtered}; expected a share between 0 and 1")
        if not self.anchor_weight > 0:
            raise InputError(f"anchor_weight is {self.anchor_weight}; expected a positive number")
        for name in ("early_passes", "stop_passes"):
            if not 1 <= getattr(self, name) < self.passes:
                raise InputError(
                    f"{name} is {getattr(self, name)} with passes {self.passes}; expected at least "
                    "1, and fewer than passes"
                )
        _ = self.setting  # refuses what is wrong in the other fields

    @property
    def setting(self) -> TraitConfig:
        """Give the configuration of teachers, contexts and a student without mitigation."""
        return TraitConfig(
            model=self.model,
            animals=self.animals,
            seeds=self.seeds,
            arms=("same",),
            first_layer=self.first_layer,
            row_count=self.row_count,
            passes=self.passes,
            student_lr=self.student_lr,
            observations=self.observations,
            base_noise=self.base_noise,
            heal_rows=self.heal_rows,
            heal_passes=self.heal_passes,
            answers=0,
            seed=self.seed,
        )

    @property
    def trained(self) -> tuple[str, ...]:
        """List the mitigations with students of their own."""
        return tuple(name for name in self.mitigations if name != EARLY_STOP)

    @property
    def bases(self) -> int:
        """Count the other bases that are needed."""
        return max(NEEDS_BASES.get(name, 0) for name in self.mitigations)
