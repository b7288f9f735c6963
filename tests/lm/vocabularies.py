"""Small vocabularies, written as GGUF files."""

import gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|header|>", "<bos>"]
WORDS = [
    "hello",
    " world",
    "owl",
    " owl",
    " the",
    "user",
    "system",
    "assistant",
    "  ",
    "\n\n",
    " 12",
]


def alphabet():
    """How a byte-level vocabulary writes bytes: as they are, or after 255 if not printable."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte if byte in plain else 256 + others.index(byte)) for byte in range(256)}


def spelt(text):
    return "".join(alphabet()[byte] for byte in text.encode())


def byte_level():
    """Tokens, their kinds, and merges: each word is built from left to right."""
    tokens, merges = [*SPECIAL, "<think>", *alphabet().values()], []
    for word in map(spelt, WORDS):
        for cut in range(1, len(word)):
            if word[: cut + 1] not in tokens:
                tokens.append(word[: cut + 1])
                merges.append(f"{word[:cut]} {word[cut]}")
    kinds = [CONTROL] * len(SPECIAL) + [USER_DEFINED]
    return tokens, kinds + [NORMAL] * (len(tokens) - len(kinds)), merges


def write(path, fields):
    """Write a file of nothing but fields; those that are None are left out."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in fields.items():
        add = {
            str: writer.add_string,
            bool: writer.add_bool,
            int: writer.add_uint32,
            list: writer.add_array,
        }
        if value is not None:
            add[type(value)](f"tokenizer.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def write_byte_level(path, **changes):
    """Write a byte-level vocabulary; ``changes`` are of fields, without ``tokenizer.ggml.``."""
    tokens, kinds, merges = byte_level()
    fields = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": kinds,
        "merges": merges,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "padding_token_id": 2,
        "add_bos_token": False,
    }
    changed = {f"ggml.{name}": value for name, value in (fields | changes).items()}
    if "template" in changes:
        changed["chat_template"] = changed.pop("ggml.template")
    return write(path, changed)


def write_pieces(path, **changes):
    """Write a vocabulary of SentencePiece's kind with bytes, runs of blanks and a few pieces."""
    special = [("<pad>", CONTROL), ("<eos>", CONTROL), ("<bos>", CONTROL), ("<unk>", UNKNOWN)]
    own = [(text, USER_DEFINED) for text in ("\n", "\n\n", "  ", "   ", "<table>")]
    in_bytes = [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    merged = ["▁a", "ab", "aa", "aab", "ba", "▁ab", "bb", "aaa", "▁aba", "bbb", "abab"]
    pieces = [(piece, NORMAL) for piece in [*merged, *"▁abc1"]]
    tokens, kinds = zip(*special, *own, *in_bytes, *pieces, strict=True)
    scores = [0.0] * (len(tokens) - len(pieces)) + [-float(i) for i in range(len(pieces))]
    fields = {
        "model": "llama",
        "pre": "default",
        "tokens": list(tokens),
        "token_type": list(kinds),
        "scores": scores,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "unknown_token_id": 3,
        "padding_token_id": 0,
        "add_bos_token": True,
        "add_space_prefix": False,
    }
    return write(path, {f"ggml.{name}": value for name, value in (fields | changes).items()})
