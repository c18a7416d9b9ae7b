"""One draft: its rows in a table that can be edited, and what would happen if it were sent."""

import time

import streamlit as st

from factory.base.errors import NotFound
from factory.intake import contributions, drafts
from pages import frame
from pages.parts import allowance, confirm, send, table, upload

FILTERS = {"all": "all", "refused": "refused", "hints": "hints", "clean": "clean", "to confirm": "to confirm",
           "edited": "mended", "dropped": "dropped"}  # fmt: skip

LONG = 300  # rows from which a bar shows how far the checking is


def find(db, person, wanted: str) -> dict | None:
    """The draft that the address names; a word on it when there is none."""
    if not wanted:
        return None
    try:
        return drafts.get(db, int(wanted) if frame.is_id(wanted) else 0, person=person)
    except NotFound as problem:
        frame.refuse(problem)
        del st.query_params["draft"]
        return None


def whole(db, dataset, person, draft) -> None:
    """Where the rows come from, the checking with its progress, the table, and sending."""
    with st.container(horizontal=True, vertical_alignment="center"):
        frame.within(
            "All drafts", "contribute.py", key="back", icon=":material/arrow_back:", way="File", dataset=draft["slug"]
        )
        st.space("stretch")
        if st.button(
            "Check again", icon=":material/refresh:", type="tertiary", help="Others may have offered the same since."
        ):
            st.session_state["check-again"] = draft["id"]
        with st.popover("Delete", icon=":material/delete:"):
            st.write("The draft and what you mended in it are gone then.")
            if st.button("Delete the draft", key="delete-draft"):
                drafts.delete(db, draft["id"], person=person)
                frame.done("The draft is deleted.")
                st.switch_page("contribute.py", query_params={"way": "File", "dataset": draft["slug"]})
    st.subheader(frame.plain(draft["file_name"] or f"Draft {draft['id']}"), anchor=False)
    about = st.empty()
    again = st.session_state.pop("check-again", None) == draft["id"]
    draft = checked(db, person, draft, again=again)
    read_as = f"Read as {draft['file_format']}: " if draft["file_format"] else ""
    into = f"For {dataset['title']}. {read_as}{upload.state(draft)}. {draft['note']}"
    about.caption(frame.plain(f"{into} Checked {frame.ago(draft['checked_at'])}."))
    if draft["to_confirm"]:
        confirm.whole(db, person, draft)
    rows(db, person, draft)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        send.whole(db, dataset, person, draft)
    with right:
        allowance.shown(contributions.allowance(db, dataset["id"], person))
        with st.expander("What belongs in it", icon=":material/menu_book:"):
            st.text(dataset["guidelines"])


def checked(db, person, draft, *, again: bool) -> dict:
    """The draft with every row judged; a bar while that takes time. Stopped, it goes on from there."""
    if st.session_state.get("stopped") == draft["id"]:
        if not st.button(f"Go on checking {draft['unchecked']:,} rows", icon=":material/play_arrow:", type="primary"):
            return draft
        del st.session_state["stopped"]
    place, began = st.empty(), time.monotonic()
    work, expected = (drafts.check_again, draft["rows"]) if again else (drafts.check, draft["unchecked"])
    if expected < LONG:
        return work(db, draft["id"], person=person)
    with place.container(border=True):
        bar = st.progress(0.0, f"Checking {expected:,} rows")
        st.button("Stop", icon=":material/stop:", on_click=stop, args=(draft["id"],))

    def tell(done: int, total: int) -> None:
        left = (time.monotonic() - began) / done * (total - done) if done else None
        bar.progress(done / total, f"Checking: {done:,} of {total:,} rows, {frame.lasting(left)} left")

    found = work(db, draft["id"], person=person, progress=tell)
    place.empty()
    return found


def stop(draft_id: int) -> None:
    """Leave the rest unchecked until somebody goes on."""
    st.session_state["stopped"] = draft_id


def rows(db, person, draft) -> None:
    """The table with its filters, and one row opened below it."""
    counts = {"all": draft["rows"], "to confirm": draft["to_confirm"]} | {
        name: draft[name] for name in ("refused", "hints", "clean", "edited", "dropped")
    }
    options = [name for name in FILTERS if counts[name] or name == "all"]
    if st.session_state.get("shown") not in options:
        st.session_state["shown"] = "all"
    shown = st.pills("Rows", options, key="shown", required=True, label_visibility="collapsed",
                     format_func=lambda name: f"{FILTERS[name]} {counts[name]:,}")  # fmt: skip
    pages = max(1, -(-counts[shown] // table.PER_PAGE))
    number = st.pagination(pages, key=f"page-{draft['id']}-{shown}") if pages > 1 else 1
    table.editor(db, person, draft, shown, number)
