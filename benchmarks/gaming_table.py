"""The figures of `benchmarks.gaming` as tables, for docs/gaming.md; everything above their mark on that page is kept."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median
from typing import Any

PAGE, MARK = Path(__file__).parents[1] / "docs" / "gaming.md", "<!-- table -->"
BADLY = ("lazy", "colluder", "vandal")
RULES = {"standing": "standing", "count": "count of accepted", "rate": "raw rate of acceptance"}
ROLES = {
    "lazy": "accepts everything",
    "colluder": "colluding, of all",
    "vandal": "vandal",
    "reviewer": "honest, the least of all",
}
SAID = {
    "experts_hold_the_top": "honest experts hold the top ranks: nine of ten at least, and nobody who attacks among them",
    "count_does_worse": "rank by count does worse in the same run",
    "rate_does_worse": "rank by raw rate does worse in the same run",
    "splitting_gains_nothing": "from 2, 4 or 16 accounts at most 1.02 times the standing-weighted acceptance of one",
    "accepted_spam": "of what was accepted at most 1% is spam",
    "wrongly_refused": "of good honest rows at most 2% are refused",
    "repaired_by_appeal": "of these at least 80% are repaired by appeal",
    "bad_reviewers_lose_weight": "who accepts everything, colludes or harms has lost weight after 50 reviews",
    "nobody_waits_too_long": "nobody honest waits longer than the deadline",
}


def _row(*cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def claims(found: list[dict[str, Any]]) -> list[str]:
    """Each claim with the number of seeds in which it holds."""
    lines = [_row("claim", "holds in"), "|---|---:|"]
    for key, words in SAID.items():
        held = f"{sum(one['claims'][key] for one in found)} of {len(found)}"
        lines.append(_row(words, f"{repaired_share(found):.0%} over all; {held}" if key == "repaired_by_appeal" else held))
    return lines


def repaired_share(found: list[dict[str, Any]]) -> float:
    """Of all good rows that were refused the share that was taken in in the end; 1 where there were none."""
    refused = sum(one["outcomes"]["refused_and_over"] for one in found)
    return sum(map(repaired, found)) / refused if refused else 1.0


def splits(found: list[dict[str, Any]]) -> list[str]:
    """What splitting gains, by how much of the work is good and over how many accounts it is spread."""
    lines = [_row("good rows", "accounts", "gain, mean", "gain, greatest"), "|---:|---:|---:|---:|"]
    for quality in found[0]["splitting"].keys() - {"worst"}:
        for accounts in found[0]["splitting"][quality]:
            gains = [one["splitting"][quality][accounts] for one in found]
            lines.append(_row(f"{float(quality):.0%}", accounts, f"{mean(gains):.3f}", f"{max(gains):.3f}"))
    return [*lines[:2], *sorted(lines[2:], key=lambda line: (-int(line.split("%")[0][2:]), int(line.split("|")[2])))]


def ranks(found: list[dict[str, Any]]) -> list[str]:
    """How three rules order the same people after the same decisions."""
    lines = [
        _row("ranked by", "experts among the first ten", "seeds with an attacker there", "first attacker, median"),
        "|---|---:|---:|---:|",
    ]
    for rule, words in RULES.items():
        boards = [one["tops"][rule] for one in found]
        experts = [10 * board["experts_in_top"] for board in boards]
        among = f"{mean(experts):.1f} ({min(experts):.0f} to {max(experts):.0f})"
        firsts = [board["best_attacker"] for board in boards]
        lines.append(_row(words, among, sum(first <= 10 for first in firsts), f"{median(firsts):g}."))
    return lines


def seeds(found: list[dict[str, Any]]) -> list[str]:
    """What became of the rows, a line a seed, and of all seeds together."""
    heads = ("seed", "rows", "verdicts", "spam accepted", "good refused", "repaired", "longest wait", "median wait", "gain")
    lines = [_row(*heads), "|---:" * len(heads) + "|"]
    for one in found:
        rows, gain = one["outcomes"], one["splitting"]["worst"]
        lines.append(
            _row(
                one["seed"], f"{rows['rows']:,}", f"{rows['verdicts']:,}", f"{rows['accepted_spam']:.2%}",
                f"{rows['wrongly_refused']:.2%}", f"{repaired(one)} of {rows['refused_and_over']}",
                f"{rows['longest_wait_days']:.1f} days", f"{rows['median_wait_days']:.1f}", f"{gain:.3f}",
            )
        )  # fmt: skip
    return lines


def repaired(one: dict[str, Any]) -> int:
    """How many good rows that were refused were taken in in the end."""
    rows = one["outcomes"]
    return round((rows["repaired_of_refused"] or 0) * rows["refused_and_over"])


def weights(found: list[dict[str, Any]]) -> list[str]:
    """What a verdict of each kind of reviewer weighs, as a share of a newcomer's."""
    lines = [
        _row("reviewers", "after 50 reviews: mean", "worst for fairness", "after 90 days: mean"),
        "|---|---:|---:|---:|",
    ]
    for role, words in ROLES.items():
        theirs = [w for one in found for name, w in one["weights"].items() if name.startswith(role) and w["judged"] >= 50]
        worst = (max if role in BADLY else min)(w["at_50"] for w in theirs)
        lines.append(
            _row(
                words, f"{mean(w['at_50'] for w in theirs):.2f}", f"{worst:.2f}", f"{mean(w['at_end'] for w in theirs):.2f}"
            )
        )
    return lines


def page(told: dict[str, Any]) -> str:
    """All tables, under a line that says what was run."""
    found = told["seeds"]
    careful = "; colluders careful" if told["careful"] else ""
    about = f"{len(found)} seeds of {told['days']} days{careful}, generated rows."
    parts = [[about], claims(found), ranks(found), seeds(found), splits(found), weights(found)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def write(told: dict[str, Any]) -> None:
    """Put the tables on their page, under its mark."""
    before = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    PAGE.write_text(f"{before}{MARK}\n\n{page(told)}", encoding="utf-8")
