"""Language models: decoders whose every parameter is a leaf of a plain tree.

Knows nothing of subliminal learning.
"""

from sublim_jax.lm.attention import NOWHERE as NOWHERE
from sublim_jax.lm.config import DecoderConfig as DecoderConfig
from sublim_jax.lm.decoder import Cache as Cache
from sublim_jax.lm.decoder import apply as apply
from sublim_jax.lm.decoder import by_layer as by_layer
from sublim_jax.lm.decoder import empty as empty
from sublim_jax.lm.decoder import extend as extend
from sublim_jax.lm.decoder import hidden as hidden
from sublim_jax.lm.decoder import init as init
from sublim_jax.lm.decoder import logits as logits
from sublim_jax.lm.families import from_hugging_face as from_hugging_face
from sublim_jax.lm.rotary import Rotary as Rotary
from sublim_jax.lm.rotary import Stretch as Stretch
from sublim_jax.lm.weights import load as load
from sublim_jax.lm.weights import tensors as tensors
