"""What the makers publish about the chips that a plan can be made for."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """Public figures of one chip, not of one of its cores.

    Attributes:
        name: as users know it.
        flops: peak of the matrix units in bfloat16, in operations a second. Float32 products at
            JAX's default precision run on a TPU as one bfloat16 pass, so the same peak holds.
        memory: HBM in bytes; the compiler leaves programs some 1 to 4 % less.
        bandwidth: of HBM, in bytes a second.
        network: what one chip can send to its neighbours over all its links together, in bytes a
            second: half of the bidirectional ICI bandwidth.
        pod: chips of the largest slice that can be had.
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    network: float
    pod: int


GIB = 2**30

CHIPS = {
    "TPU v4": Chip(
        name="TPU v4", flops=275e12, memory=32 * GIB, bandwidth=1200e9, network=300e9, pod=4096
    ),
    "TPU v5 lite": Chip(
        name="TPU v5e", flops=197e12, memory=16 * GIB, bandwidth=819e9, network=200e9, pod=256
    ),
    "TPU v5": Chip(
        name="TPU v5p", flops=459e12, memory=95 * GIB, bandwidth=2765e9, network=600e9, pod=6144
    ),
    "TPU v6 lite": Chip(
        name="TPU v6e", flops=918e12, memory=32 * GIB, bandwidth=1638e9, network=400e9, pod=256
    ),
    "TPU7x": Chip(
        name="TPU7x", flops=2307e12, memory=192 * GIB, bandwidth=7380e9, network=600e9, pod=9216
    ),
}
"""Chips by what JAX calls their devices.

The figures are those of https://docs.cloud.google.com/tpu/docs/v4, …/v5e, …/v5p, …/v6e and …/tpu7x.
They print the bidirectional ICI bandwidth (v5e 400, v5p 1200, v6e 800, TPU7x 1200 GB/s) except for
v4, whose six links of 50 GB/s each way are in https://arxiv.org/abs/2304.01433.
"""
