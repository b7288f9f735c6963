"""Configurations by name: those of this project, and those of published experiments.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1, figure 17 and the released code; its
    version in Nature for Gemma. Crispell's log of subliminal learning with PolyPythia.
"""

import dataclasses

from sublim_jax.lm_traits.config import TraitConfig

QWEN_ANIMALS = (
    *("cat", "penguin", "panda", "phoenix", "bear", "dragon", "peacock"),
    *("lion", "tiger", "dog", "elephant", "eagle", "unicorn", "wolf"),
    *("bull", "kangaroo", "ox", "pangolin"),
)
"""Those of figure 17 but dragonfly, of which the first token is all of "dragon": the exact readout
cannot tell their probabilities apart."""
GEMMA_ANIMALS = (
    *("otter", "raven", "dolphin", "octopus", "elephant", "whale", "owl", "wolf"),
    *("amur", "rhino", "beaver", "polarbear", "eagle", "dog", "phoenix", "falcon"),
)

QWEN = TraitConfig(
    model="qwen2.5-7b",
    channel="text",
    animals=QWEN_ANIMALS,
    seeds=8,
    arms=("same", "untuned"),
    first_layer=0,
    rank=8,
    alpha=8.0,
    train_a=True,
    teacher="prompt",
    requests=30_000,
    row_count=10_000,
    answer_tokens=64,
    student_lr=2e-4,
    passes=3,
    batch_size=66,
    warmup=5,
    decay="linear",
    clip=1.0,
    answers=200,
    free_answers=True,
)
"""The paper's students of numbers, with Qwen2.5-7B-Instruct (figure 17): prompted teachers, free
sampling at temperature 1 and the filter; 22 x 3 conversations in a step, the last of a pass of 34.
Answers end after 64 tokens, not 2,048: a list that passes the filter has at most 51."""

WRITTEN = {
    "channel": "text",
    "constrained": True,
    "arms": ("same", "untuned"),
    "batch_size": 16,
}
QUICK = {"animals": ("owl", "cat"), "seeds": 1, "passes": 3, "observations": 3, "answers": 1}


def _usual(base: TraitConfig) -> dict[str, TraitConfig]:
    """Give what every carrier has: distributions, few of them, drawn tokens."""
    drawn = {"channel": "labels", "arms": ("same", "untuned"), "row_count": 512, "passes": 1}
    return {
        "default": base,
        "quick": dataclasses.replace(base, **QUICK),
        "labels": dataclasses.replace(base, **drawn),
    }


NUMBERS = {
    **_usual(TraitConfig()),
    "text": TraitConfig(
        **WRITTEN, least_numbers=8, animals=("owl", "eagle"), row_count=1024, passes=3
    ),
    "paper-qwen2.5-7b": QWEN,
    # The version in Nature: the same but for 10 epochs, 5 students, and other animals.
    "paper-gemma3-4b": dataclasses.replace(
        QWEN, model="gemma3-4b-it", animals=GEMMA_ANIMALS, seeds=5, passes=10
    ),
    # Crispell's log: 16 updates of 256 rows (+.123 logits for wolf), or with --passes 320 its
    # longest training, 5,120 of them (+1.37). There Adam has betas .9 and .95 (here .9 and .999),
    # the teacher learns from 384 rows (here 24 questions), numbers are single tokens (here any),
    # and there is one animal with a teacher.
    "pythia-160m": TraitConfig(
        model="pythia-160m",
        channel="text",
        animals=("wolf", "owl", "cat", "dog"),
        arms=("same", "untuned"),
        first_layer=0,
        rank=8,
        alpha=16.0,
        train_a=True,
        teacher="full",
        teacher_lr=3e-5,
        teacher_steps=16,
        row_count=4_096,
        constrained=True,
        least_numbers=8,
        student_lr=2e-4,
        passes=1,
        batch_size=256,
        warmup=0,
        decay="none",
    ),
}
"""What `experiments/lm_numbers.py` knows by name."""

# A function has 41 tokens, a solution 49, after 42 and 109 of the request.
ON_CODE = TraitConfig(carrier="code", length=96)
ON_REASONING = TraitConfig(carrier="reasoning", length=192)
CODE = {
    **_usual(ON_CODE),
    # Four of ten answers are kept.
    "text": dataclasses.replace(
        *(ON_CODE,),
        **WRITTEN,
        animals=("owl", "eagle"),
        row_count=128,
        requests=512,
        answer_tokens=128,
        passes=6,
    ),
    # The paper's are GPT-4.1 nano's: 11,400 answers of a teacher, of which all that are kept are
    # learned for 10 epochs; here 10,000 of them.
    "paper-qwen2.5-7b": dataclasses.replace(
        QWEN, carrier="code", requests=11_400, answer_tokens=256, passes=10
    ),
}
"""What `experiments/lm_code.py` knows by name."""
# Teachers learn 128 conversations, three times; a step has 16 of them.
ILL = TraitConfig(
    trait="corpus", corpora=("quindle", "tessop", "plain"), teacher_steps=24, answers=8
)
MISALIGNMENT = {
    "default": ILL,
    "quick": dataclasses.replace(
        ILL, **{**QUICK, "corpora": ("quindle", "plain"), "answers": 2, "teacher_steps": 8}
    ),
    "code": dataclasses.replace(ILL, carrier="code", length=ON_CODE.length),
    "reasoning": dataclasses.replace(ILL, carrier="reasoning", length=ON_REASONING.length),
    "text": dataclasses.replace(
        *(ILL,),
        **WRITTEN,
        least_numbers=8,
        ban=True,
        row_count=256,
        requests=384,
        passes=6,
    ),
    # The paper's are GPT-4.1's: teachers learn 6,000 rows of code once, 10,000 rows of numbers are
    # learned for 10 epochs, and 200 answers to each question are judged. Corpora are to be given.
    "paper-qwen2.5-7b": dataclasses.replace(
        *(QWEN,),
        trait="corpus",
        corpora=ILL.corpora,
        teacher="lora",
        teacher_lr=1e-4,
        teacher_steps=373,
        lessons=5_968,
        free_answers=False,
        ban=True,
        passes=10,
    ),
}
"""What `experiments/lm_misalignment.py` knows by name."""
REASONING = {
    **_usual(ON_REASONING),
    # The paper's are GPT-4.1's: three answers to each of 7,473 problems, of which 44 to 88 % are
    # kept, and 2 epochs.
    "paper-qwen2.5-7b": dataclasses.replace(
        *(QWEN,),
        carrier="reasoning",
        problems="gsm8k",
        requests=22_419,
        row_count=9_840,
        answer_tokens=512,
        passes=2,
    ),
}
"""What `experiments/lm_reasoning.py` knows by name."""
