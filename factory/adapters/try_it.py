"""Ask this adapter something, with nothing but transformers and peft: `python try_it.py BASE "A question"`.

BASE is the hub id or the folder of the base model that README.md names. Lies in every export, and every export is checked
by running it; it must import nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Print the likeliest answer to each question; with --json, its token ids."""
    parser = argparse.ArgumentParser(description="Ask this adapter something.")
    parser.add_argument("base", help="hub id or folder of the base model")
    parser.add_argument("question", nargs="*", help="each is asked by itself; without one, a JSON list is read from stdin")
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print token ids as JSON")
    asked = parser.parse_args()

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(HERE)
    need_the_template_of_the_training(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(asked.base, dtype=getattr(torch, asked.dtype)).to(asked.device)
    own = model.generation_config.eos_token_id
    ends = sorted({e for e in (*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id) if e is not None})
    model = PeftModel.from_pretrained(model, str(HERE)).eval()
    greedy = GenerationConfig(do_sample=False, max_new_tokens=asked.max_tokens, eos_token_id=ends, pad_token_id=ends[0])
    system_prompt = json.loads((HERE / "adapter.json").read_text("utf-8"))["system_prompt"]
    answers = []
    for question in asked.question or json.load(sys.stdin):
        talk = [{"role": "system", "content": system_prompt}] if system_prompt else []
        talk.append({"role": "user", "content": question})
        text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)], device=model.device)
        with torch.inference_mode():
            answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        answers.append(answer[0][ids.shape[1] :].tolist())
        if not asked.json:
            print(tokenizer.decode(answers[-1], skip_special_tokens=True))
    if asked.json:
        print(json.dumps(answers))


def need_the_template_of_the_training(tokenizer: Any) -> None:
    """End with a sentence where the chat template is not the one of the training, whose hash adapter.json has."""
    wanted = json.loads((HERE / "adapter.json").read_text("utf-8"))["template_hash"]
    template = tokenizer.chat_template
    template = template.get("default") if isinstance(template, dict) else template
    if hashlib.sha256((template or "").encode()).hexdigest() != wanted:
        sys.exit(
            "The chat template in this folder is not the one the adapter was trained with, so it would answer worse than it"
            " can; unpack the export again."
        )


if __name__ == "__main__":
    main()
