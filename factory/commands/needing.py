"""Commands about what a dataset needs: map, and the board with its bounties."""

from __future__ import annotations

import argparse

from factory import terminal
from factory.commands.desk import Desk, say
from factory.credit import bounties, needs, rewards
from factory.intake import datasets, mapping, maps
from factory.terminal import table


def draw_map(desk: Desk, arguments: argparse.Namespace) -> None:
    """Draw the map of a dataset's newest version, unless it is there."""
    dataset = datasets.get(desk.db, arguments.slug)
    with terminal.bars(quiet=desk.json or arguments.progress_to is not None) as tell:
        map_id = mapping.alone(desk.db, desk.settings, dataset["id"], progress_to=arguments.progress_to, tell=tell)
    found = maps.topics_of(desk.db, map_id)
    drawn = maps.get(desk.db, map_id)
    shown = [{**topic, "more": ", ".join(topic["words"])} for topic in found]
    words = f"{arguments.slug}: {drawn['row_count']:,} rows in"
    words += f" {len(found)} topic{'s' * (len(found) != 1)}; {drawn['point_count']:,} are drawn."
    lines = [words, table(sorted(shown, key=lambda topic: -topic["rows"]), ["number", "rows", "people", "more"])]
    say(desk, {**drawn, "topics": found}, "\n".join(lines))


def board(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say what a dataset needs now."""
    found = needs.board(desk.db, datasets.get(desk.db, arguments.slug)["id"])
    if found["map"] is None:
        return say(desk, found, f"{arguments.slug} has no map yet; `map {arguments.slug}` draws one of its newest version.")
    rows = [
        {
            **topic,
            "thin": "thin" if topic["thin"] else "",
            "failing": f"{topic['failing']} of {topic['questions']}" if topic["failing"] is not None else "",
            "credits": topic["credits"] or "",
        }
        for topic in found["topics"]
    ]
    columns = ["number", "name", "rows", "thin", "missing", "failing", "worse", "credits", "wanted"]
    about = f"Version {found['map']['version']}, {found['map']['row_count']:,} rows."
    judged = f" The latest adapter on its held-out rows is {found['adapter']['name']}." if found["adapter"] else ""
    say(desk, found, "\n".join([about + judged, table(rows, columns), *found["rules"]]))
    return None


def bounty_open(desk: Desk, arguments: argparse.Namespace) -> None:
    """Promise credits for the next accepted rows of a topic."""
    dataset = datasets.get(desk.db, arguments.slug)
    bounty_id = bounties.open_one(
        desk.db, dataset["id"], arguments.topic, person=desk.person, rows=arguments.rows, credits_each=arguments.credits,
        days=arguments.days, words=arguments.words, from_pot=arguments.from_pot, most_per_person=arguments.most_per_person,
    )  # fmt: skip
    made = bounties.get(desk.db, bounty_id)
    say(desk, made, f"Bounty {bounty_id} on {made['name']}: {made['credits_left']:,.2f} credits are reserved for it.")


def bounty_list(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the bounties, newest first."""
    dataset_id = datasets.get(desk.db, arguments.dataset)["id"] if arguments.dataset else None
    found = bounties.listing(desk.db, dataset_id=dataset_id, open_only=arguments.open)
    columns = ["id", "slug", "name", "credits_each", "paid_rows", "rows_left", "opened_by_name", "state"]
    say(desk, found, table(found, columns) or "No bounty is here; `bounty open` promises credits for a topic.")


def bounty_end(desk: Desk, arguments: argparse.Namespace) -> None:
    """End a bounty early."""
    ended = rewards.end_early(desk.db, arguments.bounty, person=desk.person, reason=arguments.reason)
    back = f"{ended['credits_left']:,.2f} credits wait for rows that came in time" if not ended["ended_at"] else "it is over"
    say(desk, ended, f"Bounty {ended['id']} takes no more rows; {back}.")


def bounty_give(desk: Desk, arguments: argparse.Namespace) -> None:
    """Give credits to a dataset's pot."""
    dataset = datasets.get(desk.db, arguments.slug)
    transaction = bounties.give(desk.db, dataset["id"], person=desk.person, credits=arguments.credits)
    say(desk, {"transaction_id": transaction}, f"The pot of {dataset['slug']} has {arguments.credits:g} credits more.")


def bounty_settle(desk: Desk, arguments: argparse.Namespace) -> None:
    """Pay and end bounties as their rules say."""
    done = rewards.settle(desk.db)
    kinds = {kind: sum(one["kind"] == kind for one in done) for kind in ("reward", "return")}
    say(desk, done, f"{kinds['reward']} rows were paid; {kinds['return']} bounties gave back what was left.")
