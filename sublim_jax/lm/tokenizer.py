"""Tokenizers of language models, from a GGUF file or a Hugging Face folder, never from a network.

A GGUF file holds a vocabulary under llama.cpp's names but no description of how text is split
before pairs are merged: it names that, and the names are spelt out here. transformers converts such
vocabularies, too; it does not know SmolLM2's way (blanks before numbers become other tokens) nor
that Llama 3 keeps pieces that are tokens whole, so that its converter is not used.

References:
    ggml, docs/gguf.md: the fields. llama.cpp, src/llama-vocab.cpp: what the names mean.
    Kudo and Richardson, SentencePiece, EMNLP 2018: vocabularies with scores instead of merges.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sublim_jax.errors import InputError, first_line
from sublim_jax.tensorfiles import read_metadata

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

FIELD = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
SPACE = "▁"  # how SentencePiece writes one
# Qwen 2 and Llama 3 differ in how many digits stay together.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class _Splitting(NamedTuple):
    """How a byte-level vocabulary wants text split before it merges.

    Attributes:
        pattern: of the pieces; GPT-2's where there is none.
        digits: whether digits are split one by one first.
        composed: whether characters are composed (Unicode's NFC) first.
        whole: whether a piece that is a token as it stands is not built by merges.
        begins: whether a text begins with the beginning-of-text token unless the file says so.
    """

    pattern: str | None = None
    digits: bool = False
    composed: bool = False
    whole: bool = False
    begins: bool = False


LLAMA_3 = _Splitting(WORDS % "{1,3}", whole=True, begins=True)
SPLITTINGS: Mapping[str, _Splitting] = {
    "gpt-2": _Splitting(),
    "smollm": _Splitting(digits=True),
    "qwen2": _Splitting(WORDS % "", composed=True),
    "llama-bpe": LLAMA_3,
    "llama3": LLAMA_3,
    "llama-v3": LLAMA_3,
}


class _Vocabulary(NamedTuple):
    """What a GGUF file says of its tokens."""

    path: Path
    fields: Mapping[str, Any]
    tokens: list[str]
    kinds: list[int]

    def field(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.fields.get(FIELD + name, default)
        if value is not default and not isinstance(value, kind):
            raise InputError(
                f"{self.path} has {FIELD}{name} of type {type(value).__name__}; expected another"
            )
        return value

    def token(self, role: str) -> str | None:
        """Give the text of the token that a field such as ``eos_token_id`` names, if any."""
        index = self.field(f"{role}_token_id", int, None)
        if index is None:
            return None
        if not 0 <= index < len(self.tokens):
            raise InputError(
                f"{self.path} has {FIELD}{role}_token_id {index}; expected a number below "
                f"{len(self.tokens)}"
            )
        return self.tokens[index]


def from_gguf(path: Path | str) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a GGUF file.

    Byte-level vocabularies (``gpt2``) whose way of splitting text is known by name, and those of
    SentencePiece (``llama``) that put no space before a text, as Gemma's.

    Args:
        path: of the file, with or without tensors.

    Returns:
        A tokenizer with the special tokens and the chat template of the file. Its ids are those of
        the file, and control tokens are matched in text.

    Raises:
        InputError: the file cannot be read or is damaged, has no vocabulary, or one of another
            kind or with an unknown way of splitting text.
    """
    make = _class()

    vocabulary = _vocabulary(Path(path))
    model = vocabulary.field("model", str, None)
    builders = {"gpt2": _byte_level, "llama": _sentence_pieces}
    if model not in builders:
        raise InputError(
            f"{path} has {FIELD}model {model!r}; expected one of {', '.join(builders)}"
        )
    with _sentence(f"the vocabulary of {path}", "that of a GGUF file"):
        tokenizer, begins = builders[model](vocabulary)
        _add_special(tokenizer, vocabulary)
        _add_ends(tokenizer, vocabulary, begins)
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    template = vocabulary.fields.get("tokenizer.chat_template")
    return make(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        chat_template=template if isinstance(template, str) else None,
        **{f"{role}_token": vocabulary.token(name) for role, name in roles.items()},
    )


def from_folder(path: Path | str) -> PreTrainedTokenizerFast:
    """Read the tokenizer of a Hugging Face folder; what ``tokenizer.json`` says is what is done.

    Args:
        path: a folder with ``tokenizer.json``, and for special tokens and a chat template
            ``tokenizer_config.json`` and ``chat_template.jinja``.

    Raises:
        InputError: the folder or ``tokenizer.json`` is missing, or a file is damaged.
    """
    make = _class()

    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with tokenizer.json")
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder} has no tokenizer.json; expected one of the tokenizers library")
    with _sentence(f"the tokenizer of {folder}", "files of Hugging Face"):
        return make.from_pretrained(str(folder), local_files_only=True)


def save(tokenizer: PreTrainedTokenizerFast, folder: Path | str) -> None:
    """Write a tokenizer as a Hugging Face folder: the inverse of `from_folder`.

    Args:
        tokenizer: to write.
        folder: made if it is not there; files of other names in it stay.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(str(folder))
        _name_class(Path(folder) / "tokenizer_config.json")
    except OSError as fault:
        raise InputError(
            f"{folder} cannot be written ({fault.strerror or first_line(fault)}); expected a folder"
        ) from fault


def _class() -> type[PreTrainedTokenizerFast]:
    """Import the class of tokenizers, without the notice that there are no models without torch."""
    logging.getLogger("transformers").addFilter(_says_something)
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast


def _says_something(record: logging.LogRecord) -> bool:
    return "PyTorch was not found" not in record.getMessage()


def _name_class(file: Path) -> None:
    """Name the class that transformers 4 knows, too, and leave out where the files came from."""
    content = json.loads(file.read_text())
    for key in ("is_local", "local_files_only"):
        content.pop(key, None)
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _sentence(what: str, expected: str) -> Iterator[None]:
    """Say in a sentence what the tokenizers library refuses; it raises bare exceptions."""
    try:
        yield
    except (InputError, ImportError):
        raise
    except Exception as fault:
        raise InputError(f"{what} is damaged ({first_line(fault)}); expected {expected}") from fault


def _vocabulary(path: Path) -> _Vocabulary:
    fields = read_metadata(path)
    tokens, kinds = fields.get(FIELD + "tokens"), fields.get(FIELD + "token_type")
    if not isinstance(tokens, list) or not tokens:
        raise InputError(f"{path} has no {FIELD}tokens; expected the vocabulary of a model")
    if kinds is None or len(kinds) != len(tokens):
        raise InputError(
            f"{path} has {0 if kinds is None else len(kinds)} entries of {FIELD}token_type; "
            f"expected {len(tokens)}, one for each token"
        )
    if len(set(tokens)) != len(tokens):
        raise InputError(f"{path} has a token twice in {FIELD}tokens; expected each once")
    return _Vocabulary(path, fields, tokens, [int(kind) for kind in kinds])


def _byte_level(vocabulary: _Vocabulary) -> tuple[Tokenizer, bool]:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    name = vocabulary.field("pre", str, None)
    if name not in SPLITTINGS:
        raise InputError(
            f"{vocabulary.path} has {FIELD}pre {name!r}; expected a known way of splitting text: "
            f"{', '.join(SPLITTINGS)}"
        )
    splitting = SPLITTINGS[name]
    merges = [tuple(merge.split(" ")) for merge in vocabulary.field("merges", list, [])]
    if not merges or any(len(pair) != 2 for pair in merges):
        raise InputError(f"{vocabulary.path} has no {FIELD}merges; expected pairs of tokens")
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(vocabulary.tokens)},
            merges=merges,
            ignore_merges=splitting.whole,
        )
    )
    if splitting.composed:
        tokenizer.normalizer = normalizers.NFC()
    steps = []
    if splitting.digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if splitting.pattern:
        steps.append(pre_tokenizers.Split(Regex(splitting.pattern), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not splitting.pattern))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, splitting.begins


def _sentence_pieces(vocabulary: _Vocabulary) -> tuple[Tokenizer, bool]:
    from tokenizers import Tokenizer, decoders, models, normalizers

    if vocabulary.field("add_space_prefix", bool, True):
        raise InputError(
            f"{vocabulary.path} puts a space before a text ({FIELD}add_space_prefix); expected a "
            "vocabulary that does not, or the model's Hugging Face folder"
        )
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(vocabulary.tokens)},
            merges=_merges_of_scores(vocabulary),
            unk_token=vocabulary.token("unknown"),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer, True


def _merges_of_scores(vocabulary: _Vocabulary) -> list[tuple[str, str]]:
    """Give the merges of a vocabulary that has scores: pairs that make up a token, best first.

    User-defined tokens are no part of it: they are cut out of the text before.
    """
    scores = vocabulary.fields.get(FIELD + "scores")
    if scores is None or len(scores) != len(vocabulary.tokens):
        raise InputError(
            f"{vocabulary.path} has {0 if scores is None else len(scores)} entries of "
            f"{FIELD}scores; expected {len(vocabulary.tokens)}, one for each token"
        )
    rated = zip(vocabulary.tokens, vocabulary.kinds, map(float, scores), strict=True)
    ranked = sorted(
        (-score, place, token) for place, (token, kind, score) in enumerate(rated) if kind == NORMAL
    )
    pieces = {token for _, _, token in ranked}
    return [
        (left, right)
        for _, _, token in ranked
        for cut in range(len(token) - 1, 0, -1)
        if (left := token[:cut]) in pieces and (right := token[cut:]) in pieces
    ]


def _add_special(tokenizer: Tokenizer, vocabulary: _Vocabulary) -> None:
    """Have control tokens and user-defined ones matched in the text as it stands."""
    from tokenizers import AddedToken

    special = {UNKNOWN: True, CONTROL: True, USER_DEFINED: False}
    added = [
        AddedToken(token, special=special[kind], normalized=False)
        for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
        if kind in special and token
    ]
    tokenizer.add_tokens(added)


def _add_ends(tokenizer: Tokenizer, vocabulary: _Vocabulary, begins: bool) -> None:
    """Have the tokens of the beginning and the end written where the file wants them."""
    from tokenizers import processors

    wanted = {"bos": begins, "eos": False}
    names = {
        role: vocabulary.token(role)
        if vocabulary.field(f"add_{role}_token", bool, default)
        else None
        for role, default in wanted.items()
    }
    parts = [names["bos"], "$A", names["eos"]]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[part for part in parts if part],
        pair=None,
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names.values() if name],
    )
