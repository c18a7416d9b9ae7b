"""The settings of a recipe that are written in words: the base model's name, the system prompt, the questions it is asked.

`sample_prompts` is what a run is asked while it learns: a number of training questions, or the questions themselves.
"""

from __future__ import annotations

from typing import Any

MOST_PROMPTS = 8
LONGEST_PROMPT = 2000


def wanted(text: str) -> int | list[str]:
    """How many questions to take from the training rows, or the questions somebody wrote, one a line.

    >>> wanted("3"), wanted(""), wanted("What is a list?\\n\\nWhat is a set?")
    (3, 0, ['What is a list?', 'What is a set?'])
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return 0
    return int(lines[0]) if len(lines) == 1 and lines[0].isascii() and lines[0].isdigit() else lines


def problems(base_model: Any, system_prompt: Any, sample_prompts: Any) -> list[str]:
    """What is wrong with these settings, one sentence each; what is no text at all is refused elsewhere.

    >>> problems("tiny", "", "40")
    ['sample_prompts asks for 40 questions; at most 8 are asked, each time the held-out loss is measured.']
    """
    found = []
    if isinstance(base_model, str) and not base_model.strip():
        found.append("base_model is empty; name a model of `models list`.")
    if isinstance(system_prompt, str) and len(system_prompt) > 8000:
        found.append("system_prompt has over 8,000 characters; shorten it.")
    if not isinstance(sample_prompts, str):
        return found
    if len(sample_prompts) > MOST_PROMPTS * LONGEST_PROMPT:
        return [*found, f"sample_prompts has over {MOST_PROMPTS * LONGEST_PROMPT:,} characters; shorten it."]
    asked = wanted(sample_prompts)
    count = asked if isinstance(asked, int) else len(asked)
    if count > MOST_PROMPTS:
        most = f"at most {MOST_PROMPTS} are asked, each time the held-out loss is measured"
        found.append(f"sample_prompts asks for {count} questions; {most}.")
    if isinstance(asked, list) and any(len(line) > LONGEST_PROMPT for line in asked):
        found.append(f"A question of sample_prompts has over {LONGEST_PROMPT:,} characters; shorten it.")
    return found
