"""Teachers and students of a run that is complete, as models again."""

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm.decoder import Params
from sublim_jax.lm_traits import trainees, trainings
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.names import HEALED
from sublim_jax.lm_traits.parts import Part, read_arrays, read_part
from sublim_jax.lm_traits.stages import HEALED_FILE


def revived(ground: Ground, config: TraitConfig, run: runs.Run, part: Part) -> Params:
    """Give the parameters of the upper part of a teacher or a student.

    Args:
        ground: the base.
        config: of the run.
        run: its folder.
        part: which.

    Raises:
        InputError: its parameters were not kept: a teacher that was told, a student of whole
            layers.
    """
    _, arrays = read_part(run, part)
    if not arrays:
        raise InputError(
            f"{part.name} of {run.folder} has no parameters; expected a trained teacher, or a "
            "student of thin matrices"
        )
    base = ground.params
    if part.arm == HEALED:
        base = trainees.joined(base, config, read_arrays(run, HEALED_FILE))
    start = trainees.start_of(ground, config, part, trainings.keys_of(config, part.seed))
    return trainees.joined(base, config, trainees.restored(start, arrays))
