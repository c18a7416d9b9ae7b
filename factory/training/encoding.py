"""From conversations to tokens, labels and packs: what the model sees, and what it is trained on.

A *row* is one conversation as tokens with a mark on each token that is trained on. A *pack* is several rows laid end to
end without padding; the tokens they all begin with (system prompt, template) are computed once, each row attends to them
and to itself, so losses and gradients are exactly those of the rows one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.base.errors import Invalid
from factory.training.packing import TOKENS_PER_PACK, Pack, packs
from factory.training.packing import EncodedRow as EncodedRow

if TYPE_CHECKING:
    import torch

LABELS_PER_CHUNK = 512  # so many rows of logits exist at once: 512 x 49,152 float32 are 100 MB


def encode(
    tokenizer: Any,
    messages: Sequence[dict[str, str]],
    *,
    example_id: int = 0,
    system_prompt: str = "",
    max_length: int = 8192,
    completions_only: bool = True,
    mask_history: bool = False,
) -> EncodedRow:
    """A conversation through the model's own chat template, with the assistant's words marked for training.

    Marked are each assistant turn's tokens up to and including its end-of-turn token; with `completions_only` off, all,
    with `mask_history` those of the last turn only.
    `system_prompt` is put in front of conversations that bring none. More than `max_length` tokens are cut at the end.
    Prompts are the very tokens that a chat with the model would start from. Raises Invalid where the template refuses
    the conversation or rewrites earlier turns when later ones are added.
    """
    talk = opened(messages, system_prompt)
    text = ""
    tokens: list[int] = []
    marks: list[bool] = []
    answers: list[tuple[int, int]] = []
    for place, message in enumerate(talk):
        if message["role"] != "assistant":
            continue
        prompt = rendered(tokenizer, talk[:place], prompt=True)
        through = rendered(tokenizer, talk[: place + 1])
        if not (prompt.startswith(text) and through.startswith(prompt)):
            raise Invalid(
                "This model's chat template rewrites earlier turns when later ones follow, so training marks would be wrong;"
                " split the conversation into rows with one answer each, or choose another base model."
            )
        before = _tokens(tokenizer, prompt[len(text) :], after=tokens, whole=prompt)
        turn = _tokens(tokenizer, through[len(prompt) :], after=tokens + before, whole=through)
        spoken = _through_end_of_turn(tokenizer, turn)
        tokens += before + turn
        answers.append((len(tokens) - len(turn), len(tokens)))
        if mask_history:
            marks = [False] * len(marks)
        marks += [False] * len(before) + [True] * spoken + [False] * (len(turn) - spoken)
        text = through
    if not completions_only:
        marks = [True] * len(tokens)
    marks[:1] = [False] * len(marks[:1])  # nothing predicts the first token
    cut = len(tokens) > max_length
    return EncodedRow(example_id, tuple(tokens[:max_length]), tuple(marks[:max_length]), cut, tuple(answers))


def opened(messages: Sequence[dict[str, str]], system_prompt: str) -> list[dict[str, str]]:
    """The conversation with `system_prompt` in front, where there is one and the conversation brings none."""
    talk = list(messages)
    if system_prompt and talk and talk[0]["role"] != "system":
        talk.insert(0, {"role": "system", "content": system_prompt})
    return talk


def prompt(tokenizer: Any, messages: Sequence[dict[str, str]], *, system_prompt: str = "") -> list[int]:
    """The tokens that an answer in a chat starts after. Raises Invalid where the template refuses the conversation."""
    text = rendered(tokenizer, opened(messages, system_prompt), prompt=True)
    return list(tokenizer.encode(text, add_special_tokens=False))


def rendered(tokenizer: Any, messages: Sequence[dict[str, str]], *, prompt: bool = False) -> str:
    """The text that the chat template makes of messages; `prompt` adds what an answer starts after. Raises Invalid."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise Invalid("This model has no chat template, so it cannot be trained on conversations; choose an instruct model.")
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))
    except TemplateError as problem:
        raise Invalid(
            f"This model's chat template refuses the conversation ({problem}); change the row or the base model."
        ) from problem


def count_tokens(model_folder: str | Path, conversations: Sequence[Sequence[dict[str, str]]]) -> list[int]:
    """About how many tokens each conversation makes, without transformers or torch: words exactly, signs roughly.

    Good enough for an estimate of time and memory, and a hundred times faster than `encode`.
    """
    from tokenizers import Tokenizer

    file = Path(model_folder) / "tokenizer.json"
    texts = [message["content"] for talk in conversations for message in talk]
    if file.exists():
        counts = [
            len(found.ids) for found in Tokenizer.from_file(str(file)).encode_batch_fast(texts, add_special_tokens=False)
        ]
    else:
        counts = [len(text) // 4 for text in texts]
    each = iter(counts)
    signs_per_message, opening = 5, 24  # <|im_start|>role, newline, <|im_end|>, newline; a default system prompt
    return [
        sum(next(each) + signs_per_message for _ in talk) + (opening if talk[0]["role"] != "system" else 0)
        for talk in conversations
    ]


def _tokens(tokenizer: Any, text: str, *, after: list[int], whole: str) -> list[int]:
    """The tokens of `text`, the end of `whole`, where `after` are the tokens of all before it."""
    joint = tokenizer.encode(whole, add_special_tokens=False)
    if joint[: len(after)] == after:
        return list(joint[len(after) :])
    # A token would straddle the border. In a chat the prompt is tokenised alone, so here it is too.
    return list(tokenizer.encode(text, add_special_tokens=False))


def _through_end_of_turn(tokenizer: Any, turn: list[int]) -> int:
    """How many of a turn's tokens the model itself has to produce: all through its last special token."""
    special = special_tokens(tokenizer)
    return next((place + 1 for place in range(len(turn) - 1, -1, -1) if turn[place] in special), len(turn))


def special_tokens(tokenizer: Any) -> frozenset[int]:
    """Ids that are signs of the template and never words."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def problems(row: EncodedRow, tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[str]:
    """What makes an encoded conversation unfit to train on, one sentence each; none when all is well."""
    found = []
    if not row.label_tokens:
        found.append(
            "Nothing in this row would be trained on"
            + (": its answer lies beyond the maximum length." if row.truncated else ".")
        )
    signs = [sign for sign in tokenizer.all_special_tokens if any(sign in message["content"] for message in messages)]
    if signs:
        found.append(f"The text contains {', '.join(signs)}, which this model reads as the border of a turn.")
    return found


def attention_mask(pack: Pack, dtype: torch.dtype, device: Any) -> torch.Tensor:
    """What may be looked at: [1, 1, tokens, tokens], 0 where allowed and the lowest number elsewhere.

    Every token sees the prefix and its own row up to itself; the prefix sees only itself.
    """
    import torch

    owners = torch.tensor(pack.owners, device=device)
    places = torch.arange(len(owners), device=device)
    allowed = (owners[:, None] == owners[None, :]) | (owners[None, :] == -1)
    allowed &= places[:, None] >= places[None, :]
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, torch.finfo(dtype).min)
    return mask[None, None]


def hidden_states(model: Any, pack: Pack) -> torch.Tensor:
    """The last hidden state at each place that predicts a label: [labels, width], with gradients where enabled."""
    import torch

    from factory.training import decoder, fastpath

    if not torch.is_grad_enabled() and (fast := fastpath.find(model)):
        return decoder.states(fast, pack)
    base = _base(model)
    device = base.device
    whole = base.get_decoder()(
        input_ids=torch.tensor([pack.tokens], device=device),
        position_ids=torch.tensor([pack.positions], device=device),
        attention_mask=attention_mask(pack, base.dtype, device),
        use_cache=False,
    ).last_hidden_state[0]
    return whole[torch.tensor([label[0] for label in pack.labels], device=device)]


def _base(model: Any) -> Any:
    """The causal language model itself, which a PeftModel wraps (its LoRA layers stay in place)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def label_nll(model: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each target, in nats, from the hidden state that predicts it: [labels], float32."""
    from torch.nn import functional

    base = _base(model)
    head = base.get_output_embeddings()
    logits = head(hidden.to(head.weight.dtype)).float()
    config = base.config
    if getattr(config, "logits_scaling", None):  # Granite
        logits = logits / config.logits_scaling
    if getattr(config, "logit_scale", None):  # Cohere
        logits = logits * config.logit_scale
    if getattr(config, "final_logit_softcapping", None):  # Gemma
        logits = (logits / config.final_logit_softcapping).tanh() * config.final_logit_softcapping
    return functional.cross_entropy(logits, targets, reduction="none")


def _targets(pack: Pack, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    return torch.tensor([label[1] for label in pack.labels], device=device), torch.tensor(
        [label[2] for label in pack.labels], device=device
    )


def pack_loss(model: Any, pack: Pack) -> tuple[torch.Tensor, int]:
    """Summed negative log-likelihood over a pack's labels (a scalar that can be differentiated) and their number."""
    hidden = hidden_states(model, pack)
    targets, _ = _targets(pack, hidden.device)
    return label_nll(model, hidden, targets).sum(), len(pack.labels)


def backward(model: Any, pack: Pack, *, divisor: float) -> float:
    """Add the gradients of (summed loss / `divisor`) to the parameters; the summed loss in nats.

    The head is done in chunks, each forward and backward at once, so that never more than one chunk of logits exists.
    """
    from factory.training import decoder, fastpath

    if pack.labels and (fast := fastpath.find(model)):
        return decoder.train_on(fast, pack, divisor=divisor)
    hidden = hidden_states(model, pack)
    targets, _ = _targets(pack, hidden.device)
    leaf = hidden.detach().requires_grad_()
    total = 0.0
    for start in range(0, len(targets), LABELS_PER_CHUNK):
        loss = label_nll(model, leaf[start : start + LABELS_PER_CHUNK], targets[start : start + LABELS_PER_CHUNK]).sum()
        (loss / divisor).backward()
        total += loss.item()
    hidden.backward(leaf.grad)
    return total


def row_losses(
    model: Any,
    rows: Sequence[EncodedRow],
    *,
    tokens_per_pack: int = TOKENS_PER_PACK,
    progress: Callable[[float], None] | None = None,
) -> list[tuple[float, int]]:
    """Each row's summed negative log-likelihood (nats) and its number of label tokens, in the order given; no gradients.

    The model is used as it stands: put it in eval mode first. `progress` hears the share of packs done.
    """
    import torch

    losses = [0.0] * len(rows)
    laid = packs(rows, tokens_per_pack=tokens_per_pack)
    with torch.no_grad():
        for number, pack in enumerate(laid, 1):
            if pack.labels:
                for place, loss in zip(pack.rows, _losses_of(model, pack), strict=True):
                    losses[place] = loss
            if progress:
                progress(number / len(laid))
    return [(loss, row.label_tokens) for loss, row in zip(losses, rows, strict=True)]


def _losses_of(model: Any, pack: Pack) -> list[float]:
    import torch

    hidden = hidden_states(model, pack)
    targets, owners = _targets(pack, hidden.device)
    sums = torch.zeros(len(pack.rows), dtype=torch.float64, device=hidden.device)
    for start in range(0, len(targets), LABELS_PER_CHUNK):
        part = slice(start, start + LABELS_PER_CHUNK)
        sums.index_add_(0, owners[part], label_nll(model, hidden[part], targets[part]).double())
    return [float(value) for value in sums]


def mean_loss(losses: Iterable[tuple[float, int]]) -> float:
    """Nats per label token over rows, as `row_losses` gives them; 0 where there is no label.

    >>> mean_loss([(2.0, 1), (4.0, 3)])
    1.5
    """
    pairs = list(losses)
    labels = sum(count for _, count in pairs)
    return sum(loss for loss, _ in pairs) / labels if labels else 0.0
