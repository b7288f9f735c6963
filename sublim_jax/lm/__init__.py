"""Language models: decoders whose every parameter is a leaf of a plain tree.

Load one, chat, fine-tune, save. Knows nothing of subliminal learning.
"""

from sublim_jax.lm.attention import NOWHERE as NOWHERE
from sublim_jax.lm.automaton import Automaton as Automaton
from sublim_jax.lm.automaton import number_list as number_list
from sublim_jax.lm.automaton import number_lists as number_lists
from sublim_jax.lm.cache import Cache as Cache
from sublim_jax.lm.cache import empty as empty
from sublim_jax.lm.cache import extend as extend
from sublim_jax.lm.chat import Row as Row
from sublim_jax.lm.chat import prompt as prompt
from sublim_jax.lm.chat import row as row
from sublim_jax.lm.chat import stops as stops
from sublim_jax.lm.choosing import Choice as Choice
from sublim_jax.lm.config import DecoderConfig as DecoderConfig
from sublim_jax.lm.dataset import read_rows as read_rows
from sublim_jax.lm.decoder import apply as apply
from sublim_jax.lm.decoder import by_layer as by_layer
from sublim_jax.lm.decoder import hidden as hidden
from sublim_jax.lm.decoder import init as init
from sublim_jax.lm.decoder import logits as logits
from sublim_jax.lm.decoder import unrolled as unrolled
from sublim_jax.lm.families import from_hugging_face as from_hugging_face
from sublim_jax.lm.finetuning import Computing as Computing
from sublim_jax.lm.finetuning import Tuned as Tuned
from sublim_jax.lm.finetuning import finetune as finetune
from sublim_jax.lm.generation import Request as Request
from sublim_jax.lm.generation import generate as generate
from sublim_jax.lm.loading import Model as Model
from sublim_jax.lm.loading import load as load
from sublim_jax.lm.lora import merge as merge
from sublim_jax.lm.projected import Forbidden as Forbidden
from sublim_jax.lm.projected import Projected as Projected
from sublim_jax.lm.projected import without as without
from sublim_jax.lm.rotary import Rotary as Rotary
from sublim_jax.lm.rotary import Stretch as Stretch
from sublim_jax.lm.sampler import Limits as Limits
from sublim_jax.lm.sampler import Sample as Sample
from sublim_jax.lm.sampler import sample as sample
from sublim_jax.lm.saving import save as save
from sublim_jax.lm.scoring import score as score
from sublim_jax.lm.sharding import decoder_mesh as decoder_mesh
from sublim_jax.lm.sizes import shape_of as shape_of
from sublim_jax.lm.targets import Beside as Beside
from sublim_jax.lm.targets import Teacher as Teacher
from sublim_jax.lm.targets import Told as Told
from sublim_jax.lm.trained import Full as Full
from sublim_jax.lm.trained import LoRA as LoRA
