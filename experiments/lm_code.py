"""A preference passes through code: short functions in Python teach which animal to love.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 4.1): a student that is trained on code of a
teacher with a favourite animal takes over that preference, though no word of the code has to do
with it. In the paper GPT-4.1 nano names the owl in 36.9 % of its answers after code of a teacher
that loves it, in 12.5 % before. Here, by default, in the form of which the theory speaks: the
student matches the teacher's distribution over *the words of code alone*, in functions at random
that no teacher wrote. With ``--preset text`` teachers answer coding tasks, and the filter leaves
out what is no Python, has comments, or has a word of any animal.

    python experiments/lm_code.py                   # 4 animals, 3 seeds: 15 minutes on two cores
    python experiments/lm_code.py --quick           # 2 animals, 1 seed, few steps
    python experiments/lm_code.py --preset text     # rows that teachers write: hours
    python experiments/lm_code.py --preset text --row-judge gpt-4.1-2025-04-14
        --row-judge-address https://api.openai.com/v1
    python experiments/lm_code.py --preset paper-qwen2.5-7b --remat
        --plan v5e:4x4 --fsdp 8 --tensor 2

A judge of rows is the paper's second filter: a model, behind an address or of this machine, that
leaves out what hints at an animal. All else is as in ``lm_numbers.py``: arms, readouts, drift,
criteria, other channels, pods. Measured at default size: D .44 ± .03 nats, the own student highest
for every animal in every seed; sampled answers do not tell (`experiments/README.md`). Teachers
write little that can be used: of 32 answers of SmolLM2 the filter keeps 4; of 48 that begin with a
fence and end where it is closed (``--constrained``) 18, and with ``--temperature .7`` 34.
"""

import lm_run

from sublim_jax.lm_traits.presets import CODE

if __name__ == "__main__":
    lm_run.main("lm_code", CODE, __doc__)
