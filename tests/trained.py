"""The smallest real past of an adapter: people, accepted rows, a frozen version, a run and the weights it ended with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.adapters import kept
from factory.base import people
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import contributions, datasets, reviews
from factory.training import checkpoints, models, recipes, runs

ANSWERS = {
    "What is the capital of France?": "The capital of France is Paris, which lies on the river Seine.",
    "How many legs does a spider have?": "A spider has eight legs, two more than any insect does.",
    "Which metal is liquid at room temperature?": "Mercury is the metal that is liquid when a room is warm.",
}
HELD_OUT = {
    "Who wrote the play Hamlet?": "Hamlet was written by William Shakespeare around 1600.",
    "What do bees make from nectar?": "Bees turn the nectar of flowers into honey in their hive.",
    "Why does ice float on water?": "Ice is less dense than liquid water, so it floats.",
}


@dataclass(frozen=True)
class Past:
    """What the tests of this room start from."""

    builder: Person
    ada: Person
    version: dict[str, Any]
    run_id: int
    adapter_id: int


def talk(question: str, answer: str) -> list[dict[str, str]]:
    """One question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def home_model(settings: Settings, folder: Path, *, name: str = "tiny") -> str:
    """The base model's name in a fresh installation, linked there from where it lies or fetched from a plain folder."""
    if (folder / "model.json").exists():
        settings.models.mkdir(parents=True, exist_ok=True)
        (settings.models / folder.name).symlink_to(folder)
        return folder.name
    return str(models.fetch(settings, folder, name=name)["name"])


def frozen_version(db: Database, *, held_out: bool = True) -> tuple[Person, Person, dict[str, Any]]:
    """A builder, a contributor whose name is an attack, and a version of three rows accepted by review."""
    builder = people.create(db, "builder", display_name="Bea Builder", roles=("builder", "curator", "reviewer"))
    second = people.create(db, "second", roles=("reviewer",))
    ada = people.create(db, "ada", display_name="Ada <script>alert(1)</script> | `x`", roles=("contributor",))
    demo = people.create(db, "demo-careful", display_name="Careful", roles=("contributor",), is_demo=True)
    dataset = datasets.create(
        db,
        slug="questions",
        title="Questions: [a title](http://example.org)\n---\nevil: yes",
        purpose="Short questions with answers.",
        guidelines="One sentence.",
        licence="CC-BY-4.0",
        owner=builder,
    )
    if held_out:
        datasets.seal_held_out(db, dataset["id"], person=builder, rows=[talk(q, a) for q, a in HELD_OUT.items()])
    rows = [talk(question, answer) for question, answer in ANSWERS.items()]
    for person, part in ((ada, rows[:2]), (demo, rows[2:])):
        given = contributions.submit(
            db, dataset["id"], person=person, rows=part, source="form", licence="CC-BY-4.0", attested=True
        )
        for example_id in given.example_ids:
            for reviewer in (builder, second):
                reviews.decide(db, example_id, reviewer=reviewer, decision="accept")
    return builder, ada, datasets.freeze(db, dataset["id"], person=builder)


def ended_run(
    db: Database, settings: Settings, builder: Person, version: dict[str, Any], model_name: str, **recipe: Any
) -> int:
    """A run that is done, with weights nobody trained: what matters here is that they change what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model

    chosen = recipes.Recipe(base_model=model_name, **({"rank": 4} | recipe))
    run_id = runs.create(db, person=builder, version_id=version["id"], recipe=chosen, settings=settings, name="first try")
    claimed = runs.claim(db, run_id=run_id)
    assert claimed is not None
    torch.manual_seed(0)
    model, _ = models.load(settings, model_name)
    shape = {"r": chosen.rank, "lora_alpha": chosen.alpha, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    config = LoraConfig(init_lora_weights=False, **shape)
    tuned = get_peft_model(model, config)
    weights = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    state = checkpoints.State(step=3, best_step=3, best_loss=1.0, ended="done")
    checkpoints.save(settings.runs / runs.get(db, run_id)["folder"], state, model=tuned, optimizer=torch.optim.SGD(weights))
    runs.end(db, run_id, claimed["token"], "done")
    return run_id


def past(db: Database, settings: Settings, folder: Path, *, held_out: bool = True, **recipe: Any) -> Past:
    """Everything up to a kept adapter on the base model in `folder`."""
    builder, ada, version = frozen_version(db, held_out=held_out)
    run_id = ended_run(db, settings, builder, version, home_model(settings, folder), **recipe)
    return Past(builder, ada, version, run_id, kept.keep(db, settings, run_id))
