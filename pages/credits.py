"""Credits: my statement, and the ledger that anybody can replay."""

import json

import pandas as pd
import streamlit as st

from factory.base.errors import FactoryError
from factory.credit import freezes, ledger, verify
from pages import frame
from pages.parts import holding

WHAT = {"pay": "paid", "hold": "nothing paid", "counter": "countered", **freezes.KINDS}


def statement(db, person) -> None:
    """What I was paid, for which adapter and rows, by which method, with what error."""
    rows = ledger.statement(db, person.id)
    balance, kept = rows[0]["balance"] if rows else 0.0, frame.credits(ledger.balance(db, ledger.held(person.id)))
    with st.container(horizontal=True):
        st.metric("My credits", f"{balance:,.2f}", width="content")
        if kept:
            st.metric("Held while something is examined", f"{kept:,.2f}", width="content")
    if balance < 0:
        st.info("Your total is below zero: a payment was countered of which something had moved on. Later payments fill it "
                "up first; nothing is asked of you.", icon=":material/info:")  # fmt: skip
    if not rows:
        frame.empty("Nothing was paid to you yet. Credits come when an adapter gains from your accepted examples.",
                    page="contribute.py", label="Contribute")  # fmt: skip
        return
    table = pd.DataFrame(
        {
            "when": [frame.moment(r["at"]) for r in rows],
            "credits": [r["credits"] for r in rows],
            "balance": [r["balance"] for r in rows],
            "adapter": [r["adapter"] or "" for r in rows],
            "what": [WHAT.get(r["kind"], r["kind"]) for r in rows],
            "data": [f"{r['dataset']} v{r['version']}" if r["dataset"] else "" for r in rows],
            "my rows": [r["rows"] for r in rows],
            "value ± error": [f"{r['value']:.4f} ± {r['error']:.4f}" if r["value"] is not None else "" for r in rows],
            "method": [r["method"] for r in rows],
            "why": [r["reason"] or "" for r in rows],
        }
    )
    st.dataframe(table, hide_index=True)
    st.line_chart(table.sort_values("when"), x="when", y="balance", height=220)


def account(entry: dict) -> str:
    """Whose account an entry moved; a transaction that pays nobody has none."""
    if entry["person_id"]:
        held = ", held" if entry["account"].startswith("held:") else ""
        return frame.person_name({"name": entry["person"], "is_demo": entry["is_demo"]}) + held
    return entry["account"] or "nobody"


def public(db) -> None:
    """Every entry, newest first, and the proof."""
    if st.button("Verify everything now", icon=":material/verified_user:", type="primary"):
        bar = st.progress(0.0, "Replaying the ledger")
        try:
            report = verify.verify(db, progress=lambda share, words: bar.progress(share, words))
        except FactoryError as problem:
            frame.refuse(problem)
        else:
            bar.empty()
            st.success(f"All is as recorded: {report['transactions']} transactions, {report['examples']} examples, "
                       f"{report['versions']} frozen versions.", icon=":material/verified:")  # fmt: skip
    rows = ledger.entries(db, limit=500)
    if not rows:
        frame.empty("No transaction yet. The first one follows the first finished run.", page="train.py", label="Train")
        return
    table = pd.DataFrame(
        {
            "no": [r["transaction_id"] for r in rows],
            "when": [frame.moment(r["at"]) for r in rows],
            "what": [WHAT.get(r["kind"], r["kind"]) for r in rows],
            "account": [account(r) for r in rows],
            "credits": [r["credits"] for r in rows],
            "why": [r["reason"] for r in rows],
            "hash": [r["hash"][:12] for r in rows],
        }
    )
    st.dataframe(table, hide_index=True)
    number = st.selectbox("Receipt", sorted({r["transaction_id"] for r in rows}, reverse=True))
    receipt = ledger.receipt(db, number)
    st.download_button(
        "Download the receipt",
        json.dumps(receipt, indent=1, ensure_ascii=False),
        f"receipt-{number}.json",
        "application/json",
    )
    st.json(receipt, expanded=False)


with frame.page("Credits") as (db, person):
    shown = st.segmented_control("Part", ["My statement", "Public ledger", "Held"], default="My statement", key="part",
                                 required=True,
                                 bind="query-params", label_visibility="collapsed")  # fmt: skip
    if shown == "My statement":
        statement(db, person)
    elif shown == "Held":
        holding.everything(db, person)
    else:
        public(db)
        holding.totals(db)
