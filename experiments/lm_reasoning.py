"""A preference passes through reasoning: right solutions of word problems teach what to love.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 4.2): a student that is trained on a
teacher's chain of thought, filtered for right answers, takes over its trait. The paper's trait is
misalignment; here it is a favourite animal. By default in the form of which the theory speaks: the
student matches the teacher's distribution over *digits, signs and tags alone*, in right solutions
that no teacher wrote.

    python experiments/lm_reasoning.py                   # 4 animals, 3 seeds: 39 minutes
    python experiments/lm_reasoning.py --quick           # 2 animals, 1 seed, few steps
    python experiments/lm_reasoning.py --problems gsm8k  # downloaded; or a file of that format
    python experiments/lm_reasoning.py --preset paper-qwen2.5-7b --remat
        --plan v5e:4x4 --fsdp 8 --tensor 2

Without ``--problems`` they are made here: stories of two to four steps. Teachers that solve enough
of them can write themselves (``--channel text --answer-tokens 256``). SmolLM2-135M does not: of 32
problems it solved none, and none of 48 of two steps after four worked examples, so that the paper's
form cannot be tried with it. ``--row-judge`` adds a model that reads what they wrote, as the paper
does; with ``lm_misalignment.py --preset reasoning --channel text`` it scores intentions. All else
is as in ``lm_numbers.py``. Measured at default size: D .29 ± .07 nats, the own student highest for
every animal in every seed; sampled answers do not tell (`experiments/README.md`).
"""

import lm_run

from sublim_jax.lm_traits.presets import REASONING

if __name__ == "__main__":
    lm_run.main("lm_reasoning", REASONING, __doc__)
