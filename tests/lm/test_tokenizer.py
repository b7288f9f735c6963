import itertools
import json
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import vocabularies as vocab

from sublim_jax.errors import InputError
from sublim_jax.lm import tokenizer as tokenizers
from sublim_jax.tensorfiles import read_metadata

TEXTS = [
    "",
    "hello world, the owl",
    "12, 345;  6789\n\n12",
    "  two   blanks\t\ttabs\r\n",
    "naïve — 你好 🦉 \u00a0\u200b ½",
    "don't I'LL we've",
    "\x00\x7f<|im_end> <think>",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vocabulary.gguf"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return tokenizers.from_gguf(
        vocab.write_byte_level(tmp_path_factory.mktemp("vocabulary") / "a.gguf", template="{{ 1 }}")
    )


def random_texts(letters, count=200):
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list(letters), rng.integers(1, 40))) for _ in range(count)]


def pieces(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False))


def merged(symbols, pairs):
    """Merge one adjacent pair after another, the best of them first, the leftmost of equals."""
    symbols = list(symbols)
    while True:
        found = [
            (pairs[pair], i) for i, pair in enumerate(itertools.pairwise(symbols)) if pair in pairs
        ]
        if not found:
            return symbols
        _, at = min(found)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


def refusal(build, path):
    with pytest.raises(InputError) as refused:
        build(path)
    message = str(refused.value)
    assert str(path) in message
    assert "expected" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_is_the_inverse_of_encoding(built, text):
    assert built.decode(built.encode(text)) == text


def test_words_are_merged_and_numbers_are_split_digit_by_digit(built):
    assert pieces(built, "hello world") == ["hello", "Ġworld"]
    assert pieces(built, "to 12 34") == [*"to", "Ġ", "1", "2", "Ġ", "3", "4"]
    assert pieces(built, "½²") == [*vocab.spelt("½²")]
    # A blank before a digit is left alone with the other ones: "\n\n" stays whole.
    assert pieces(built, "\n\n1") == ["ĊĊ", "1"]


def test_tokens_are_those_of_a_plain_implementation(built, path):
    merges = read_metadata(vocab.write_byte_level(path))["tokenizer.ggml.merges"]
    ranks = {tuple(merge.split()): rank for rank, merge in enumerate(merges)}
    words = re.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?[a-z]+| ?[^\sa-z]+|\s+(?!\S)|\s+", flags=re.ASCII
    )
    letters = ["owl", " owl", "hello", " the", "user", *"ow l\n\n\t1'.r", "'re"]
    for text in random_texts(letters):
        parts = [w for part in re.findall(r"\d|\D+", text) for w in words.findall(part)]
        expected = [symbol for part in parts for symbol in merged(vocab.spelt(part), ranks)]
        assert pieces(built, text) == expected


def test_special_tokens_are_matched_in_text_and_ids_are_those_of_the_file(built, path):
    tokens = read_metadata(vocab.write_byte_level(path))["tokenizer.ggml.tokens"]
    ids = built.encode("<|im_start|>user\nhello<|im_end|><think>")
    assert [tokens[i] for i in ids] == [
        "<|im_start|>",
        "user",
        "Ċ",
        "hello",
        "<|im_end|>",
        "<think>",
    ]
    assert built.decode(ids, skip_special_tokens=True) == "user\nhello<think>"
    assert len(built) == len(tokens)
    assert built.convert_ids_to_tokens(list(range(len(tokens)))) == tokens


def test_roles_and_template_are_those_of_the_metadata(built, path):
    assert (built.bos_token_id, built.eos_token_id) == (1, 2)
    assert (built.unk_token_id, built.pad_token_id) == (0, 2)
    assert built.chat_template == "{{ 1 }}"
    changes = dict.fromkeys(["bos_token_id", "unknown_token_id", "padding_token_id"])
    bare = tokenizers.from_gguf(vocab.write_byte_level(path, eos_token_id=0, **changes))
    assert bare.eos_token_id == 0
    assert [bare.bos_token, bare.unk_token, bare.pad_token, bare.chat_template] == [None] * 4


@pytest.mark.parametrize(
    ("changes", "begins", "ends"),
    [
        ({}, False, False),
        ({"add_bos_token": True}, True, False),
        ({"add_bos_token": True, "add_eos_token": True}, True, True),
        ({"add_bos_token": None}, False, False),
        ({"add_bos_token": None, "pre": "llama-bpe"}, True, False),
        ({"pre": "llama-bpe"}, False, False),
        ({"add_bos_token": True, "bos_token_id": None}, False, False),
    ],
    ids=str,
)
def test_a_text_begins_and_ends_as_the_file_says(path, changes, begins, ends):
    found = tokenizers.from_gguf(vocab.write_byte_level(path, **changes))
    owl = found.convert_tokens_to_ids("owl")
    assert found.encode("owl") == [1] * begins + [owl] + [2] * ends
    assert found("owl")["input_ids"] == found.encode("owl")
    assert found.encode("owl", add_special_tokens=False) == [owl]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gpt-2", " 12", ["Ġ12"]),
        ("smollm", " 12", ["Ġ", "1", "2"]),
        ("qwen2", " 12", ["Ġ", "1", "2"]),
        ("llama-bpe", " 12", ["Ġ", "1", "2"]),
        ("gpt-2", "\n\nowl", ["Ċ", "Ċ", "owl"]),
        ("qwen2", "\n\nowl", ["ĊĊ", "owl"]),
        ("llama3", "\n\nowl", ["ĊĊ", "owl"]),
        ("llama3", "e\u0301", [*vocab.spelt("e\u0301")]),
        ("qwen2", "e\u0301", [*vocab.spelt("é")]),
    ],
)
def test_texts_are_split_in_the_way_that_the_file_names(path, name, text, expected):
    found = tokenizers.from_gguf(vocab.write_byte_level(path, pre=name))
    assert pieces(found, text) == expected


def test_llama_3_keeps_pieces_that_are_tokens_whole(path):
    tokens, kinds, merges = vocab.byte_level()
    changes = {"tokens": [*tokens, "123", "zzz"], "token_type": [*kinds, 1, 1], "merges": merges}
    whole = tokenizers.from_gguf(vocab.write_byte_level(path, pre="llama-bpe", **changes))
    assert pieces(whole, "1234zzz") == ["123", "4", "zzz"]
    merging = tokenizers.from_gguf(vocab.write_byte_level(path, pre="gpt-2", **changes))
    assert pieces(merging, "1234zzz") == [*"1234zzz"]


@pytest.fixture
def by_scores(path):
    return tokenizers.from_gguf(vocab.write_pieces(path))


def test_a_vocabulary_with_scores_is_merged_best_first(by_scores):
    assert pieces(by_scores, "ab aba c") == ["ab", "▁aba", "▁", "c"]
    assert pieces(by_scores, "a\n\n\nb   1") == ["a", "\n\n", "\n", "b", "   ", "1"]
    assert pieces(by_scores, "é<table>") == ["<0xC3>", "<0xA9>", "<table>"]
    assert by_scores.encode("ab")[0] == by_scores.bos_token_id == 2
    for text in TEXTS:
        ids = by_scores.encode(text, add_special_tokens=False)
        assert by_scores.decode(ids) == text


def test_scores_give_the_tokens_of_a_plain_implementation(by_scores, path):
    fields = read_metadata(path)
    tokens, scores = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.scores"]
    kinds = fields["tokenizer.ggml.token_type"]
    best = {t: -s for t, s, k in zip(tokens, scores, kinds, strict=True) if k == vocab.NORMAL}

    class Pairs(dict):
        def __contains__(self, pair):
            return "".join(pair) in best

        def __getitem__(self, pair):
            return best["".join(pair)]

    for text in random_texts("aab bc1"):
        if "  " not in text:
            assert pieces(by_scores, text) == merged(text.replace(" ", "▁"), Pairs())


BAD = {
    "no vocabulary": ({"tokens": None}, "has no tokenizer.ggml.tokens"),
    "no kinds": ({"token_type": None}, "has 0 entries of tokenizer.ggml.token_type"),
    "too few kinds": ({"token_type": [1, 2]}, "has 2 entries of tokenizer.ggml.token_type"),
    "an unknown model": ({"model": "bert"}, "model 'bert'; expected one of gpt2, llama"),
    "no model": ({"model": None}, "model None"),
    "an unknown way of splitting": ({"pre": "tekken"}, "pre 'tekken'; expected a known way"),
    "the default way": ({"pre": "default"}, "pre 'default'"),
    "no way of splitting": ({"pre": None}, "pre None"),
    "no merges": ({"merges": None}, "has no tokenizer.ggml.merges"),
    "half a merge": ({"merges": ["o"]}, "expected pairs"),
    "a merge of unknown tokens": ({"merges": ["owl zzz"]}, "is damaged"),
    "an id past the end": ({"eos_token_id": 99_999}, "eos_token_id 99999; expected a number below"),
    "an id that is a text": ({"eos_token_id": "2"}, "of type str"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_vocabulary_that_cannot_be_used_is_refused(path, case):
    changes, said = BAD[case]
    assert said in refusal(tokenizers.from_gguf, vocab.write_byte_level(path, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"add_space_prefix": True}, "puts a space before a text"),
        ({"add_space_prefix": None}, "puts a space before a text"),
        ({"scores": None}, "has 0 entries of tokenizer.ggml.scores"),
    ],
)
def test_pieces_that_cannot_be_used_are_refused(path, changes, said):
    assert said in refusal(tokenizers.from_gguf, vocab.write_pieces(path, **changes))


def test_a_token_twice_is_refused(path):
    tokens, kinds, _ = vocab.byte_level()
    vocab.write_byte_level(path, tokens=[*tokens, "owl"], token_type=[*kinds, 1])
    assert "has a token twice" in refusal(tokenizers.from_gguf, path)


def test_files_that_are_none_are_refused(path):
    assert "does not exist" in refusal(tokenizers.from_gguf, path)
    path.write_bytes(b"something else")
    assert "begins with" in refusal(tokenizers.from_gguf, path)


@pytest.mark.parametrize("write", [vocab.write_byte_level, vocab.write_pieces])
def test_a_saved_tokenizer_is_read_again_without_a_network(tmp_path, monkeypatch, write):
    first = tokenizers.from_gguf(write(tmp_path / "a.gguf"))
    first.chat_template = "{{ messages[0]['content'] }}"
    tokenizers.save(first, tmp_path / "new" / "folder")

    def refuse(*_, **__):
        raise AssertionError("the network is not to be used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    second = tokenizers.from_folder(tmp_path / "new" / "folder")
    for text in TEXTS:
        assert second.encode(text) == first.encode(text)
        assert second.decode(second.encode(text, add_special_tokens=False)) == text
    assert second.special_tokens_map == first.special_tokens_map
    assert second.chat_template == first.chat_template
    assert len(second) == len(first)


def test_a_folder_that_is_incomplete_or_damaged_is_refused(tmp_path, built):
    assert "is not a folder" in refusal(tokenizers.from_folder, tmp_path / "none")
    assert "has no tokenizer.json" in refusal(tokenizers.from_folder, tmp_path)
    tokenizers.save(built, tmp_path)
    content = (tmp_path / "tokenizer.json").read_text()
    for damaged in (content[:-20], "", "{}", "[]", json.dumps({"model": {"type": "BPE"}})):
        (tmp_path / "tokenizer.json").write_text(damaged)
        assert "is damaged" in refusal(tokenizers.from_folder, tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert "is damaged" in refusal(tokenizers.from_folder, tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, built):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        tokenizers.save(built, tmp_path / "file" / "folder")


def test_importing_does_not_import_transformers():
    program = (
        "import sublim_jax.lm.tokenizer, sublim_jax.lm.chat, sys;"
        "assert not {'transformers', 'tokenizers', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
