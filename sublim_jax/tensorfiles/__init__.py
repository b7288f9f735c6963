"""Tensor files: named tensors of checkpoints, read piece by piece with bounded memory.

`open_tensors` opens safetensors, npz, GGUF and orbax; `open_adapter` opens a low-rank adapter of
PEFT; `read_metadata` gives the fields of a GGUF file. Nothing is mapped into memory, unpickled or
put on a device.
"""

from sublim_jax.tensorfiles.adapter import Adapter as Adapter
from sublim_jax.tensorfiles.adapter import LowRank as LowRank
from sublim_jax.tensorfiles.adapter import open_adapter as open_adapter
from sublim_jax.tensorfiles.adapter_config import is_adapter as is_adapter
from sublim_jax.tensorfiles.gguf_file import read_metadata as read_metadata
from sublim_jax.tensorfiles.opening import open_tensors as open_tensors
from sublim_jax.tensorfiles.source import Renamed as Renamed
from sublim_jax.tensorfiles.source import TensorInfo as TensorInfo
from sublim_jax.tensorfiles.source import TensorSource as TensorSource
from sublim_jax.tensorfiles.source import read_tensor as read_tensor
