"""Conversations written out as text: the marks by which people and templates tell who speaks."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

# Each pair of marks opens a turn of the user and one of the assistant; a text follows one of these manners throughout.
_LINE = r"^[ \t>*_]*(?:{})[ \t]*\d{{0,4}}[ \t*_]*[:：][*_]*[ \t]*"
_ASKS = "q|question|frage|user|human|prompt|instruction|you|me|问|質問"
_SAYS = "a|answer|antwort|assistant|ai|bot|gpt|chatgpt|model|response|completion|output|答|回答"
MANNERS: tuple[tuple[str, str, str, str], ...] = (  # system, user, assistant, what ends a turn
    (r"<\|im_start\|>system\n", r"<\|im_start\|>user\n", r"<\|im_start\|>assistant\n", r"<\|im_end\|>"),
    (r"<\|system\|>\n?", r"<\|user\|>\n?", r"<\|assistant\|>\n?", r"</s>|<\|end\|>"),
    (r"<<SYS>>(?=[^<]*<</SYS>>)", r"<</SYS>>|\[INST\](?!\s*<<SYS>>)", r"\[/INST\]", r"</s>|\[INST\](?=\s*<<SYS>>)"),
    (
        r"^### System:\s*",
        r"^### (?:Instruction|Human|User|Question):\s*",
        r"^### (?:Response|Assistant|Answer):\s*",
        r"</s>",
    ),
    (_LINE.format("system"), _LINE.format(_ASKS), _LINE.format(_SAYS), r"</s>"),
)
_COMPILED = [re.compile("|".join(f"({one})" for one in marks), re.MULTILINE | re.IGNORECASE) for marks in MANNERS]
_ROLES = ("system", "user", "assistant", "")


def turns_in(text: str) -> list[dict[str, Any]]:
    """The turns of a conversation written out as text, or [] when it is none from its beginning to its end.

    >>> turns_in("Q: Which port?\\nA: Port 22.")
    [{'role': 'user', 'content': 'Which port?'}, {'role': 'assistant', 'content': 'Port 22.'}]
    >>> turns_in("Which port? Port 22.")
    []
    """
    for manner in _COMPILED:
        found = _by(manner, text)
        if found:
            return found
    return []


def _by(manner: re.Pattern[str], text: str) -> list[dict[str, Any]]:
    marks = list(manner.finditer(text))
    if len(marks) < 2 or text[: marks[0].start()].strip(" \t\r\n<s>"):
        return []
    turns = []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        role, said = _ROLES[(mark.lastindex or 4) - 1], text[mark.end() : end].strip()
        if role:
            turns.append({"role": role, "content": said})
        elif said:
            return []
    roles = [turn["role"] for turn in turns]
    body = roles[1:] if roles[:1] == ["system"] else roles
    fits = body and body == ["user", "assistant"] * (len(body) // 2)
    return turns if fits and all(turn["content"] for turn in turns) else []


def pairs_in(text: str, stops: Sequence[int] = ()) -> list[tuple[int, int, str, str]]:
    """Question and answer pairs that stand anywhere in a text: start, end (characters), question, answer.

    An answer goes on to the next question, or to the first of `stops`, the characters at which headings begin.

    >>> pairs_in("Intro.\\n\\nQ: One?\\nA: Yes.\\n\\nQ: Two?\\nA: No.")
    [(8, 23, 'One?', 'Yes.'), (25, 39, 'Two?', 'No.')]
    """
    marks = [mark for mark in _COMPILED[-1].finditer(text) if mark.lastindex in (2, 3)]
    found = []
    for at, (asks, says) in enumerate(pairwise(marks)):
        if (asks.lastindex, says.lastindex) != (2, 3):
            continue
        end = marks[at + 2].start() if at + 2 < len(marks) else len(text)
        heading = bisect_left(stops, says.end())
        end = min(end, stops[heading]) if heading < len(stops) else end
        end -= len(text[says.end() : end]) - len(text[says.end() : end].rstrip())
        question, answer = text[asks.end() : says.start()].strip(), text[says.end() : end].strip()
        if question and answer:
            found.append((asks.start(), end, question, answer))
    return found
