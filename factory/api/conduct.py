"""Routes about sanctions and reports: the public log, appeals and their answers, the moderators' queue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from factory.api.caller import Limit, Offset, Store, Who
from factory.credit import freezes
from factory.intake import reports, sanctions

routes = APIRouter(tags=["conduct"])
State = Literal["active", "over", "lifted", "overturned", "unanswered"]


class Words(BaseModel):
    """Why; everybody can read it."""

    words: str = Field(max_length=sanctions.MOST_WORDS)


class Answer(Words):
    """The answer to an appeal."""

    answer: Literal["upheld", "overturned"]


class What(Words):
    """What is decided: the kind, a reason of the closed list, what happened, for how long, and rows that show it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "no_submitting", "reason": "spam", "words": "Forty rows of letters.", "days": 7, "examples": [12]}
            ]
        }
    )  # fmt: skip
    kind: Literal["warning", "no_submitting", "no_reviewing", "paused"]
    reason: str
    days: Annotated[float, Field(gt=0)]
    examples: list[int] = Field(default=[], max_length=sanctions.MOST_ROWS)


class Sanction(What):
    """A sanction and whom it is about, by name."""

    name: str


class Report(Words):
    """A row, or else a person by name, that should be looked at, with a reason of the closed list."""

    reason: str
    example_id: int | None = None
    name: str | None = None


@routes.get("/sanctions", summary="The public log of sanctions, newest first")
def log(db: Store, person: Who, state: State | None = None, limit: Limit = 50, offset: Offset = 0) -> list[dict[str, Any]]:
    return sanctions.log(db, state=state, limit=limit, offset=offset)


@routes.get("/sanctions/reasons", summary="The closed lists: kinds with their longest days, and reasons")
def reasons(person: Who) -> dict[str, Any]:
    return {"kinds": {kind: days for kind, (_, days) in sanctions.KINDS.items()}, "reasons": sanctions.REASONS}


@routes.get("/me/notices", summary="What holds against you or is held of yours now, with the next step")
def notices(db: Store, person: Who) -> dict[str, Any]:
    return {"sanctions": sanctions.notices(db, person), "held": freezes.notices(db, person)}


@routes.get("/sanctions/{sanction_id}", summary="One sanction with its appeal and what became of it")
def show(sanction_id: int, db: Store, person: Who) -> dict[str, Any]:
    return sanctions.get(db, sanction_id)


@routes.post("/sanctions", summary="Sanction somebody", status_code=201)
def impose(said: Sanction, db: Store, person: Who) -> dict[str, Any]:
    about = said.model_dump(exclude={"name"})
    return sanctions.get(db, sanctions.impose(db, said.name, by=person, **about))


@routes.post("/sanctions/{sanction_id}/appeal", summary="Appeal against a sanction of yours", status_code=201)
def appeal(sanction_id: int, said: Words, db: Store, person: Who) -> dict[str, Any]:
    sanctions.appeal(db, sanction_id, person=person, words=said.words)
    return sanctions.get(db, sanction_id)


@routes.post("/sanctions/{sanction_id}/answer", summary="Answer an appeal against somebody else's decision")
def answer(sanction_id: int, said: Answer, db: Store, person: Who) -> dict[str, Any]:
    sanctions.answer(db, sanction_id, by=person, answer=said.answer, words=said.words)
    return sanctions.get(db, sanction_id)


@routes.post("/sanctions/{sanction_id}/lift", summary="End a sanction before its date")
def lift(sanction_id: int, said: Words, db: Store, person: Who) -> dict[str, Any]:
    sanctions.lift(db, sanction_id, by=person, words=said.words)
    return sanctions.get(db, sanction_id)


@routes.post("/reports", summary="Say that a row or a person should be looked at", status_code=201)
def report(said: Report, db: Store, person: Who) -> dict[str, int]:
    about = {"reason": said.reason, "words": said.words, "example_id": said.example_id, "who": said.name}
    return {"report_id": reports.report(db, by=person, **about)}  # type: ignore[arg-type]


@routes.get("/reports", summary="What waits for a moderator who is not involved: reports and appeals")
def queue(db: Store, person: Who, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
    waiting = reports.queue(db, by=person, limit=limit, offset=offset)
    return {"reports": waiting, "appeals": sanctions.open_appeals(db, by=person)}


@routes.get("/reports/mine", summary="Your own reports and their answers")
def mine(db: Store, person: Who) -> list[dict[str, Any]]:
    return reports.mine(db, person)


@routes.post("/reports/{report_id}/dismiss", summary="Answer a report without a sanction")
def dismiss(report_id: int, said: Words, db: Store, person: Who) -> dict[str, int]:
    reports.dismiss(db, report_id, by=person, words=said.words)
    return {"report_id": report_id}


@routes.post("/reports/{report_id}/act", summary="Answer a report with a sanction", status_code=201)
def act(report_id: int, said: What, db: Store, person: Who) -> dict[str, Any]:
    return sanctions.get(db, reports.act(db, report_id, by=person, **said.model_dump()))
