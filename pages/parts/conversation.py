"""Talking to base and adapter side by side."""

import streamlit as st

from factory.adapters import talk
from factory.training import device, runs
from pages import frame
from pages.parts import queue


def who_computes(db, person) -> None:
    """Say that a run makes answers slow, with the button that asks it to make way."""
    holder = device.holder(frame.settings())
    if holder is not None and holder.kind == device.RUN:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f":material/hourglass_top: {frame.plain(holder.words)}; answers will be slow.")
            queue.free_it(db, person, holder.run_id, key="free-for-chat")


def side_by_side(db, adapter, person) -> None:
    """Base and adapter answer the same question side by side, streamed, from a process of their own."""
    settings = frame.settings()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        heat = st.slider("Temperature", 0.0, 1.5, 0.0, 0.1, key="heat", width=220)
        length = st.slider("Longest answer (tokens)", 16, 512, 96, 16, key="length", width=220)
        if st.button("Free the memory", icon=":material/memory:", help="Ends the process that holds the model."):
            frame.done("The model's memory is free." if talk.free(settings) else "No model was loaded.")
            st.rerun()
    who_computes(db, person)
    question = st.chat_input("Ask both the same thing", max_chars=4000)
    if not question:
        st.caption("Every question stands alone. The first answer takes some seconds more: the model is loaded then.")
        return
    prompt = runs.get(db, adapter["run_id"])["recipe"].system_prompt
    system = [{"role": "system", "content": prompt}] if prompt else []  # both are asked in the very same way
    with st.chat_message("user"):
        st.text(question)
    for column, title, adapter_id in zip(st.columns(2), ("Base", "Adapter"), (None, adapter["id"]), strict=True):
        with column.container(border=True):
            st.caption(title)
            place, words = st.empty(), ""
            place.text("…")
            messages = [*system, {"role": "user", "content": question}]
            pieces = talk.stream(settings, adapter_id=adapter_id, model_name=adapter["model_name"], messages=messages,
                                 max_tokens=length, temperature=heat, seed=0)  # fmt: skip
            for piece in pieces:
                words += piece
                place.text(words)
