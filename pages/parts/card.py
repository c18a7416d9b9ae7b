"""The launch card: what a choice takes on this machine, how sure that is, a preflight of it, and the start."""

import streamlit as st

from factory import charts
from factory.base.errors import Invalid
from factory.training import fitting, forecast, preflight, recipes, runs
from pages import frame
from pages.parts import sliders, start

FITS = {"fits": ("green", "fits this machine"), "tight": ("orange", "tight on this machine"), "no": ("red", "does not fit")}
PARTS = {"libraries": "Python and libraries", "weights": "weights", "adapter": "adapter, gradients, optimizer",
         "activations": "activations of the longest pack", "logits": "logits"}  # fmt: skip
BARE = {"displayModeBar": False}


def show(db, person, version, more, recipe, problems) -> None:
    """What this choice takes on this machine, a preflight of it, and the start button."""
    st.subheader("4 · Check and start", anchor=False)
    if problems:
        frame.refuse(Invalid(problems))
        return
    mixed = {"weight": version.get("weight", 1.0), "more": [(other["id"], other["weight"]) for other in more]}
    guess = runs.estimate_for(db, frame.settings(), version_id=version["id"], recipe=recipe, **mixed)
    figures(guess, recipe)
    mend(db, version, recipe, guess, mixed)
    sliders.advise(recipe, version)
    for sentence in guess.notes:
        st.warning(sentence, icon=":material/lightbulb:")
    tried(db, person, {"version_id": version["id"], **mixed}, recipe, guess)
    rates = recipes.planned_rates(recipe, guess.steps)
    st.plotly_chart(charts.schedule(rates), key="schedule", config=BARE)
    start.offer(db, person, (version, *more), recipe, mixed, may=guess.fits != "no")


def figures(guess, recipe) -> None:
    """Memory by what it is for, time with its range, disk, and how sure all that is."""
    colour, words = FITS[guess.fits]
    st.badge(words, color=colour)
    st.markdown(
        f"**Memory** about {guess.memory_bytes / 2**30:.1f} GiB of {guess.memory_available_bytes / 2**30:.1f} GiB free"
    )
    st.plotly_chart(
        charts.memory(guess.memory_parts, available=guess.memory_available_bytes), key="memory-parts", config=BARE
    )
    st.caption("From left: " + ", ".join(f"{PARTS[name]} {size / 2**30:.2f}" for name, size in guess.memory_parts.items()))
    left, right = st.columns(2)
    left.metric("Time", frame.lasting(guess.seconds))
    left.caption(f"{frame.lasting(guess.seconds_low)} to {frame.lasting(guess.seconds_high)}")
    right.metric("Disk", f"{guess.disk_bytes / 2**20:,.0f} MiB")
    adapter, merged = (guess.disk_parts[name] / 2**20 for name in ("adapter", "merged"))
    right.caption(f"states kept; then {adapter:,.0f} MiB for the adapter, {merged:,.0f} MiB for each merged copy")
    st.caption(guess.sure)
    st.caption(
        f"{guess.steps} steps · {guess.tokens_per_epoch:,} tokens an epoch · {recipe.effective_batch} rows a step ·"
        f" about {guess.tokens_per_second:,.0f} tokens a second"
    )


def mend(db, version, recipe, guess, mixed) -> None:
    """Where it does not fit: the smallest change after which it does, one click away."""
    if guess.fits != "no":
        return
    change = forecast.change_that_fits(db, frame.settings(), version_id=version["id"], recipe=recipe, **mixed)
    st.error(fitting.sentence(guess, change), icon=":material/memory_alt:")
    if change:
        st.button("Make it fit", icon=":material/build:", on_click=sliders.begin_with, args=(change.recipe,))


def tried(db, person, data, recipe, guess) -> None:
    """A preflight: offered, under way with a way to stop it, or what it found; `data` as `runs.create` takes it."""
    about = preflight.state(frame.settings())
    if about and about["under_way"]:
        trying()
        return
    if about:
        st.warning(frame.plain(about["ended"]), icon=":material/error:")
        st.button("Understood", key="preflight-read", on_click=preflight.clear, args=(frame.settings(),))
    found = preflight.found(db, frame.settings(), recipe=recipe, **data) if guess.measured else None
    if found:
        st.success(found["verdict"], icon=":material/flight_takeoff:")
    elif guess.steps and st.button(
        f"Try the longest batch first (about {preflight.SECONDS} s)", icon=":material/flight_takeoff:", width="stretch",
        help="Trains a few steps on the longest rows in a process of its own and keeps nothing but what it measured.",
    ):  # fmt: skip
        with frame.trying():
            preflight.begin(db, frame.settings(), recipe=recipe, person=person, **data)
            st.rerun()


@st.fragment(run_every=1)
def trying() -> None:
    """The preflight that is under way; when it has ended, the whole card is drawn anew."""
    about = preflight.state(frame.settings())
    if not (about and about["under_way"]):
        st.rerun()
        return
    st.progress(about["share"], f"Trying the longest batch: {frame.plain(about['words'])}")
    with frame.store.connect(frame.settings()) as db:
        person = frame.visitor(db)
    if person and st.button("Stop it", key="preflight-stop", icon=":material/stop_circle:"):
        with frame.trying():
            preflight.stop(frame.settings(), person=person)
            st.rerun()
