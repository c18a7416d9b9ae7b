"""Every setting of a run in one place: the sliders, the command's options, the YAML and the checks come from here."""

from __future__ import annotations

from dataclasses import dataclass

from factory.training.knobs import knob
from factory.training.trackers import CHOICES

SCHEDULES = ("cosine", "linear", "constant", "cosine_with_restarts", "polynomial", "inverse_sqrt")


@dataclass(frozen=True)
class Recipe:
    """All that decides a run besides its data: same recipe, data and machine, same adapter."""

    # fmt: off
    base_model: str = knob(
        "smollm2-135m-instruct", "The model to start from; `models list` shows which are here.", topic="adapter")
    method: str = knob(
        "lora", "LoRA trains small matrices beside the frozen weights; QLoRA also keeps those in 4 or 8 bits: less memory.",
        choices=("lora", "qlora"), topic="adapter")
    rank: int = knob(
        16, "How much an adapter can hold: 8 or 16 for a style, 32 or 64 for a new domain.",
        choices=(4, 8, 16, 32, 64, 128, 256), topic="adapter")
    learning_rate: float = knob(
        2e-4, "How far each step goes. Too high and the loss jumps, too low and nothing is learnt.",
        low=1e-6, high=1e-2, scale="log")
    epochs: float = knob(
        2.0, "How often every row is seen; 0 only measures the untouched base.",
        low=0, high=20, step=0.5, unit="times")
    effective_batch: int = knob(
        16, "How many rows are averaged into one step, however many of them go through the model at once.",
        low=1, high=256, step=1, scale="log", unit="rows")
    max_length: int = knob(
        1024, "Longer rows are cut at their end; the token view shows how many.",
        low=64, high=32768, step=64, scale="log", unit="tokens", topic="data")
    max_steps: int = knob(
        0, "Stop after so many steps, whatever the epochs say; 0 is off.",
        low=0, high=100_000, step=1, unit="steps")
    max_samples: int = knob(
        0, "Train on so many rows, drawn by the seed; 0 takes all.",
        low=0, high=1_000_000, step=1, unit="rows", group="advanced", topic="data")
    validation_share: float = knob(
        0.0, "Without a sealed held-out set: keep this share of the rows, drawn by the seed, for the held-out curve.",
        low=0, high=0.5, step=0.01, group="advanced", topic="data")
    alpha_linked: bool = knob(
        True, "Keep alpha at twice the rank, so that moving the rank keeps the step size.",
        group="advanced", topic="adapter")
    alpha: int = knob(
        32, "How strongly the adapter speaks, relative to its rank.",
        low=1, high=512, step=1, group="advanced", topic="adapter")
    dropout: float = knob(
        0.0, "Share of the adapter's inputs left out at random; 0.05 to 0.1 helps under about 1,000 rows.",
        low=0, high=0.5, step=0.01, group="advanced", topic="adapter")
    targets: str = knob(
        "all-linear", "Which matrices get an adapter; the MLP ones matter most, all of them are the safe choice.",
        choices=("all-linear", "attention", "mlp", "chosen"), group="advanced", topic="adapter")
    target_modules: str = knob(
        "", "The matrices by name, with commas between, as the picture of the model names them: q_proj, v_proj.",
        group="advanced", topic="adapter")
    layers: str = knob(
        "all", "Which blocks get an adapter: all, first 8, last 8, or numbers from 0 such as 4-11 or 0, 3, 5.",
        group="advanced", topic="adapter")
    schedule: str = knob(
        "cosine", "How the learning rate moves after the warm-up; the plot shows it.",
        choices=SCHEDULES, group="advanced")
    schedule_cycles: int = knob(
        2, "How often a cosine with restarts falls and jumps back up.",
        low=1, high=20, step=1, unit="times", group="everything")
    schedule_power: float = knob(
        2.0, "The power of the polynomial: 1 is a straight line, more falls faster at first.",
        low=0.1, high=10, step=0.1, group="everything")
    warmup_ratio: float = knob(
        0.03, "Share of the steps in which the rate climbs from zero.",
        low=0, high=0.5, step=0.01, group="advanced")
    warmup_steps: int = knob(
        0, "Climb for exactly so many steps instead of a share of them; 0 takes the share.",
        low=0, high=10_000, step=1, unit="steps", group="everything")
    completions_only: bool = knob(True, "Train on the answers, not on the questions.", group="advanced", topic="data")
    mask_history: bool = knob(
        False, "Train on the last answer of each conversation only.", group="advanced", topic="data")
    system_prompt: str = knob(
        "", "Put before conversations that bring none; empty: the template's own.", group="advanced", topic="data")
    evaluations: int = knob(
        8, "How often the held-out loss is measured along the way, besides start and end.",
        low=0, high=200, step=1, unit="times", group="advanced", topic="saving")
    sample_prompts: str = knob(
        "3", "What it is asked at each of them, to see it learn: how many training questions, or your own, one a line.",
        group="advanced", topic="saving")
    early_stopping_patience: int = knob(
        3, "Stop after so many held-out measurings in a row without a new best; 0 is off.",
        low=0, high=50, step=1, unit="measurings", group="advanced", topic="saving")
    keep_best: bool = knob(
        True, "Keep the weights with the lowest held-out loss, not the last ones.", group="advanced", topic="saving")
    seed: int = knob(
        42, "Same seed, same order of rows, same start of the adapter.",
        low=0, high=2**31 - 1, step=1, group="advanced", topic="data")
    weight_decay: float = knob(
        0.0, "Pulls the adapter towards zero at each step.",
        low=0, high=0.5, step=0.01, group="everything")
    gradient_norm: float = knob(
        1.0, "Longer gradients are cut to this length, against jumps.",
        low=0.05, high=10, step=0.05, group="everything")
    optimizer: str = knob(
        "adamw", "AdamW everywhere; its 8-bit forms and Adafactor need less memory, the paged one an NVIDIA GPU.",
        choices=("adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor"), group="everything")
    adam_beta1: float = knob(
        0.9, "How long AdamW remembers the direction of earlier gradients.",
        low=0, high=0.999, step=0.001, group="everything")
    adam_beta2: float = knob(
        0.999, "How long AdamW remembers the size of earlier gradients.",
        low=0.5, high=0.9999, step=0.0001, group="everything")
    lora_plus_ratio: float = knob(
        0.0, "LoRA+: the B matrices learn so many times faster than the A matrices; 16 is the paper's, 0 is off.",
        low=0, high=64, step=1, unit="times", group="everything")
    neftune_alpha: float = knob(
        0.0, "NEFTune: noise on the word vectors while training; 5 is usual, 0 is off.",
        low=0, high=50, step=0.5, group="everything")
    rslora: bool = knob(
        False, "rsLoRA: divide alpha by the root of the rank, so that high ranks still learn.",
        group="everything", topic="adapter")
    dora: bool = knob(
        False, "DoRA: also learn the length of each row of the weights; often better at low ranks, slower.",
        group="everything", topic="adapter")
    initialization: str = knob(
        "default", "The adapter's start: nothing, the weights' main directions (PiSSA), or what 4 bits lost (LoftQ).",
        choices=("default", "pissa", "loftq"), group="everything", topic="adapter")
    precision: str = knob(
        "auto", "The numbers the frozen weights compute in; auto takes the fastest this machine has.",
        choices=("auto", "bf16", "fp16", "fp32"), group="everything", topic="precision")
    quantization_bits: int = knob(
        4, "In how many bits QLoRA keeps the frozen weights.",
        choices=(4, 8), group="everything", topic="precision")
    quantization_type: str = knob(
        "nf4", "Which 4-bit numbers: nf4 fits the bell curve of weights, fp4 is a plain 4-bit float.",
        choices=("nf4", "fp4"), group="everything", topic="precision")
    double_quantization: bool = knob(
        True, "Keep the scales of the 4-bit blocks in 8 bits too: 0.4 bits a weight less.",
        group="everything", topic="precision")
    micro_batch_tokens: int = knob(
        512, "How many tokens go through the model at once: fewer need less memory, GPUs like thousands; same result.",
        low=128, high=131072, step=64, scale="log", unit="tokens", group="everything", topic="precision")
    packing: bool = knob(
        True, "Lay several rows into one pass without padding; each still sees only itself, so the result is the same.",
        group="everything", topic="precision")
    gradient_checkpointing: bool = knob(
        False, "Compute activations twice instead of keeping them: much less memory, a quarter slower.",
        group="everything", topic="precision")
    logging_steps: int = knob(
        1, "Write the curves every so many steps.",
        low=1, high=1000, step=1, unit="steps", group="everything", topic="saving")
    checkpoint_minutes: float = knob(
        5.0, "Save a state to resume from at least this often; 0 is off.",
        low=0, high=240, step=1, unit="minutes", group="everything", topic="saving")
    checkpoint_steps: int = knob(
        0, "Save a state to resume from every so many steps; 0 is off.",
        low=0, high=100_000, step=1, unit="steps", group="everything", topic="saving")
    report_to: str = knob(
        "tensorboard", "TensorBoard files are always written; another tracker, where installed, is told as well.",
        choices=CHOICES, group="everything", topic="saving")
    # fmt: on

    def __post_init__(self) -> None:
        if self.alpha_linked is True and type(self.rank) is int:
            object.__setattr__(self, "alpha", 2 * self.rank)

    @property
    def tokens_at_once(self) -> int:
        """How many tokens may go through the model together; without packing each row goes alone."""
        return self.micro_batch_tokens if self.packing else 1
