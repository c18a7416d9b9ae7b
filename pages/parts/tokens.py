"""What the model will see: rows as tokens in colour; the gates and sums stand in `gates`."""

import html

import streamlit as st

from factory.training import tokenising, tokens
from pages import frame
from pages.parts import gates
from pages.parts.gates import go

# Underlined, boxed and struck through as well as coloured: it must be told apart without colours, on light and on dark.
STYLE = """<style>
.seen {font-family: "Source Code Pro", monospace; font-size: .85rem; line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere}
.seen span {padding: 1px 0; box-decoration-break: clone; box-shadow: inset -1px 0 0 rgba(128, 128, 128, .4)}
.seen .trained {background: rgba(0, 158, 115, .20); border-bottom: 2px solid #009e73}
.seen .special {outline: 1px dashed rgba(204, 121, 167, .9); outline-offset: -1px; background: rgba(204, 121, 167, .14)}
.seen .cut {text-decoration: line-through; opacity: .5; background: none}
</style>"""  # noqa: E501
LEGEND = (
    '<span class="trained">trained on</span> · <span class="special">sign of the template</span> · '
    '<span class="trained special">such a sign, trained on</span> · <span class="cut">cut off</span> · only read'
)
MOST_SHOWN = 3000


def coloured(row: list[tokens.Token]) -> str:
    """A row's tokens as HTML; their words are text and nothing else. The number of a token shows under the pointer."""
    spans = []
    for token in row[:MOST_SHOWN]:
        kinds = " ".join(kind for kind in ("trained", "special", "cut") if getattr(token, kind))
        spans.append(f'<span class="{kinds}" title="{token.id}">{html.escape(tokens.visible(token.text))}</span>')
    return f'{STYLE}<div class="seen">{"".join(spans)}</div>'


def show(db, person, version, recipe) -> None:
    """A part of the wizard that opens: nothing is tokenised before somebody looks."""
    part = st.expander("What the model will see", icon=":material/data_object:", key="tokens", on_change="rerun")
    if not part.open:
        return
    with part, frame.trying():
        name = tokenising.begin(db, frame.settings(), version_id=version["id"], recipe=recipe, person=person)
        view = tokens.find(frame.settings(), name)
        if view is None:
            making(name)
            return
        gates.sums(view, recipe)
        one_row(name, recipe)


@st.fragment(run_every=0.5)
def making(name) -> None:
    """How far the tokenising is, in its own process; when it is there, the page is drawn anew."""
    now = tokenising.look(frame.settings(), name)
    if now.state == "running":
        st.progress(now.done / now.of if now.of else 0.0, f"Tokenising: row {now.done:,} of {now.of:,}" if now.of else
                    "Loading the tokenizer, a few seconds")  # fmt: skip
        if st.button("Stop", key="tokens-stop"):
            tokenising.stop(frame.settings(), name)
    elif now.state == "ready":
        st.rerun()
    else:
        st.error(frame.plain(now.words or "Tokenising was stopped."), icon=":material/error:")
        if st.button("Try again", key="tokens-again"):
            st.rerun()


@st.fragment
def one_row(name, recipe) -> None:
    """One row in colour, and ways to others."""
    view, most = tokens.find(frame.settings(), name), recipe.max_length
    count = len(view.example_ids)
    at = min(st.session_state.get("token-place", 0), count - 1)
    draws = st.session_state.get("token-draws", 0)
    wrong = {place for places in tokens.failing(view, max_length=most).values() for place in places}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Previous", icon=":material/chevron_left:", disabled=at == 0, on_click=go, args=(at - 1,))
        st.button("Next", icon=":material/chevron_right:", disabled=at == count - 1, on_click=go, args=(at + 1,))
        st.button("First", on_click=go, args=(0,))
        st.button("Longest", on_click=lambda: go(tokens.pick(view, "longest", max_length=most)))
        if st.button("Random", icon=":material/shuffle:"):
            st.session_state["token-draws"] = draws + 1
            go(tokens.pick(view, "random", max_length=most, seed=recipe.seed + draws))
            st.rerun(scope="fragment")
        words = f"With a problem ({len(wrong)})"
        st.button(words, disabled=not wrong, on_click=lambda: go(tokens.pick(view, "problem", max_length=most, after=at)))
        typed = st.text_input("Row by its id", placeholder="id", width=110)
        if frame.is_id(typed) and typed != st.session_state.get("token-typed"):
            st.session_state["token-typed"] = typed
            go(tokens.place_of(view, int(typed)))
            st.rerun(scope="fragment")
    row = tokens.row(view, at, max_length=most)
    trained, cut = sum(token.trained for token in row), sum(token.cut for token in row)
    st.caption(f"Row {view.example_ids[at]}, {at + 1} of {count} · {len(row):,} tokens, {trained:,} trained on, {cut:,} cut")
    for words in tokens.troubles(view, at, max_length=most):
        st.warning(frame.plain(words), icon=":material/error:")
    st.html(f'{STYLE}<div class="seen">{LEGEND}</div>')
    st.html(coloured(row))
    if len(row) > MOST_SHOWN:
        st.caption(f"The first {MOST_SHOWN:,} tokens are shown; `python -m factory tokens` prints them all.")
