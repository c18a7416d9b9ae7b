"""The peer in `benchmarks.training`: TRL's SFTTrainer, run by the Python of an environment of its own.

    TRL/bin/python benchmarks/trl_peer.py SETTINGS.json

The settings name the model's folder, the rows, the recipe and what to turn on. Prints one JSON object last.
"""

import json
import os
import resource
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """When each step ended; the first one warms up and is not counted."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        wanted = json.load(file)
    torch.set_num_threads(wanted["threads"])
    tokenizer = AutoTokenizer.from_pretrained(wanted["model"])
    rows = [{"prompt": talk[:-1], "completion": talk[-1:]} for talk in wanted["rows"]]
    clock = Clock()
    batch = wanted["batch"]
    extra = {} if wanted["checkpointing"] else {"gradient_checkpointing": False}
    if wanted["group_by_length"]:
        extra["train_sampling_strategy"] = "group_by_length"
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(wanted["model"], dtype=getattr(torch, wanted["weights"])),
        args=SFTConfig(
            output_dir=wanted["out"], per_device_train_batch_size=batch, num_train_epochs=1, max_length=wanted["max_length"],
            report_to=[], logging_steps=1, save_strategy="no", bf16=wanted["bf16"], use_cpu=True, seed=wanted["seed"],
            learning_rate=wanted["learning_rate"], lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0,
            max_grad_norm=1.0, **extra,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=wanted["rank"], lora_alpha=2 * wanted["rank"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trainer.save_model(wanted["out"])
    steps = len(clock.ends)
    counted = sum(wanted["lengths"]) * (steps - 1) / steps  # the rows' own tokens; which came first is TRL's affair
    print(json.dumps({"tokens_per_second": counted / (clock.ends[-1] - clock.ends[0]), "peak_gb": peak / 1e6}))


if __name__ == "__main__":
    main()
