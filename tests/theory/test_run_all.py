"""The runner of the checks: verdicts, exit statuses, the table of the README, interruption."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_all
import verdicts

THEORY = Path(run_all.__file__).parent
PROSE = "# Theory\n\nProse.\n\n## Verdicts\n\n"
README = f"{PROSE}{verdicts.OPEN}\nold\n{verdicts.CLOSE}\n\nAfter.\n"
CHECK = """
import json, os, sys, time
from pathlib import Path

CLAIM = "Of {name} |D| is left."

_, seed, _, out = sys.argv[1:]
{work}
finding = {{"quantity": "error", "value": 0.25, "criterion": "at most {limit}", "holds": {holds}}}
record = {{"holds": {holds}, "findings": [finding], "seed": int(seed), "jax": "1.2.3"}}
Path(out, "{name}.json").write_text(json.dumps(record))
Path(out, "{name}.png").write_bytes(b"figure of {name}")
sys.exit({status})
"""
REAL = """
import claims
from matplotlib.figure import Figure

CLAIM = "The real form is understood."


def check(seed):
    return claims.Report([claims.at_least("seed", seed, 0)], Figure(), {})


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=None, file=__file__)
"""


@pytest.fixture
def theory(tmp_path):
    """A folder like theory/, without checks."""
    (tmp_path / "theory").mkdir()
    (tmp_path / "theory" / "README.md").write_text(README)
    return tmp_path / "theory"


@pytest.fixture
def add(theory):
    """Put a check into the folder."""

    def write(name, *, holds=True, work=""):
        text = CHECK.format(
            name=name, holds=holds, status=int(not holds), limit=0.3 if holds else 0.2, work=work
        )
        (theory / f"{name}.py").write_text(text)

    return write


@pytest.fixture
def start(theory, tmp_path, monkeypatch, capsys):
    """Run all checks of the folder; give the exit status and what was said."""
    kept = signal.getsignal(signal.SIGTERM)

    def run(*words):
        names = tuple(sorted(path.stem for path in theory.glob("*.py")))
        monkeypatch.setattr(run_all, "HERE", theory)
        monkeypatch.setattr(run_all, "CHECKS", names)
        monkeypatch.setattr(
            sys, "argv", ["run_all.py", "--out", str(tmp_path / "out"), *map(str, words)]
        )
        with pytest.raises(SystemExit) as left:
            run_all.main()
        return left.value.code, capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, kept)


def test_where_all_hold_the_readme_tells_it_and_shows_the_figures(start, add, theory, tmp_path):
    for name in ("first", "second"):
        add(name, work="print('a table')")
    status, said = start()
    assert status == 0
    assert "2 of 2 claims hold" in said.out
    readme = (theory / "README.md").read_text()
    assert readme.startswith(PROSE + verdicts.OPEN)
    assert readme.endswith(f"{verdicts.CLOSE}\n\nAfter.\n")
    assert "\nold\n" not in readme
    assert "JAX 1.2.3" in readme
    first, second = [line for line in readme.splitlines() if line.startswith("| [")]
    assert first.startswith("| [first](first.py) | Of first \\|D\\| is left. | 1 of 1 | holds | ")
    assert first.endswith(" | [figure](figures/first.png) |")
    assert second.startswith("| [second](second.py) |")
    assert (theory / "figures" / "second.png").read_bytes() == b"figure of second"
    assert (tmp_path / "out" / "first.txt").read_text() == "a table\n"
    start()
    assert (theory / "README.md").read_text().count("| [first]") == 1


def test_a_failed_criterion_is_told_everywhere(start, add, theory):
    add("first")
    add("second", holds=False)
    status, said = start()
    assert status == 1
    assert "1 of 2 claims hold" in said.out
    assert "second: error: 0.25, at most 0.2" in said.out
    assert "| 0 of 1 | FAILS | " in (theory / "README.md").read_text()


def test_a_crash_is_told_everywhere_and_no_earlier_result_stands_for_it(start, add, theory):
    add("first")
    add("second")
    assert start()[0] == 0
    add("second", work="raise ArithmeticError('a | b')")
    status, said = start()
    assert status == 1
    assert "second crashed: ArithmeticError: a | b" in said.out
    readme = (theory / "README.md").read_text()
    assert "crashed: ArithmeticError: a \\| b" in readme
    assert "figures/second.png" not in readme
    assert not (theory / "figures" / "second.png").exists()


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "it ended with status -9 and said nothing"),
        ("sys.exit('no.')", "no."),
        ("sys.exit(0)", "it ended with status 0 and said nothing"),
    ],
)
def test_an_end_without_a_record_is_a_crash(start, add, work, reason):
    add("first", work=work)
    status, said = start()
    assert status == 1
    assert f"first crashed: {reason}" in said.out


def test_a_record_that_contradicts_the_status_is_a_crash(start, add, theory):
    add("first")
    path = theory / "first.py"
    path.write_text(path.read_text().replace("sys.exit(0)", "sys.exit(1)"))
    assert start()[0] == 1


def test_a_check_of_the_real_form_is_understood(start, theory, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(THEORY))
    (theory / "real.py").write_text(REAL)
    status, said = start("--seed", 4)
    assert status == 0, said
    assert "The real form is understood." in said.out
    assert (tmp_path / "out" / "real.txt").read_text().startswith("real: The real form")


@pytest.mark.parametrize("words", [("--only", "second"), ("--seed", "1"), ("--no-readme",)])
def test_part_of_it_or_another_seed_leaves_the_readme(start, add, theory, tmp_path, words):
    for name in ("first", "second"):
        add(name)
    assert start(*words)[0] == 0
    assert (theory / "README.md").read_text() == README
    assert not (theory / "figures").exists()
    assert (tmp_path / "out" / "first.json").exists() is (words[0] != "--only")


@pytest.mark.parametrize(
    "readme",
    [
        "no marks",
        f"{verdicts.OPEN} alone",
        f"{verdicts.CLOSE} {verdicts.OPEN}",
        README + verdicts.OPEN,
        None,
    ],
)
def test_a_readme_without_its_marks_is_refused_before_anything_runs(
    start, add, theory, tmp_path, readme
):
    add("first")
    path = theory / "README.md"
    path.unlink() if readme is None else path.write_text(readme)
    status, said = start()
    assert status == 2
    assert said.err.startswith("error: ")
    assert "README.md" in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out" / "first.json").exists()
    assert start("--no-readme")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "-1"), "seed is -1; expected at least 0"),
        (("--jobs", "0"), "jobs is 0; expected at least 1"),
        (("--only", "third"), "only names third; expected some of first"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(start, add, words, said):
    add("first")
    status, streams = start(*words)
    assert status == 2
    assert said in " ".join(streams.err.replace("│", "").split())
    assert "Traceback" not in streams.err


def test_an_output_folder_that_is_a_file_is_refused(start, add, tmp_path):
    add("first")
    (tmp_path / "file").touch()
    status, said = start("--out", tmp_path / "file")
    assert status == 2
    assert said.err.startswith("error: out cannot be written (File exists)")


def test_no_more_than_the_given_number_run_at_a_time(start, add, tmp_path):
    trace = tmp_path / "trace"
    work = f"""
def note(what):
    with open({str(trace)!r}, "a") as file:
        file.write(what)
note("+")
time.sleep(.5)
note("-")
"""
    for name in ("first", "second", "third", "fourth"):
        add(name, work=work)
    assert start("--jobs", 2)[0] == 0
    running = [
        trace.read_text()[:i].count("+") - trace.read_text()[:i].count("-") for i in range(9)
    ]
    assert max(running) == 2


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_an_interrupted_run_leaves_no_check_behind(add, theory, tmp_path, number, status):
    for name in ("first", "second"):
        add(
            name,
            work="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            f"Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()\n"
            "time.sleep(120)",
        )
    driver = (
        # A shell's background jobs ignore it, and so would what is started from tests among them.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import sys; sys.path.append({str(THEORY)!r})\n"
        "import run_all; from pathlib import Path\n"
        f"run_all.HERE = Path({str(theory)!r}); run_all.CHECKS = ('first', 'second')\n"
        "run_all.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", driver, "--out", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < limit
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == status, said
    assert "Traceback" not in said
    for path in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.stem), 0)
    assert (theory / "README.md").read_text() == README


def test_every_claim_of_the_folder_is_run():
    claiming = {path.stem for path in THEORY.glob("*.py") if verdicts.claim_of(path)}
    assert set(run_all.CHECKS) == claiming
    assert len(run_all.CHECKS) == len(claiming)
    assert set(run_all.LONG) <= claiming


def test_the_readme_has_its_marks():
    verdicts.with_table((THEORY / "README.md").read_text(), "")
