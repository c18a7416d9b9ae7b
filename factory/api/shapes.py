"""What goes in and out of the HTTP API, as pydantic models: the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Rows(BaseModel):
    """Conversations, each a list of messages: perhaps one from the system, then user and assistant in turns."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "rows": [
                        [
                            {"role": "user", "content": "What does `math.gcd` do?"},
                            {"role": "assistant", "content": "It returns the greatest common divisor."},
                        ]
                    ]
                }
            ]
        }
    )
    rows: list[list[Message]] = Field(min_length=1, max_length=10_000)


class OneRow(BaseModel):
    """One conversation."""

    messages: list[Message] = Field(min_length=1, max_length=1_000)


class Offer(Rows):
    """Rows to submit, and under what terms."""

    licence: str = Field(description="An SPDX identifier that fits the dataset's licence.")
    mine_to_give: bool = Field(description="You say that you may give these rows under that licence.")


class Verdict(BaseModel):
    """What a reviewer says of an example; `reason` is a key of the closed list, needed unless it is accepted."""

    decision: Literal["accept", "return", "reject"]
    reason: str | None = None
    note: str = ""
    seconds: float | None = None


class Words(BaseModel):
    """A few words why."""

    words: str = ""


class Answer(Words):
    """The answer to a dispute."""

    answer: Literal["upheld", "struck"]


class Found(BaseModel):
    """What a check found in a row."""

    code: str
    refuses: bool
    sentence: str
    evidence: dict[str, Any] = {}


class JudgedRow(BaseModel):
    """What would become of a row. `position` counts from 0; `quota_ok` is false for what today's allowance leaves out."""

    position: int
    refused: bool
    quota_ok: bool
    findings: list[Found]


class Allowance(BaseModel):
    """How much you may still submit today, and why."""

    limit: int
    used: int
    left: int
    because: str
    next_step: str


class Preflight(BaseModel):
    """Every row's verdict, with nothing written and no quota spent."""

    good: int
    allowance: Allowance
    rows: list[JudgedRow]


class Submitted(BaseModel):
    """What became of a submission; `example_ids` are the rows that were kept, in their order."""

    id: int
    accepted_for_review: int
    refused: int
    example_ids: list[int]
    rows: list[JudgedRow]


class Dataset(BaseModel):
    """A dataset with its counts of examples by state."""

    id: int
    slug: str
    title: str
    purpose: str
    guidelines: str
    licence: str
    is_demo: bool
    accepted: int
    waiting: int
    refused: int
    people: int
    versions: int


class Version(BaseModel):
    """A frozen version; `root` is the Merkle root over its rows in their order, `held_out_root` that of its held-out set."""

    id: int
    slug: str
    number: int
    root: str
    row_count: int
    held_out_root: str | None
    licence: str
    note: str
    frozen_at: float


class VersionRow(BaseModel):
    """One row of a frozen version."""

    position: int
    example_id: int
    messages: list[Message]


class Source(BaseModel):
    """A further version to mix in: how often its rows come in an epoch is its weight."""

    dataset: str
    version: int | None = None
    weight: float = 1.0


class NewRun(BaseModel):
    """What to train: a dataset, one of its versions (default: the newest), and what differs from a preset."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dataset": "capitals", "preset": "quick try", "recipe": {"rank": 16}}]}
    )
    dataset: str
    version: int | None = None
    weight: float = 1.0
    more: list[Source] = Field(default=[], description="Further versions, mixed with the first one's rows.")
    preset: str | None = None
    recipe: dict[str, Any] = Field(default={}, description="Settings as `GET /recipes` lists them.")
    name: str = ""
    anyway: bool = Field(default=False, description="Queue it even if it does not fit this machine.")


class Compared(BaseModel):
    """One line of the estimate beside what came of it; `measured` and `error_percent` are null before the end."""

    what: str
    predicted: float
    measured: float | None
    error_percent: float | None


class Run(BaseModel):
    """A training run. Moments are seconds since 1970."""

    id: int
    name: str
    status: str
    stage: str
    version_id: int
    model_name: str
    steps_done: int
    steps_total: int | None
    queued_at: float
    started_at: float | None
    ended_at: float | None
    error: str | None
    recipe: dict[str, Any]
    predicted_against_measured: list[Compared]


class Adapter(BaseModel):
    """A kept adapter with its newest evaluation; losses in nats per label token, `difference` is tuned minus base."""

    id: int
    name: str
    run_id: int
    model_name: str
    slug: str
    version: int
    version_root: str
    sha256: str
    bytes: int
    base_loss: float | None
    tuned_loss: float | None
    difference: float | None
    low: float | None
    high: float | None


class Export(BaseModel):
    """A file made of an adapter; `verified`: loaded back, it gave the same greedy tokens."""

    id: int
    kind: str
    sha256: str
    bytes: int
    verified: bool


class Me(BaseModel):
    """Who you are here."""

    id: int
    name: str
    display_name: str
    roles: list[str]


class Refusal(BaseModel):
    """Why a request was refused: one sentence, and every reason where there are several."""

    error: str
    problems: list[str] = []
