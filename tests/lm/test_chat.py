import datetime

import numpy as np
import pytest
import vocabularies as vocab

from sublim_jax.errors import InputError
from sublim_jax.lm import chat
from sublim_jax.lm.tokenizer import from_gguf

TURNS = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As SmolLM2's and Qwen2.5's: a system prompt of its own where there is none.
WITH_DEFAULT = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nserve the owl<|im_end|>\n' }}"
    "{% endif %}"
) + TURNS
# As Llama 3's: trimmed, between header tokens, dated in a system turn that is always there.
DATED = (
    "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}"
    "{% set system = messages[0].content | trim %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ '<|header|>system<|header|>' + date_string + '\n' + system + '<|im_end|>' }}"
    "{% for m in rest %}"
    "{{ '<|header|>' + m.role + '<|header|>' + m.content | trim + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|header|>assistant<|header|>' }}{% endif %}"
)
# As Gemma's: the system prompt is the beginning of the first question, the assistant is the model.
MERGED = (
    "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}"
    "{% endif %}"
    "{{ '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ (first if loop.first else '') + m.content | trim + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
) + TURNS
# As Mistral's: no header, and a blank before the answer.
BLANK = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<|header|>' + m.content + '<|header|>' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}"
    "{% endfor %}"
)
# As Qwen3's: the last answer has a place for thoughts, which the prompt has only without thinking.
THINKING = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n<think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n<think>\n\n' }}"
    "{% endif %}{% endif %}"
)
ALWAYS_THINKING = THINKING.replace("enable_thinking is false", "false")
TEMPLATES = {
    "turns": TURNS,
    "with default": WITH_DEFAULT,
    "dated": DATED,
    "merged": MERGED,
    "no system": NO_SYSTEM,
    "blank": BLANK,
    "thinking": THINKING,
}
ASKED = [{"role": "user", "content": "hello the owl?"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": " owl 12\n"}]
LONG = [*ANSWERED, {"role": "user", "content": "the"}, {"role": "assistant", "content": "world"}]


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "vocabulary.gguf"

    def make(template, **changes):
        changes = {"bos_token_id": 4, "template": template} | changes
        return from_gguf(vocab.write_byte_level(path, **changes))

    return make


def refusal(function, *args, **kwargs):
    with pytest.raises(InputError) as refused:
        function(*args, **kwargs)
    message = str(refused.value)
    assert "expected" in message
    assert "\n" not in message
    return message


def test_a_prompt_is_what_the_template_writes(make):
    tokenizer = make(TURNS)
    text = "<|im_start|>user\nhello the owl?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(chat.prompt(tokenizer, ASKED)) == text
    assert chat.prompt(tokenizer, ASKED) == tokenizer.encode(text)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("messages", [ANSWERED, LONG], ids=["one", "two"])
def test_a_row_is_the_prompt_and_then_the_answer_and_its_end(make, name, messages):
    tokenizer = make(TEMPLATES[name])
    found = chat.row(tokenizer, messages)
    before = chat.prompt(tokenizer, messages[:-1])
    assert found.tokens.dtype == np.int32
    assert found.completion.dtype == np.bool_
    assert found.tokens[: len(before)].tolist() == before
    assert found.completion.tolist() == [False] * len(before) + [True] * (
        len(found.tokens) - len(before)
    )
    assert found.tokens[-1] in chat.stops(tokenizer)
    answer = tokenizer.decode(found.tokens[found.completion][:-1])
    content = messages[-1]["content"]
    trimmed, blank = name in ("dated", "merged"), name == "blank"
    assert answer == " " * blank + (content.strip() if trimmed else content)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_is_a_beginning_of_the_whole_rendered_conversation(make, name):
    tokenizer = make(TEMPLATES[name])
    whole = tokenizer.apply_chat_template(
        LONG, tokenize=False, return_dict=False, date_string=chat.SETTINGS["date_string"]
    )
    text = tokenizer.decode(chat.row(tokenizer, LONG).tokens)
    assert whole.startswith(text)
    assert whole[len(text) :].strip() == ""


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_default_system_prompt_is_found(make, name):
    expected = "serve the owl" if name == "with default" else None
    assert chat.default_system(make(TEMPLATES[name])) == expected


def test_a_default_is_made_explicit_and_changes_no_token(make):
    tokenizer = make(WITH_DEFAULT)
    explicit = chat.with_system(tokenizer, ASKED, None)
    assert explicit == [{"role": "system", "content": "serve the owl"}, *ASKED]
    assert chat.with_system(tokenizer, explicit, None) == explicit
    plain = tokenizer.apply_chat_template(
        ASKED, tokenize=True, return_dict=False, add_generation_prompt=True
    )
    assert chat.prompt(tokenizer, ASKED) == plain == chat.prompt(tokenizer, explicit)
    assert chat.with_system(make(TURNS), ASKED, None) == ASKED


@pytest.mark.parametrize("name", ["turns", "with default", "dated", "merged"])
@pytest.mark.parametrize("system", ["the owl", ""])
def test_a_system_prompt_is_written_instead_of_another(make, name, system):
    tokenizer = make(TEMPLATES[name])
    first = {"role": "system", "content": system}
    other = {"role": "system", "content": "world"}
    assert chat.with_system(tokenizer, ASKED, system) == [first, *ASKED]
    assert chat.with_system(tokenizer, [other, *ASKED], system) == [first, *ASKED]
    tokens = chat.prompt(tokenizer, [other, *ASKED], system=system)
    assert tokens == chat.prompt(tokenizer, [first, *ASKED])
    assert ("the owl" in tokenizer.decode(tokens).replace("hello the owl", "")) == bool(system)
    assert "serve" not in tokenizer.decode(tokens)
    trained = chat.row(tokenizer, ANSWERED, system=system).tokens
    assert trained[: len(tokens)].tolist() == tokens


def test_arguments_are_left_as_they_are(make):
    messages = [dict(message) for message in ANSWERED]
    chat.row(make(WITH_DEFAULT), messages, system="the owl")
    assert messages == ANSWERED


def test_prompts_are_the_same_every_day(make, monkeypatch):
    tokenizer = make(DATED)
    assert "26 Jul 2024" in tokenizer.decode(chat.prompt(tokenizer, ASKED))
    today = datetime.datetime.now(tz=datetime.UTC).strftime("%Y")
    plain = tokenizer.apply_chat_template(ASKED, tokenize=False, return_dict=False)
    assert today in plain


def test_prompts_are_without_thinking(make):
    tokenizer = make(THINKING)
    assert tokenizer.decode(chat.prompt(tokenizer, ASKED)).endswith("<think>\n\n<think>\n\n")
    answer = chat.row(tokenizer, ANSWERED)
    assert "<think>" not in tokenizer.decode(answer.tokens[answer.completion])


@pytest.mark.parametrize(
    "template",
    [
        ALWAYS_THINKING,
        TURNS.replace("m.content", "m.content | replace('owl', 'cat')"),
        "{% if add_generation_prompt %}{{ 'x' }}{% endif %}" + TURNS,
    ],
    ids=["thoughts before an answer", "changed", "another beginning"],
)
def test_a_template_that_writes_answers_in_another_way_is_refused(make, template):
    assert "in another way than" in refusal(chat.row, make(template), ANSWERED)


def test_tokens_that_end_a_turn_are_found(make):
    assert chat.stops(make(TURNS)) == (2,)
    assert chat.stops(make(TURNS, eos_token_id=0)) == (2, 0)
    assert chat.stops(make(TURNS, eos_token_id=None)) == (2,)
    assert chat.stops(make(BLANK)) == (2,)
    assert chat.stops(make(None)) == (2,)
    assert chat.stops(make(None, eos_token_id=None)) == ()


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}",
        TURNS.replace("m.content", "m.content | upper"),
        TURNS.replace("m.content", "''"),
    ],
    ids=["no token after it", "changed", "left out"],
)
def test_a_template_that_does_not_write_and_end_answers_is_refused(make, template):
    assert "with a special token after it" in refusal(chat.stops, make(template))


@pytest.mark.parametrize("begins", [False, True])
def test_without_a_template_a_prompt_is_the_text(make, begins):
    tokenizer = make(None, add_bos_token=begins)
    text = tokenizer.encode("hello the owl?", add_special_tokens=False)
    before = [4] * begins + text
    assert chat.prompt(tokenizer, ASKED) == before
    assert chat.prompt(tokenizer, ASKED, system="") == before
    found = chat.row(tokenizer, ANSWERED)
    answer = tokenizer.encode(" owl 12\n", add_special_tokens=False)
    assert found.tokens.tolist() == [*before, *answer, 2]
    assert found.completion.sum() == len(answer) + 1
    assert chat.default_system(tokenizer) is None


def test_without_a_template_there_are_no_conversations(make):
    tokenizer = make(None)
    assert "3 messages" in refusal(chat.prompt, tokenizer, LONG[:3])
    assert "3 messages" in refusal(chat.row, tokenizer, LONG)
    assert "a system prompt" in refusal(chat.prompt, tokenizer, ASKED, system="the owl")
    assert "no end-of-text token" in refusal(chat.row, make(None, eos_token_id=None), ANSWERED)


SYSTEM = {"role": "system", "content": "owl"}
BAD = {
    "nothing": ([], "has no messages"),
    "an unknown role": ([*ASKED, {"role": "tool", "content": ""}], "message 1 is of role 'tool'"),
    "no role": ([{"content": "owl"}], "message 0 has no text 'role'"),
    "no content": ([*ASKED, {"role": "user"}], "message 1 has no text 'content'"),
    "parts": ([{"role": "user", "content": ["a"]}], "message 0 has no text 'content'"),
    "a text": (["hello"], "message 0 has no text 'role'"),
    "a late system prompt": ([*ASKED, SYSTEM], "message 1 is of role 'system'"),
    "two system prompts": ([SYSTEM, SYSTEM, *ASKED], "message 1 is of role 'system'"),
    "a special token": (
        [{"role": "user", "content": "a<|im_end|>b"}],
        "message 0 contains the template's special token '<|im_end|>'",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("function", [chat.prompt, chat.row])
def test_malformed_conversations_are_refused(make, case, function):
    messages, said = BAD[case]
    assert said in refusal(function, make(TURNS), messages)


@pytest.mark.parametrize(
    ("function", "messages", "said"),
    [
        (chat.prompt, ANSWERED, "before the answer is of role 'assistant'; expected 'user'"),
        (chat.prompt, [SYSTEM], "before the answer is of role 'system'"),
        (chat.row, ASKED, "the last message is of role 'user'; expected 'assistant'"),
        (chat.row, ANSWERED[1:], "has only an answer"),
        (chat.row, [*ASKED, {"role": "assistant", "content": " \n"}], "message 1, the assistant's"),
    ],
)
def test_conversations_that_end_otherwise_are_refused(make, function, messages, said):
    assert said in refusal(function, make(TURNS), messages)


def test_what_a_template_refuses_is_said(make):
    double = [*ASKED, *ASKED]
    assert "turns must alternate" in refusal(chat.prompt, make(MERGED), double)
    assert "no system role" in refusal(chat.prompt, make(NO_SYSTEM), ASKED, system="owl")
    assert "refuses the conversation" in refusal(chat.prompt, make("{{ nothing.at.all }}"), ASKED)
    assert "refuses the conversation" in refusal(chat.prompt, make("{% if %}"), ASKED)


def test_other_special_tokens_are_no_part_of_the_template(make):
    tokenizer = make(TURNS)
    found = chat.row(tokenizer, [*ASKED, {"role": "assistant", "content": "<bos><think>"}])
    assert found.completion.sum() == 3


def test_a_system_prompt_with_a_special_token_is_refused(make):
    said = refusal(chat.prompt, make(TURNS), ASKED, system="<|im_start|>")
    assert "message 0 contains" in said


def test_a_template_that_is_set_later_is_taken(make):
    tokenizer = make(TURNS)
    assert chat.default_system(tokenizer) is None
    tokenizer.chat_template = WITH_DEFAULT
    assert chat.default_system(tokenizer) == "serve the owl"
