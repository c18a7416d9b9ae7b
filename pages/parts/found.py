"""One search: its state and time left, and what can be done with the best."""

import streamlit as st

from factory.training import runs, searches
from pages import frame
from pages.parts import trials


def whole(db, person, search_id: int) -> None:
    """Everything about a search; what moves is drawn anew by itself."""
    search = searches.get(db, search_id)
    st.header(frame.plain(search["name"]), anchor=False)
    data = f"{search['dataset_title']}, version {search['version_number']} · {search['recipe'].base_model}"
    st.caption(frame.plain(f"{data} · {search['display_name']}, {frame.ago(search['at'])}"))
    if search["status"] == "running":
        if st.button("Stop the search", icon=":material/stop_circle:"):
            with frame.trying():
                searches.stop(db, search_id, person=person)
                frame.done("The search is stopped; what it found stays.")
                st.rerun()
        live(search_id, (search["best"] or {}).get("number"))
    else:
        drawn(search)
    if search["best"]:
        the_best(db, person, search)


@st.fragment(run_every=2)
def live(search_id: int, best: int | None) -> None:
    """The moving part; with the search the polling ends, and another best is shown below by drawing the page anew."""
    with frame.store.connect(frame.settings()) as db:
        search = searches.get(db, search_id)
        drawn(search)
    if search["status"] != "running" or (search["best"] or {}).get("number") != best:
        st.rerun()


def drawn(search) -> None:
    """State, progress, plots and the table of trials."""
    with st.container(horizontal=True, vertical_alignment="center"):
        frame.state(search["status"])
        st.caption(frame.plain(search["words"]))
    share, left = searches.progress(search)
    if search["status"] == "running":
        ends = f", about {frame.lasting(left)} left" if left is not None else ""
        ended = sum(trial["status"] != "running" for trial in search["trials"])
        st.progress(share, f"{ended} of at most {frame.count(search['plan'].trials, 'trial')} ended{ends}")
    if not search["trials"]:
        st.info("The first trial begins when no run waits and a worker is at work.", icon=":material/hourglass_top:")
        return
    trials.plots(search)
    trials.table(search)


def the_best(db, person, search) -> None:
    """Keep the best recipe as a preset, or train it in full."""
    best = search["best"]
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in best["settings"].items())
    with st.container(border=True):
        so_far = " so far" if search["status"] == "running" else ""
        st.markdown(f"**Best{so_far}: trial {best['number']}**, held-out loss {best['value']:.4f}")
        st.caption(frame.plain(settings))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("Name of the preset", f"best of search {search['id']}", max_chars=40, key="preset-name")
            with frame.trying():
                if st.button("Keep as a preset", icon=":material/bookmark_add:"):
                    searches.keep_best(db, search["id"], name, person=person)
                    frame.done("Kept. It stands beside the other presets on the page Train.")
                    st.rerun()
                if st.button("Train the best in full", type="primary", icon=":material/play_arrow:"):
                    run_id = searches.train_best(db, search["id"], person=person, settings=frame.settings())
                    frame.done(f"Run {runs.get(db, run_id)['name']} is in the queue.")
                    st.switch_page("runs.py", query_params={"run": str(run_id)})
