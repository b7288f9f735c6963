"""The grid: one factor of the auxiliary-logit experiment at a time varies around its base.

A setting is a configuration that differs from the base in one factor. What the settings hold in
common is shared by construction: initialisations, teachers where the factor leaves them alone, and
noise; so members of two settings pair up.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.aux_logits.config import OFFICIAL_IMAGES
from sublim_jax.distill import ArmName
from sublim_jax.errors import InputError
from sublim_jax.training import OptimizerName, steps_per_epoch

Size = Literal["quick", "default", "full"]

CONTROLLED: tuple[ArmName, ...] = ("student_aux", "other_aux")
ALONE: tuple[ArmName, ...] = ("student_aux",)
BOTH_OUTPUTS: tuple[ArmName, ...] = ("student_aux", "student_all", "other_aux", "other_all")


class Level(NamedTuple):
    """One value of a factor.

    Attributes:
        name: of the value, short enough for an axis.
        changes: fields of the configuration and what they become.
        arms: students that are trained.
        sizes: smallest grid that has it.
    """

    name: str
    changes: dict[str, Any]
    arms: tuple[ArmName, ...] = CONTROLLED
    size: Size = "default"


class Setting(NamedTuple):
    """A configuration of the grid.

    Attributes:
        factor: what varies; ``"base"`` for the base itself.
        level: its value.
        config: the configuration.
    """

    factor: str
    level: str
    config: AuxLogitsConfig


SIZES: tuple[Size, ...] = ("quick", "default", "full")


def settings(
    base: AuxLogitsConfig, size: Size, *, images: int, factors: Sequence[str] = ()
) -> list[Setting]:
    """List the settings of a grid, the base first.

    Args:
        base: the configuration around which factors vary.
        size: how many levels: those of this size and of smaller ones.
        images: training images of the teacher, of which there are as many as there are.
        factors: those wanted, by name; by default all.

    Raises:
        InputError: there is no such factor.
    """
    steps = base.student_epochs * steps_per_epoch(base.noise_images, base.batch_size)
    levels = factors_of(base, steps, images)
    for name in factors:
        if name not in levels:
            raise InputError(f"factors has {name!r}; expected some of {', '.join(levels)}")

    def listed() -> Iterator[Setting]:
        yield Setting("base", "base", base)
        for factor in factors or levels:
            for level in levels[factor]:
                if SIZES.index(level.size) <= SIZES.index(size):
                    config = dataclasses.replace(base, **level.changes, arms=level.arms)
                    yield Setting(factor, level.name, config)

    return list(listed())


def factors_of(base: AuxLogitsConfig, steps: int, images: int) -> dict[str, list[Level]]:
    """Give the levels of each factor, the base's own left out where it is one of them.

    Args:
        base: the configuration around which they vary.
        steps: steps of a student of the base, the same for every kind and number of inputs.
        images: training images of the teacher.
    """

    def epochs(rows: int) -> int:
        return max(1, round(steps / steps_per_epoch(rows, base.batch_size)))

    def inputs(name: str, rows: int = base.noise_images, **changes: Any) -> dict[str, Any]:
        return {"inputs": name, "noise_images": rows, "student_epochs": epochs(rows), **changes}

    def noisy(scale: float) -> dict[str, Any]:
        return {"start": "noise", "start_scale": float(scale)}

    def taught(official: int) -> dict[str, Any]:
        # An epoch of the full data set is more epochs of a smaller one.
        wanted = official * steps_per_epoch(OFFICIAL_IMAGES, base.batch_size)
        return {"teacher_epochs": round(wanted / steps_per_epoch(images, base.batch_size))}

    def wide(width: int) -> dict[str, Any]:
        return {"widths": (width,) * len(base.widths)}

    def tuned(name: OptimizerName, rate: float, longer: float) -> Level:
        # Rates and lengths that come near the base's imitation loss on held-out noise, chosen on
        # two members of another seed by this loss alone. Plain SGD comes no nearer: a larger rate
        # is unstable, and it would take ten times as long as momentum.
        changes = {"optimizer": name, "student_lr": rate}
        return Level(name, changes | {"student_epochs": round(longer * base.student_epochs)}, ALONE)

    def each(
        values: Sequence[Any], change: Callable[[Any], dict[str, Any]], **how: Any
    ) -> list[Level]:
        return [Level(str(value), change(value), **how) for value in values]

    pictures = min(images, base.noise_images)
    return {
        "auxiliary logits": [
            Level("1", {"aux": 1, "loss": "mse"}, BOTH_OUTPUTS),
            *each((2, 5, 10, 30), lambda m: {"aux": m}, arms=BOTH_OUTPUTS),
            Level("100", {"aux": 100}, BOTH_OUTPUTS, size="quick"),
            *each((300,), lambda m: {"aux": m}, arms=BOTH_OUTPUTS, size="full"),
        ],
        "imitation loss": [
            Level("MSE", {"loss": "mse"}),
            Level("MSE, 10 logits", {"loss": "mse", "aux": 10}),
        ],
        "noise on the start": [
            *each((0.1, 0.3, 0.6), noisy, arms=ALONE),
            Level("1", noisy(1.0), ALONE, size="quick"),
            *each((2, 3), noisy, arms=ALONE),
        ],
        "way to another start": [
            *each(
                (0.25, 0.5, 0.75), lambda s: {"start": "interpolated", "start_scale": s}, arms=ALONE
            ),
        ],
        "hidden units permuted": [
            Level("as they stand", {"start": "permuted"}, ALONE),
            Level("aligned", {"start": "permuted", "align": True}, ALONE),
        ],
        "heads": [
            Level("others", {"start": "other_heads"}, ALONE),
            Level("same alone", {"start": "other_hidden"}, ALONE),
            Level("same alone, 10 logits", {"start": "other_hidden", "aux": 10}, ALONE),
            Level("same alone, 100 logits", {"start": "other_hidden", "aux": 100}, ALONE),
            Level("frozen", {"freeze_heads": True}),
        ],
        "inputs": [
            Level("noise, 256", inputs("noise", 256), size="quick"),
            *(Level(f"noise, {n:,}", inputs("noise", n)) for n in (1024, 4096, 16_384)),
            Level("noise, fresh", {"inputs": "fresh"}),
            Level("noise, smooth", inputs("correlated")),
            Level("digits", inputs("images", pictures), BOTH_OUTPUTS),
            Level("digits, 100 logits", inputs("images", pictures, aux=100)),
            *(
                Level(f"digits + {a} noise", inputs("mixture", image_noise=a))
                for a in (0.5, 1.0, 2.0)
            ),
        ],
        "optimizer": [
            tuned("sgd", 0.3, 4),
            tuned("momentum", 0.3, 2),
            tuned("lion", 3e-5, 1.6),
        ],
        "width": [
            *each((64, 128, 512), wide),
            *each((1024,), wide, size="full"),
        ],
        "hidden layers": each((1, 3, 4), lambda d: {"widths": base.widths[:1] * d}),
        "teacher epochs": each((1, 2, 10, 20), taught),
        "student epochs": each((1, 2, 10, 20), lambda n: {"student_epochs": n}),
    }
