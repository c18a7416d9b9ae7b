"""The first question and the last answer of a conversation, as a table shows and changes them."""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, Any]]


def question(messages: Messages | None) -> str:
    """What the user says first, or "".

    >>> question([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}])
    'Why?'
    """
    return next((str(turn.get("content") or "") for turn in messages or [] if turn.get("role") == "user"), "")


def answer(messages: Messages | None) -> str:
    """What the assistant says last, or "".

    >>> answer([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}])
    'So.'
    """
    said = [str(turn.get("content") or "") for turn in messages or [] if turn.get("role") == "assistant"]
    return said[-1] if said else ""


def with_words(messages: Messages | None, *, question: str, answer: str) -> Messages:
    """The same conversation with another first question and last answer; what is missing of the two is added.

    >>> with_words(None, question="Why?", answer="So.")
    [{'role': 'user', 'content': 'Why?'}, {'role': 'assistant', 'content': 'So.'}]
    """
    changed = [dict(turn) for turn in messages or []]
    asking = next((turn for turn in changed if turn.get("role") == "user"), None)
    answering = next((turn for turn in reversed(changed) if turn.get("role") == "assistant"), None)
    if asking is None:
        asking = {"role": "user"}
        changed.insert(1 if changed and changed[0].get("role") == "system" else 0, asking)
    if answering is None:
        answering = {"role": "assistant"}
        changed.append(answering)
    asking["content"], answering["content"] = question, answer
    return changed
