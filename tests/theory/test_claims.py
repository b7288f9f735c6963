"""How a check of the theory decides, and what its command writes."""

import json
import sys

import claims
import numpy as np
import pytest
from matplotlib.figure import Figure

MET, MISSED = claims.at_most("error", 0.1, 0.2), claims.at_most("error", 0.3, 0.2)
TOLD = claims.reported("length", 3.0)


@pytest.mark.parametrize(
    ("finding", "holds"),
    [
        (claims.at_most("x", 1.0, 1.0), True),
        (claims.at_most("x", 1.1, 1.0), False),
        (claims.at_least("x", 1.0, 1.0), True),
        (claims.at_least("x", 0.9, 1.0), False),
        (claims.between("x", 2.1, 1.9, 2.1), True),
        (claims.between("x", 2.2, 1.9, 2.1), False),
        (claims.between("x", 1.8, 1.9, 2.1), False),
        (claims.reported("x", 1.0), None),
    ],
)
def test_a_criterion_holds_up_to_its_limit(finding, holds):
    assert finding.holds is holds


def test_nan_meets_no_criterion():
    nan = np.float32(np.nan)
    for finding in (
        claims.at_most("x", nan, 1.0),
        claims.at_least("x", nan, 1.0),
        claims.between("x", nan, 0.0, 1.0),
    ):
        assert finding.holds is False


@pytest.mark.parametrize(
    ("findings", "holds"),
    [([MET, TOLD], True), ([MET, MISSED], False), ([TOLD], False), ([], False)],
)
def test_a_report_holds_if_it_asks_something_and_all_of_it_is_met(findings, holds):
    assert claims.Report(findings, Figure(), {}).holds is holds


def test_a_table_marks_what_is_not_met():
    met, missed, told = claims.table([MET, MISSED, TOLD]).splitlines()
    assert met.endswith("yes")
    assert missed.split() == ["error", "0.3", "at", "most", "0.2", "NO"]
    assert told.split() == ["length", "3"]


def test_a_slope_is_the_exponent():
    x = np.logspace(-4, -1, 5)
    assert claims.slope(x, 3 * x**2) == pytest.approx(2)


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run the command of a check with these findings; give its exit status."""

    def run(findings, *words):
        def check(seed):
            return claims.Report(findings, Figure(), {"seeds": np.arange(seed)})

        monkeypatch.setattr(sys, "argv", ["toy.py", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            claims.main(check, claim="Two is more than one.", description="A toy.", file="toy.py")
        return left.value.code

    return run


@pytest.mark.parametrize(("findings", "status"), [([MET, TOLD], 0), ([MET, MISSED], 1)])
def test_a_check_writes_its_record_and_its_figure_and_says_its_verdict(
    command, tmp_path, capsys, findings, status
):
    assert command(findings, "--out", tmp_path / "new", "--seed", 3) == status
    record = json.loads((tmp_path / "new" / "toy.json").read_text())
    assert record["name"] == "toy"
    assert record["claim"] == "Two is more than one."
    assert record["holds"] is (status == 0)
    assert record["seed"] == 3
    assert record["data"] == {"seeds": [0, 1, 2]}
    assert [finding["value"] for finding in record["findings"]] == [f.value for f in findings]
    assert (tmp_path / "new" / "toy.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert said.startswith("toy: Two is more than one.")
    assert f"verdict: {['holds', 'FAILS'][status]}" in said


def test_bad_options_are_refused_with_a_sentence(command, tmp_path, capsys):
    assert command([MET], "--out", tmp_path, "--seed", -1) == 2
    said = capsys.readouterr().err
    assert "seed is -1; expected at least 0" in said
    assert "Traceback" not in said
    (tmp_path / "file").touch()
    assert command([MET], "--out", tmp_path / "file") == 2
    assert capsys.readouterr().err.startswith("error: out cannot be written (File exists)")
    assert not list(tmp_path.glob("*.json"))
