"""What a run answered while it learnt: one step beside the base, by a slider, or first, best and last beside each other."""

import html

import streamlit as st

from factory.training import samples
from pages import frame


def show(db, run) -> None:
    """The questions and their answers over the steps of a run."""
    rows = samples.listing(db, run["id"])
    if not rows:
        st.info(
            "No answers yet. A run is asked the same few questions each time its held-out loss is measured;"
            " the setting “sample prompts” says which.", icon=":material/forum:",
        )  # fmt: skip
        return
    steps = sorted({row["step"] for row in rows})
    answers = {(row["step"], row["position"]): row for row in rows}
    chosen = steps[-1]
    if len(steps) > 1:
        chosen = st.select_slider("Answers after step", steps, value=steps[-1], key=f"answers-{run['id']}")
    columns = shown(rows, steps, chosen)
    for position in sorted({row["position"] for row in rows}):
        question(answers, position, columns)
    st.caption(cost(rows))


def shown(rows, steps: list[int], chosen: int) -> dict[str, int]:
    """Which steps stand beside each other: the untouched base, the best, and the one that is chosen."""
    measured = [row for row in rows if row["held_out_loss"] is not None]
    best = min(measured, key=lambda row: row["held_out_loss"])["step"] if measured else None
    columns = {("Before training" if steps[0] == 0 else f"Step {steps[0]}"): steps[0]}
    if best is not None and best not in (steps[0], chosen):
        columns[f"Best, step {best}"] = best
    if chosen != steps[0]:
        columns[f"{'Best, step' if chosen == best else 'Step'} {chosen}"] = chosen
    return columns


def question(answers, position: int, columns: dict[str, int]) -> None:
    """One question, and what was answered at some steps; words that the column before did not have are marked."""
    any_row = next(row for (_, place), row in answers.items() if place == position)
    with st.container(border=True):
        st.text(any_row["prompt"] if len(any_row["prompt"]) <= 600 else any_row["prompt"][:600] + "…")
        before = None
        for column, (title, step) in zip(st.columns(len(columns)), columns.items(), strict=True):
            row = answers.get((step, position))
            with column:
                st.caption(title if row is None or row["held_out_loss"] is None else f"{title} · {row['held_out_loss']:.3f}")
                st.html(marked(None if before is None else before, row["answer"], row["cut"]) if row else "–")
            before = row["answer"] if row else before


def marked(before: str | None, answer: str, cut: int) -> str:
    """An answer as safe HTML; words that are not in `before` are underlined."""
    pieces = [(answer, False)] if before is None else samples.changed(before, answer)
    style = "text-decoration: underline; text-decoration-color: #009e73; text-decoration-thickness: 2px"
    body = "".join(f'<span style="{style}">{html.escape(text)}</span>' if new else html.escape(text) for text, new in pieces)
    return f'<div style="white-space: pre-wrap; overflow-wrap: anywhere">{body or "(nothing)"}{" …" if cut else ""}</div>'


def cost(rows) -> str:
    """How long all this took."""
    rounds, seconds = len({row["step"] for row in rows}), sum(row["seconds"] for row in rows)
    words = "Greedy answers; underlined is what the column before did not say."
    return f"Asked {frame.count(rounds, 'time')}, {seconds:.1f} s in all. {words}"
