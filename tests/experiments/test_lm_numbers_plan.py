"""What ``--plan`` says of a whole run, as a user asks for it."""

import functools

import pytest
from experiment_commands import refusal, run

SMALL = ("--model", "pythia-14m", "--first-layer", "4", "--seeds", "2")
refuse = functools.partial(refusal, "lm_numbers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--plan", "v5e"), "plan is 'v5e'; expected a name like v5e:4x4"),
        (("--plan", "cpu:0"), "plan is 'cpu:0'; expected 1 to 1024 CPU devices"),
        (
            ("--plan", "cpu:2", "--fsdp", "3"),
            "fsdp is 3 and tensor is 1; expected positive numbers whose product divides the 2 dev",
        ),
        (
            ("--plan", "cpu:1", "--model", "pythia-14m"),
            "first_layer is 15; expected 0 to 5, a layer of the model",
        ),
        (("--plan", "cpu:1", "--model", "qwen9"), "model is 'qwen9'; expected"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_sentence(words, said, capfd):
    # A plan is made in another process, which has the real stream.
    told = refuse(*words) + capfd.readouterr().err
    assert said in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_run_is_planned_without_weights():
    done = run("lm_numbers", *SMALL, "--plan", "cpu:2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Plan for cpu:2: 2 cpu on 1 host, mesh data 2, fsdp 1, tensor 1;")
    # 4 animals; 8 steps of a teacher, 40 of a student, of two arms.
    for name, steps in (("train teachers", "64"), ("train students", "640")):
        line = next(line for line in done.stdout.splitlines() if line.startswith(name))
        assert steps in line.split()
    assert "whole run" in done.stdout
