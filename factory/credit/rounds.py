"""What a worker sees to beside trainings: bounties are settled, and new versions get their map."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import FactoryError
from factory.base.settings import Settings
from factory.credit import rewards
from factory.intake import mapping, maps
from factory.training import runs

FIRST_SECONDS, EVERY_SECONDS = 60.0, 600.0


def forever(settings: Settings, stop: threading.Event) -> None:
    """A round a minute from now and then every ten minutes, until `stop`; for a thread of its own."""
    wait = FIRST_SECONDS
    while not stop.wait(wait):
        wait = EVERY_SECONDS
        with suppress(sqlite3.OperationalError, FactoryError), store.connect(settings) as db:  # busy or full: the next round
            one_round(db, settings)


def one_round(db: Database, settings: Settings) -> None:
    """Settle bounties; while nothing trains, begin the map of one version that has none and did not fail before."""
    rewards.settle(db)
    if runs.listing(db, status="running", limit=1):
        return
    for dataset in store.rows(db, "select distinct dataset_id as id from dataset_versions order by 1 desc"):
        if maps.due(db, dataset["id"]) and mapping.look(db, settings, dataset["id"]).state == "none":
            mapping.begin(db, settings, dataset["id"], person=people.maintainer(db))
            return
