"""A dataset's rules: those that count, what a change would do, and every policy it had."""

import pandas as pd
import streamlit as st

from factory.base.errors import FactoryError
from factory.intake import policy, rules
from pages import frame


def shown(db, dataset, person) -> None:
    """The rules that count now, a form to change them, their history."""
    now = policy.current(db, dataset["id"])[1]
    st.dataframe(
        pd.DataFrame(
            {
                "rule": [field["name"] for field in policy.fields()],
                "now": [policy.shown(getattr(now, field["name"])) for field in policy.fields()],
                "what it is": [field["help"] for field in policy.fields()],
            }
        ),
        hide_index=True,
        height="content",
        column_config={"now": st.column_config.TextColumn(alignment="right", width=170)},
    )
    if dataset["owner_id"] == person.id or person.may("curator"):
        change(db, dataset, person, now)
    st.subheader("What the rules were before", anchor=False)
    for one in rules.history(db, dataset["id"]):
        changed = ", ".join(
            f"{name} {policy.shown(before)} → {policy.shown(after)}" for name, (before, after) in one["changes"].items()
        )
        with st.container(border=True):
            st.markdown(frame.plain(f"Version {one['version']} by {one['set_by']}, {frame.ago(one['set_at'])}"))
            st.caption(frame.plain(changed or "The defaults."))
            if one["reason"]:
                st.text(one["reason"])


def asked(field: dict, value):
    """A widget for one rule: a number, or words with commas between them; what it holds."""
    key = f"rule-{field['name']}"
    if isinstance(value, str):
        return st.text_input(field["help"], value, max_chars=1_000, key=key)
    kind = int if field["whole"] else float
    return st.number_input(field["help"], kind(field["low"]), kind(field["high"]), kind(value), key=key,
                           format="%d" if field["whole"] else "%g")  # fmt: skip


def change(db, dataset, person, now) -> None:
    """Choose rules, set values, see what that would do, say why, do it."""
    fields = {field["name"]: field for field in policy.fields()}
    with st.expander("Change the rules", icon=":material/rule_settings:"):
        chosen = st.multiselect("Which rules", list(fields), format_func=lambda n: f"{n}: {fields[n]['help']}", key="rules")
        wanted = {}
        for name in chosen:
            wanted[name] = asked(fields[name], getattr(now, name))
        if not chosen:
            st.caption("Choose rules; what changing them would do stands here before anything is changed.")
            return
        try:
            new = rules.changed(now, wanted)
        except FactoryError as problem:
            frame.refuse(problem)
            return
        told = rules.preview(db, dataset["id"], new)
        st.markdown("**What this would change**")
        for one in told:
            name, effect = frame.plain(one["rule"]), frame.plain(one["effect"])
            st.markdown(f"- {name}: {policy.shown(one['before'])} → **{policy.shown(one['after'])}**. {effect}")
        if not told:
            st.caption("Nothing yet: these are the values that count now.")
        st.caption("What was decided stays decided. Frozen versions keep the rules they were frozen under.")
        reason = st.text_input("Why; contributors read it", max_chars=rules.MOST_WORDS, key="rules-reason")
        if st.button("Make these rules count from now on", type="primary", disabled=not told):
            with frame.trying():
                rules.change(db, dataset["id"], new, person=person, reason=reason)
                for key in ("rules", "rules-reason", *(f"rule-{name}" for name in chosen)):
                    st.session_state.pop(key, None)
                frame.done("The rules are changed; the history says why.")
                st.rerun()
