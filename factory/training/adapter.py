"""The adapter a recipe asks for, put into a model, and the optimizer that trains it; peft does the mathematics.

PiSSA and LoftQ start the adapter at something. That start is kept in the run's folder: a resumed run must begin at the very
same one, and `starts.write_plain` takes it away again when the adapter is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from factory.base.errors import Invalid
from factory.training import places, starts
from factory.training.recipe import Recipe

SVD_ROUNDS = 16  # of the randomised decomposition: PiSSA's own paper sees no difference to an exact one


def with_adapter(model: Any, recipe: Recipe, *, start: Path | None = None) -> Any:
    """The model with a fresh LoRA adapter in float32, all else frozen: a PeftModel. Raises Invalid for its targets.

    `start` is the file where a PiSSA or LoftQ adapter's first weights lie, or are put when it is not there yet.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=_targets(model, recipe),
        layers_to_transform=places.layers(recipe.layers, model.config.num_hidden_layers),
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
    )
    tuned = get_peft_model(model, config)
    for weight in tuned.parameters():
        if weight.requires_grad:  # DoRA's lengths come in the base's own precision, too coarse to learn in
            weight.data = weight.data.float()
    if recipe.initialization != "default":
        _begin(tuned, recipe, start)
    if recipe.neftune_alpha:
        add_noise(tuned, recipe.neftune_alpha)
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return tuned


def _targets(model: Any, recipe: Recipe) -> str | list[str]:
    """The matrices by the last part of their names, or peft's own word for all linear layers."""
    if recipe.targets == "all-linear" and places.layers(recipe.layers, model.config.num_hidden_layers) is None:
        return "all-linear"
    linear = [name.split(".") for name, module in model.get_decoder().named_modules() if isinstance(module, torch.nn.Linear)]
    if recipe.targets == "chosen":
        wanted = places.names(recipe.target_modules)
        unknown = [name for name in wanted if name not in {path[-1] for path in linear}]
        if unknown or not wanted:
            raise Invalid(f"This model has no matrix called {', '.join(unknown) or 'nothing'}; name some that it has.")
        return wanted
    sign = {"attention": "attn", "mlp": "mlp", "all-linear": ""}[recipe.targets]
    found = {path[-1] for path in linear if len(path) > 1 and sign in path[-2]}
    if not found:
        raise Invalid(f"This model has no layers called {recipe.targets}; choose the targets all-linear.")
    return sorted(found)


def layers_of(tuned: Any) -> dict[str, Any]:
    """Every LoRA layer of a PeftModel by its name in the base model."""
    from peft.tuners.lora import LoraLayer

    prefix = "base_model.model."
    return {
        name.removeprefix(prefix): module
        for name, module in tuned.named_modules()
        if isinstance(module, LoraLayer) and "default" in module.lora_A
    }


def _begin(tuned: Any, recipe: Recipe, start: Path | None) -> None:
    """Start the adapter at the main directions of the weights (PiSSA) or at what 4 bits lost of them (LoftQ)."""
    kept = starts.load(start) if start is not None else None
    for name, layer in layers_of(tuned).items():
        if kept is None and recipe.initialization == "pissa":
            layer.pissa_init("default", f"pissa_niter_{SVD_ROUNDS}")
            continue
        a, b = (kept[f"{name}.A"], kept[f"{name}.B"]) if kept is not None else _lost(tuned, name, layer)
        layer.lora_A["default"].weight.data.copy_(a)
        layer.lora_B["default"].weight.data.copy_(b)
        if recipe.initialization == "pissa":  # what the adapter took over leaves the weights, as in peft's pissa_init
            weight = layer.get_base_layer().weight
            a, b = (each["default"].weight.data for each in (layer.lora_A, layer.lora_B))
            weight.data = (weight.data.float() - layer.scaling["default"] * b @ a).to(weight.dtype)
    if kept is None and start is not None:
        starts.save(
            start,
            {
                f"{name}.{letter}": matrix["default"].weight.data
                for name, layer in layers_of(tuned).items()
                for letter, matrix in (("A", layer.lora_A), ("B", layer.lora_B))
            },
        )


def _lost(tuned: Any, name: str, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """LoftQ's start for one layer, a single round: the best A and B of this rank for (weight - its 4 bits).

    peft's own function for a model already in 4 bits needs CUDA; the formula is the same (Li et al., arXiv 2310.08659).
    """
    from bitsandbytes.functional import dequantize_4bit

    weight = layer.get_base_layer().weight
    whole = starts.weight_of(Path(tuned.config._name_or_path), f"{name}.weight").to(weight.device).float()
    residual = whole - dequantize_4bit(weight.data, weight.quant_state).float()
    u, s, v = torch.svd_lowrank(residual, q=layer.r["default"], niter=SVD_ROUNDS)
    root = s.sqrt()
    return root[:, None] * v.T, u * root / layer.scaling["default"]


def add_noise(tuned: Any, alpha: float) -> None:
    """NEFTune (arXiv 2310.05914): while training, uniform noise up to alpha / sqrt(tokens x width) on each word vector.

    The tokens are those of the row a vector belongs to, also in a pack of several rows, whose positions begin anew. The
    noise comes from torch's generator, which the loop seeds at every step.
    """
    lengths: list[torch.Tensor] = []

    def note(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        lengths[:] = [row_lengths(named["position_ids"])] if named.get("position_ids") is not None else []

    def noise(module: Any, given: tuple[Any, ...], vectors: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return vectors
        tokens = lengths[0] if lengths else torch.full(vectors.shape[:2], vectors.shape[1], device=vectors.device)
        reach = alpha / (tokens.float() * vectors.shape[-1]).sqrt()
        return vectors + (torch.empty_like(vectors, dtype=torch.float32).uniform_(-1, 1) * reach[..., None]).to(
            vectors.dtype
        )

    base = tuned.get_base_model()
    base.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    base.get_input_embeddings().register_forward_hook(noise)


def row_lengths(positions: torch.Tensor) -> torch.Tensor:
    """For each token how many tokens its row has, a shared prefix counted: [batch, tokens], from position ids.

    >>> row_lengths(torch.tensor([[0, 1, 2, 3, 2, 3, 4]])).tolist()
    [[4, 4, 4, 4, 5, 5, 5]]
    """
    ends = torch.ones_like(positions, dtype=torch.bool)
    ends[:, :-1] = positions[:, 1:] != positions[:, :-1] + 1
    found = torch.zeros_like(positions)
    for row, (places_of_ends, numbers) in enumerate(zip(ends, positions, strict=True)):
        begin = 0
        for end in places_of_ends.nonzero().flatten().tolist():
            found[row, begin : end + 1] = numbers[end] + 1
            begin = end + 1
    return found


def optimizer(tuned: Any, recipe: Recipe) -> Any:
    """The recipe's optimizer over the adapter, its B matrices in a group of their own where LoRA+ asks for that.

    A group's `times` multiplies the rate that `set_rate` gives. Raises Invalid for one that needs a GPU that is not here.
    """
    named = [(name, weight) for name, weight in tuned.named_parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [weight for _, weight in named], "times": 1.0}]
    if recipe.lora_plus_ratio:
        groups = [
            {"params": [weight for name, weight in named if (".lora_B." in name) == fast], "times": times}
            for fast, times in ((False, 1.0), (True, recipe.lora_plus_ratio))
        ]
    shared: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, scale_parameter=False, relative_step=False, warmup_init=False, **shared)
    shared["betas"] = (recipe.adam_beta1, recipe.adam_beta2)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True, **shared)
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    if recipe.optimizer == "adamw_8bit":
        return AdamW8bit(groups, **shared)
    if named[0][1].device.type != "cuda":
        raise Invalid("The paged 8-bit optimizer needs an NVIDIA GPU, and none was found here; choose the optimizer adamw.")
    return PagedAdamW8bit(groups, **shared)


def set_rate(optimizer: Any, rate: float) -> None:
    """Let the next step go this far; groups that learn faster take their multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("times", 1.0)
