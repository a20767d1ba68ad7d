from __future__ import annotations

from tanpo.testing.chaos.terms import CHANGE_S, TermChange, check_term_changes, compute_figures


def make(to_term_s: float | None, to_commit_s: float | None) -> TermChange:
    return TermChange(leader="a", term=1, to_term_s=to_term_s, to_commit_s=to_commit_s)


def test_figures_are_median_and_worst() -> None:
    figures = compute_figures([make(1.0, 1.5), make(2.0, 2.5), make(1.2, 1.6)], 1000)
    assert figures is not None
    assert (figures.median_s, figures.worst_s) == (1.2, 2.0)
    assert (figures.commit_median_s, figures.commit_worst_s) == (1.6, 2.5)
    assert figures.to_document()["is_in_bound"]


def test_a_change_that_did_not_happen_counts_in_full() -> None:
    figures = compute_figures([make(None, None)], 1000)
    assert figures is not None
    assert figures.worst_s == CHANGE_S
    assert not figures.to_document()["is_in_bound"]


def test_there_are_no_figures_of_nothing() -> None:
    assert compute_figures([], 1000) is None


def test_one_late_change_of_term_is_a_violation_however_good_the_median() -> None:
    changes = [make(1.0, 1.5), make(1.0, 1.5), make(3.2, 3.5)]
    figures = compute_figures(changes, 1000)
    assert figures is not None
    assert not figures.to_document()["is_in_bound"]
    (violation,) = check_term_changes(changes, figures)
    assert violation.check == "leader death"
    assert "3.2 s until a later term, 3.0 s allowed" in violation.what


def test_changes_in_time_are_no_violation() -> None:
    changes = [make(1.0, 1.5), make(2.9, 3.5)]
    assert check_term_changes(changes, compute_figures(changes, 1000)) == []
    assert check_term_changes([], None) == []


def test_a_change_without_a_commit_is_a_violation() -> None:
    changes = [make(1.0, None)]
    (violation,) = check_term_changes(changes, compute_figures(changes, 1000))
    assert violation.check == "progress"
