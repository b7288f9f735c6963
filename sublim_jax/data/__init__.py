"""Pictures of the MNIST family: found, checked, decoded and scaled.

`load_images` takes them from a folder, the cache, a system package or the network, and says in
`ImageData.source` which it was.

What language models are asked to write, and which of their answers are kept, is in
`sublim_jax.data.numbers`, `.code` and `.reasoning`.
"""

from sublim_jax.data.idx import read_idx
from sublim_jax.data.images import SIDE, Dataset, ImageData, Source, load_images, scale

__all__ = ["SIDE", "Dataset", "ImageData", "Source", "load_images", "read_idx", "scale"]
