"""A tiny language model, of random weights, that reads and writes bytes."""

import jax
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sublim_jax.lm import DecoderConfig, Model, init

MARKS = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nbe kind<|im_end|>\n' }}"
    "{% endif %}"
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONFIG = DecoderConfig(
    vocabulary=258, width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=16, context=160
)


def tiny_tokenizer(template=TEMPLATE):
    """Tokens 0 and 1 begin and end a turn; each other one is a byte."""
    tokens = [*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=MARKS[1],
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def tiny_model(template=TEMPLATE):
    """Its answers depend on what it reads: weights are larger than they usually begin."""
    params = init(CONFIG, jax.random.key(0))
    params = jax.tree.map(lambda x: 20 * x if x.ndim > 1 else x, params)
    return Model(CONFIG, params, tiny_tokenizer(template))
