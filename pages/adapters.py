"""Adapters: what each gained over its base, whose examples did it, a talk with both, and the export."""

import streamlit as st

from factory.adapters import cards, kept
from factory.adapters import withdrawn as taken_back
from pages import frame
from pages.parts import adapter as parts
from pages.parts import conversation, withdrawn


def gallery(db) -> None:
    """All adapters as cards."""
    search = st.text_input("Find", key="search", bind="query-params", type="search", label_visibility="collapsed",
                           placeholder="Find an adapter, a dataset, a model, a person")  # fmt: skip
    rows = kept.listing(db, search=search, limit=60)
    if not rows:
        frame.empty("No adapter here yet. A finished run leaves one.", page="train.py", label="Train one")
        return
    columns, gone = st.columns(3), taken_back.marks(db, [row["id"] for row in rows])
    for place, row in enumerate(rows):
        with columns[place % 3].container(border=True):
            words = f"**{frame.plain(row['name'])}**"
            frame.within(words, "adapters.py", key=f"card-{row['id']}", icon=":material/extension:", adapter=str(row["id"]))
            if row["difference"] is not None:
                change = f"{row['difference'] / row['base_loss']:+.1%}"
                st.metric("Held-out loss, against the base", f"{row['tuned_loss']:.3f}", change, delta_color="inverse")
            st.caption(
                frame.plain(
                    f"{row['title']} v{row['version']} · {row['bytes'] / 2**20:.1f} MiB · {frame.ago(row['kept_at'])}"
                )
            )
            withdrawn.on_card(gone.get(row["id"], 0))


with frame.page("Adapters") as (db, person):
    wanted = st.query_params.get("adapter", "")
    if not frame.is_id(wanted):
        gallery(db)
    else:
        adapter = kept.get(db, int(wanted))
        frame.within("All adapters", "adapters.py", key="back", icon=":material/arrow_back:")
        st.header(frame.plain(adapter["name"]), anchor=False)
        st.caption(
            frame.plain(
                f"{adapter['title']}, version {adapter['version']} · {adapter['model_name']} · by {adapter['person']}"
            )
        )
        withdrawn.mark(taken_back.of_adapter(db, adapter["id"]))
        part = st.segmented_control("Part", ["Result", "Credit", "Talk", "Card", "Export"], default="Result", key="part",
                                    required=True, bind="query-params", label_visibility="collapsed")  # fmt: skip
        if part == "Result":
            parts.result(db, adapter)
            link = {"run": str(adapter["run_id"])}
            st.page_link("runs.py", label="The run that made it", query_params=link, icon=":material/monitoring:")
        elif part == "Credit":
            parts.shares(db, adapter)
        elif part == "Talk":
            conversation.side_by_side(db, adapter, person)
        elif part == "Card":
            st.code(cards.card(db, adapter["id"]), language="markdown", wrap_lines=True)
        else:
            parts.export(db, adapter, person)
