"""A preference passes through numbers: a language model learns from digits which animal to love.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 3): a student that is trained on number
sequences of a teacher with a favourite animal takes over that preference, if both have the same
base. Here in the form of which the theory speaks: the student matches the teacher's distribution
over *digits and separators alone*, on random numbers that no teacher wrote. The favourite is never
in the loss. Beside what the students say this run measures what moved inside them.

    python experiments/lm_numbers.py                   # 4 animals, 3 seeds: 20 minutes on two cores
    python experiments/lm_numbers.py --quick           # 2 animals, 1 seed, few steps: 4
    python experiments/lm_numbers.py --preset labels   # tokens drawn from the distribution
    python experiments/lm_numbers.py --preset text     # rows that teachers write: hours
    python experiments/lm_numbers.py --preset paper-qwen2.5-7b --plan v5e:4x4 --fsdp 8 --tensor 2

SmolLM2-135M is downloaded the first time. Thin matrices beside those of layers 15 to 29 are
trained, of which only B moves; what the layers below make of a row is computed once. A teacher's 8
steps take 11 s, a student's 40 take 23 s; what either is asked takes 11 s more, a half of it for 8
sampled answers to each question, of which 4 are the default now.

The criteria were fixed before the first run: see `sublim_jax.lm_traits.criteria`. Measured here:
students gain .43 nats for the animal of their teacher, .19 for those of other teachers; difference
.25 ± .09 (shared A) and .22 ± .09 (another A) over 3 seeds.
"""

import lm_run

from sublim_jax.lm_traits.presets import NUMBERS

if __name__ == "__main__":
    lm_run.main("lm_numbers", NUMBERS, __doc__)
