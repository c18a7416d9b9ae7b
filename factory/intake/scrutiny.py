"""How much is asked before an example settles: more where its author has proven nothing yet, or the opposite of good.

Where more than a handful review, some may know each other, and two who agree on something beforehand must not settle it
between them. So an author below the dataset's `trusted_standing` needs one agreeing verdict more and greater certainty, and
what reviewers say is weighed against the author's record, with the benefit of the doubt: the upper end of the interval of
their rate of acceptance, and never more than half. Nobody is refused for a record; it takes more to be convinced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from factory.base import store
from factory.base.people import Person
from factory.intake import consensus, deals, reviewers, standing
from factory.intake.policy import Policy
from factory.intake.standing import Standing

CERTAIN, AT_LAST = 0.99, 0.95  # how probable an outcome has to be for an author not trusted yet; after the last verdict
LEAST_BEFORE = 0.05
HEARD_BY = 3  # people whom an appeal is dealt to at first
SECOND_LOOK = (0.9, 0.9)  # what an answer to an appeal is weighed as, twice: by somebody drawn, with the words of both
CONVINCED = 0.8  # how probable it has to be, with the answer, that the example is good
HEARD_FROM = 0.9  # the weight from which somebody answers appeals: that of a newcomer or nearly


@dataclass(frozen=True)
class Needed:
    """What settles an example: `quorum` agreeing verdicts, an outcome as probable as `confidence`.

    `good_before`: how probable it is that the row is good before any verdict; `at_last`: how probable acceptance, or that
    it is not to be accepted, has to be after as many verdicts as are asked for at most; less is a return.
    """

    quorum: int
    confidence: float
    good_before: float = 0.5
    at_last: float = 0.5


def needed(db: Database, example_id: int, policy: Policy) -> Needed:
    """What is asked for this example; in a workshop of up to eight reviewers, what the policy says for everybody."""
    usual = Needed(policy.quorum, policy.confidence)
    if policy.quorum < 2 or deals.part(deals.active(db), at_most=policy.quorum_at_most) >= 1:
        return usual
    author = store.row(db, "select person_id, dataset_id from examples where id = ?", example_id)
    assert author is not None
    return asked(standing.of(db, author["person_id"], author["dataset_id"]), policy)


def asked(author: Standing, policy: Policy) -> Needed:
    """What is asked for an example of an author with this standing, where many review.

    >>> known = Standing(accepted=95, decided=100, rate=0.95, lower=0.89, upper=0.98, provisional=False)
    >>> asked(known, Policy())
    Needed(quorum=2, confidence=0.75, good_before=0.5, at_last=0.5)
    >>> asked(Standing(2, 20, 0.1, 0.03, 0.3, False), Policy())
    Needed(quorum=3, confidence=0.99, good_before=0.3, at_last=0.95)
    """
    if author.lower >= policy.trusted_standing:
        return Needed(policy.quorum, policy.confidence)
    before = max(LEAST_BEFORE, min(0.5, author.upper))
    return Needed(policy.quorum + 1, max(policy.confidence, CERTAIN), before, AT_LAST)


def hears(db: Database, example_id: int, since: float, *, reviewer: Person, policy: Policy) -> bool:
    """Whether a reviewer answers an appeal made at `since`: where many review, a few are drawn whose verdicts weigh enough.

    One answer is against several verdicts, so it must not be anybody's choice who gives it. The longer an appeal waits, the
    more are asked.
    """
    many = deals.active(db)
    if deals.part(many, at_most=policy.quorum_at_most) >= 1:
        return True
    drawn = deals.drawn(db, "appeal", reviewer.id, example_id)
    waited = (store.now() - since) / standing.DAY_SECONDS
    asked = deals.asked(drawn, share=HEARD_BY / many, waited_days=waited, deadline_days=policy.appeal_days)
    return asked and reviewers.accuracy(db, reviewer.id).weight >= HEARD_FROM


def convinces(db: Database, example_id: int, verdicts: Sequence[tuple[str, consensus.Trust]], policy: Policy) -> bool:
    """Whether one answer to an appeal takes an example in against these verdicts, or only has others look anew.

    It does where few review and for authors who are trusted. Else it counts as two verdicts: not enough against three of
    people who are seldom wrong where nobody, or only one, accepted.
    """
    asked_for = needed(db, example_id, policy)
    if asked_for.quorum == policy.quorum:
        return True
    heard = [*verdicts, ("accept", SECOND_LOOK), ("accept", SECOND_LOOK)]
    return consensus.probabilities(heard, asked_for.good_before)["accept"] >= CONVINCED
