"""The command line: every power of the program, from a terminal. `python -m factory --help` lists them.

Here stand only names, arguments and help; what a command does stands in `factory/commands`, imported when it is typed,
so that help comes at once. Exit codes: 0 done, 1 refused with one sentence on stderr, 2 wrongly typed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from factory import __version__
from factory.commands import house_words, reviewing_words
from factory.commands import words as typed
from factory.commands.words import Commands
from factory.commands.words import group as _group
from factory.commands.words import leaf as _leaf

if TYPE_CHECKING:
    from factory.commands.desk import Desk


def parser(*, with_knobs: bool = True) -> argparse.ArgumentParser:
    """The whole command line. `with_knobs` adds an option for every knob of a recipe to what takes one."""
    top = argparse.ArgumentParser(prog="python -m factory", description=str(__doc__).split("\n")[0])
    top.add_argument("--version", action="version", version=f"Model Factory {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _house(commands)
    _people(commands)
    _datasets(commands)
    _rows(commands)
    typed.drafts(commands)
    typed.needs(commands)
    _training(commands, with_knobs=with_knobs)
    _searches(commands)
    _results(commands)
    sanctions = _group(commands, "sanctions", "the public log of sanctions, appeals, and their answers")
    reports = _group(commands, "reports", "rows and people that somebody thinks should be looked at")
    reviewing_words.reviewing(commands)
    house_words.conduct(sanctions, reports, _leaf)
    return top


def _house(commands: Commands) -> None:
    serve = _leaf(commands, "serve", "house:serve", "start the app and open it in a browser, signed in")
    serve.add_argument("--host", help="address to listen on (default: FACTORY_HOST, else this machine only)")
    serve.add_argument("--port", type=int, help="port to listen on (default: FACTORY_PORT, else 8501)")
    serve.add_argument("--no-browser", action="store_true", help="print the sign-in link only")
    serve.add_argument("--no-sample", action="store_true", help="do not prepare the sample dataset and the base model")
    demo = _leaf(commands, "demo", "results:demonstrate", "walk the whole line on the sample dataset, from rows to credits")
    demo.add_argument("--yaml", type=Path, metavar="FILE", help="a recipe to train with instead of the demo's own")
    _leaf(commands, "sample", "house:fill_sample", "make the sample dataset from Python's own documentation")
    _leaf(commands, "doctor", "house:doctor", "say what is right and wrong with this installation, and what to do")
    _leaf(commands, "verify", "house:verify", "recompute ledger, sums and Merkle roots; name the first row tampered with")
    models = _group(commands, "models", "base models on this machine")
    _leaf(models, "list", "house:models_list", "list the base models that are here")
    fetch = _leaf(models, "fetch", "house:models_fetch", "bring a base model here")
    fetch.add_argument("name", nargs="?", help="the embedded default, a hub id such as org/name, or a folder")
    _leaf(models, "show", "house:models_show", "say what is known of a base model").add_argument("name")


def _people(commands: Commands) -> None:
    people = _group(commands, "people", "accounts, roles, sign-in links and API tokens")
    listed = _leaf(people, "list", "people:listed", "list the accounts")
    listed.add_argument("--search", default="", help="only names that contain this")
    add = _leaf(people, "add", "people:add", "open an account")
    add.add_argument("name")
    add.add_argument("--display-name", default="")
    add.add_argument("--email")
    add.add_argument("--role", action="append", dest="roles", metavar="ROLE", help="may be repeated; default: contributor")
    add.add_argument("--password-file", type=Path, metavar="FILE", help="first line is the password; - reads stdin")
    roles = _leaf(people, "roles", "people:roles", "give a person exactly these roles")
    roles.add_argument("name")
    roles.add_argument("roles", nargs="*", metavar="ROLE")
    password = _leaf(people, "password", "people:password", "set a person's password")
    password.add_argument("name")
    password.add_argument("--password-file", type=Path, metavar="FILE", help="first line is the password; - reads stdin")
    link = _leaf(people, "link", "people:link", "make a one-time sign-in link")
    link.add_argument("name", nargs="?", help="default: the maintainer")
    token = _leaf(people, "token", "people:token", "make an API token; it is shown once")
    token.add_argument("name", nargs="?", help="whose (default: the maintainer's)")
    token.add_argument("--for", dest="purpose", default="command line", help="what will use it")
    house_words.own(people, _leaf)


def _datasets(commands: Commands) -> None:
    datasets = _group(commands, "datasets", "datasets and their frozen versions")
    _leaf(datasets, "list", "rows:datasets_list", "list the datasets")
    _leaf(datasets, "show", "rows:datasets_show", "say what a dataset is for, its rules and its state").add_argument("slug")
    create = _leaf(datasets, "create", "rows:datasets_create", "open a dataset")
    create.add_argument("slug")
    for name in ("title", "purpose", "guidelines", "licence"):
        create.add_argument(f"--{name}", required=True, help="an SPDX identifier" if name == "licence" else None)
    create.add_argument("--policy", type=Path, metavar="FILE", help="JSON of the rules that differ from the defaults")
    house_words.policy(datasets, _leaf)
    seal = _leaf(datasets, "seal", "rows:datasets_seal", "seal held-out questions that nobody can submit to")
    seal.add_argument("slug")
    _file(seal)
    freeze = _leaf(datasets, "freeze", "rows:datasets_freeze", "freeze what is accepted now as a version")
    freeze.add_argument("slug")
    freeze.add_argument("--note", default="")
    _leaf(datasets, "versions", "rows:datasets_versions", "list the frozen versions, newest first").add_argument("slug")
    export = _leaf(datasets, "export", "rows:datasets_export", "write a frozen version as JSON lines")
    export.add_argument("version", metavar="SLUG[@N]")
    export.add_argument("--to", type=Path, metavar="FILE", help="default: stdout")
    publish = _leaf(datasets, "publish", "versions:publish", "write a version for others: rows, card, Croissant, proof")
    publish.add_argument("version", metavar="SLUG[@N]")
    publish.add_argument("--to", type=Path, required=True, metavar="FILE.zip", help="a zip file, or a folder to make")
    bring = _leaf(datasets, "import", "versions:bring", "take in a version that another installation published")
    bring.add_argument("file", type=Path, metavar="FILE.zip")
    bring.add_argument("--slug", default="", help="the short name it gets here (default: its own)")
    diff = _leaf(datasets, "diff", "versions:diff", "say what changed from one version to another")
    diff.add_argument("older", metavar="SLUG@N")
    diff.add_argument("newer", metavar="SLUG[@N]")
    prove = _leaf(datasets, "prove", "versions:prove", "write the proof that a row is in a version, or is not")
    prove.add_argument("version", metavar="SLUG[@N]")
    prove.add_argument("--example", type=int, metavar="N", help="the number of an example here")
    prove.add_argument("--hash", metavar="SHA256", help="the content hash of a row")
    prove.add_argument("--row", type=Path, metavar="FILE.json", help='the words: {"messages": […]}')


def _file(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path)
    typed.reading(command)


def _rows(commands: Commands) -> None:
    check = _leaf(commands, "check", "rows:check", "say what is wrong with each row of a file; nothing is sent")
    _file(check)
    check.add_argument("--dataset", required=True, metavar="SLUG")
    check.add_argument("--all", action="store_true", help="show the good rows too")
    submit = _leaf(commands, "submit", "rows:submit", "send the good rows of a file for review")
    _file(submit)
    submit.add_argument("--dataset", required=True, metavar="SLUG")
    submit.add_argument("--licence", help="an SPDX identifier (default: the dataset's own)")
    submit.add_argument("--mine-to-give", action="store_true", help="you may give these rows under that licence")
    review = _leaf(commands, "review", "rows:review", "show what waits for your verdict, or give one")
    review.add_argument("example", nargs="?", type=int, help="the number of the row to decide on")
    review.add_argument("--dataset", metavar="SLUG", help="whose queue to show")
    review.add_argument("--decision", choices=("accept", "return", "reject"))
    review.add_argument("--reason", help="from the closed list; needed unless you accept")
    review.add_argument("--note", default="", help="a word to the author")
    review.add_argument("--limit", type=int, default=10, help="rows of the queue to show")
    review.add_argument("--dispute", metavar="WORDS", help="say why a check that you just judged is wrong")
    for name, help in (
        ("--conflict", "leave the row to others: you had better not judge it"),
        ("--hold", "let the verdict count in ten seconds"), ("--undo", "take back what is on hold"),
    ):  # fmt: skip
        review.add_argument(name, action="store_true", help=help)
    overdue = _leaf(commands, "overdue", "rows:overdue", "decide, by the datasets' rules, what waits beyond its deadline")
    overdue.add_argument("--limit", type=int, default=500)


def _training(commands: Commands, *, with_knobs: bool) -> None:
    train = _leaf(commands, "train", "training:train", "train an adapter on a frozen version, through to its credits")
    _choice(train, with_knobs=with_knobs, several=True)
    train.add_argument("--name", default="")
    train.add_argument("--detach", action="store_true", help="leave it in the queue and return at once")
    train.add_argument("--preflight", action="store_true", help="try the longest packs first, some 20 seconds")
    train.add_argument("--anyway", action="store_true", help="queue it even if it does not fit this machine")
    tokens = _leaf(commands, "tokens", "tokens:tokens_shown", "show rows as the model sees them, and what is trained on")
    _choice(tokens, with_knobs=with_knobs)
    tokens.add_argument("--row", type=int, metavar="ID", help="the row with this id")
    tokens.add_argument("--pick", choices=("first", "longest", "random", "problem"), default="first", help="or such a row")
    tokens.add_argument("--quiet", action="store_true", help="only the sums and the gates, no row")
    tokens.add_argument("--progress-to", type=Path, help=argparse.SUPPRESS)
    guess = _leaf(commands, "estimate", "launch:estimate", "say what a run would take here: memory, time and disk")
    _choice(guess, with_knobs=with_knobs, several=True)
    preflight = _leaf(commands, "preflight", "launch:preflight", "try the longest packs of a recipe before a run is started")
    _choice(preflight, with_knobs=with_knobs, several=True)
    rehearse = _leaf(commands, "rehearse", "launch:rehearse", "do a preflight in this process", hidden=True)
    rehearse.add_argument("versions", nargs="+", metavar="ID:WEIGHT")
    runs = _group(commands, "runs", "training runs: the queue, the running one, the ended ones")
    listed = _leaf(runs, "list", "training:runs_list", "list the runs, newest first")
    listed.add_argument("--status")
    listed.add_argument("--limit", type=int, default=30)
    for name, help in (
        ("show", "say all about a run"), ("stop", "end a run after its step and keep what it learnt"),
        ("pause", "hold a run after its step, to go on later"), ("resume", "put a paused, stopped or broken run back"),
        ("cancel", "take a run out of the queue"), ("log", "print what a run's process wrote"),
        ("follow", "watch a run until it ends"),
    ):  # fmt: skip
        _leaf(runs, name, f"training:runs_{name}", help).add_argument("run", type=int)
    compare = _leaf(runs, "compare", "comparing:compare", "lay runs side by side: what was set differently, what came of it")
    compare.add_argument("runs", type=int, nargs="+", metavar="RUN", help="from 2 to 50 of them")
    compare.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table there as well; - is stdout, and nothing else"
    )
    for name, does, help in (
        ("samples", "answers", "print what a run answered while it learnt"),
        ("read", "read", "say what a run's curves show, why it broke if it did, and what to try next"),
    ):
        _leaf(runs, name, f"seen:{does}", help).add_argument("run", type=int)
    board = _leaf(runs, "tensorboard", "seen:tensorboard", "say where a run's TensorBoard files lie, or write them to a zip")
    board.add_argument("run", type=int)
    board.add_argument("--to", type=Path, metavar="FILE.zip", help="default: only say how TensorBoard opens them")
    again = _leaf(
        commands, "reproduce", "reproducing:reproduce", "train a finished run again and say whether the same came out"
    )
    again.add_argument("run", type=int)
    again.add_argument("--detach", action="store_true", help="leave it in the queue and return at once")
    again.add_argument("--show", action="store_true", help="only say what came of it before")
    _queue(runs, commands, with_knobs=with_knobs)
    worker = _leaf(commands, "worker", "training:worker", "work on queued runs until stopped")
    worker.add_argument("--beside-app", action="store_true", help="end when stdin does, as it does when the app ends")
    worker.add_argument("--in-turn", action="store_true", help="wait while another worker is at work, then take over")
    _leaf(commands, "work", "training:work", "work on one run in this process", hidden=True).add_argument("run", type=int)


def _choice(command: argparse.ArgumentParser, *, with_knobs: bool, several: bool = False) -> None:
    """What to train on and how: a version (or `several`), and a preset or file with an option for every knob."""
    if several:
        command.add_argument(
            "--dataset", action="append", metavar="SLUG[@N][:WEIGHT]",
            help="without a number the newest version; repeated, they are mixed, and the first one's held-out set counts;"
            " default: what the recipe's file names",
        )  # fmt: skip
    else:
        command.add_argument("--dataset", required=True, metavar="SLUG[@N]", help="without a number the newest version")
    command.add_argument("--preset", help="a recipe to start from")
    command.add_argument("--recipe", type=Path, metavar="FILE.yaml", help="a recipe to start from, as the wizard shows it")
    if with_knobs:
        _knobs(command)


def _searches(commands: Commands) -> None:
    search = _group(commands, "search", "search for the best recipe: trials one at a time, the hopeless given up")
    start = _leaf(search, "start", "search:start", "try recipes on a frozen version within a budget, and follow it")
    start.add_argument("--dataset", required=True, metavar="SLUG[@N]", help="without a number the newest version")
    start.add_argument(
        "--over", action="append", default=[], metavar="NAME=VALUES",
        help="vary this setting: learning_rate=1e-5..1e-3 or rank=8,16,32; without values its usual ones; may be repeated",
    )  # fmt: skip
    start.add_argument("--preset", help="a recipe to start from")
    start.add_argument("--recipe", type=Path, metavar="FILE.yaml", help="a recipe to start from")
    start.add_argument("--base-model", dest="knob_base_model", metavar="MODEL", help="default: the recipe's")
    start.add_argument("--method", default="tpe", help="tpe (Optuna's), random or grid (default: tpe)")
    start.add_argument("--pruner", default="median", help="median, halving or none (default: median)")
    start.add_argument("--trials", type=int, default=12, help="at most so many (default: 12)")
    start.add_argument("--minutes", type=float, default=0.0, help="begin no trial that would end later (default: no limit)")
    start.add_argument("--steps", type=int, default=0, help="steps a trial (default: the recipe's own length)")
    start.add_argument("--measurings", type=int, default=4, help="held-out measurings along each trial (default: 4)")
    start.add_argument("--seed", type=int, default=42, help="same seed, same trials (default: 42)")
    start.add_argument("--whole-line", action="store_true", help="keep, measure, attribute and pay every trial")
    start.add_argument("--name", default="")
    start.add_argument("--detach", action="store_true", help="leave it to a worker and return at once")
    _leaf(search, "list", "search:listed", "list the searches, newest first").add_argument("--limit", type=int, default=30)
    for name, help in (
        ("show", "say how a search goes on and what its trials gave"), ("stop", "end a search; what it found stays"),
        ("preset", "keep its best recipe as a preset"), ("train", "train its best recipe in full"),
    ):  # fmt: skip
        leaf = _leaf(search, name, f"search:{name}", help)
        leaf.add_argument("search", type=int)
        if name == "preset":
            leaf.add_argument("name", help="how the preset is to be called")
    presets = _group(commands, "presets", "recipes with a name, to start from")
    _leaf(presets, "list", "search:presets_listed", "list the presets")
    _leaf(presets, "delete", "search:presets_delete", "forget a preset that was kept here").add_argument("name")


def _queue(runs: Commands, commands: Commands, *, with_knobs: bool) -> None:
    _leaf(runs, "queue", "queue:runs_queue", "list what waits, in its order, and why")
    move = _leaf(runs, "move", "queue:runs_move", "move one of your queued runs among your own")
    move.add_argument("run", type=int)
    move.add_argument("where", choices=("up", "down", "top", "bottom"))
    order = _leaf(runs, "order", "queue:runs_order", "put your queued runs in this order")
    order.add_argument("runs", type=int, nargs="+", metavar="RUN")
    clone = _leaf(runs, "clone", "queue:runs_clone", "queue the same run with some settings changed, as with --rank 32")
    extend = _leaf(runs, "extend", "queue:runs_extend", "queue a run that goes on where this one ended")
    extend.add_argument("--epochs", type=float, default=1.0, help="how many more (default: 1)")
    for made in (clone, extend):
        made.add_argument("run", type=int)
        made.add_argument("--name", default="")
    if with_knobs:
        _knobs(clone)
    _leaf(runs, "retry", "queue:runs_retry", "try a failed or interrupted run again").add_argument("run", type=int)
    device = _leaf(commands, "device", "queue:device", "say who computes on this machine")
    device.add_argument("--free", action="store_true", help="ask the run that computes to make way; it goes on by itself")
    device.add_argument("--free-chat", action="store_true", help="end the chat process, which gives its memory back")


def _knobs(train: argparse.ArgumentParser) -> None:
    """An option for every knob of a recipe, with its help, unit and range."""
    from factory.training import recipes

    knobs = train.add_argument_group("recipe", "each of these changes one knob of the preset or file")
    for knob in recipes.knobs():
        range_of = f"{knob.low:g} to {knob.high:g}" if knob.low is not None and knob.high is not None else ""
        about = ", ".join(part for part in (range_of, knob.unit, f"default {knob.default!r}") if part)
        word = "|".join(map(str, knob.choices)) if knob.choices else {"bool": "true|false"}.get(knob.kind, knob.kind.upper())
        knobs.add_argument(
            "--" + knob.name.replace("_", "-"), dest=f"knob_{knob.name}", metavar=word,
            help=f"{knob.help} ({about})".replace("%", "%%"),
        )  # fmt: skip


def _results(commands: Commands) -> None:
    evaluate = _leaf(commands, "evaluate", "results:evaluate", "measure an adapter against its base on the held-out rows")
    evaluate.add_argument("adapter", type=int, nargs="?", help="default: the newest")
    chat = _leaf(commands, "chat", "results:chat", "talk to an adapter or to its base")
    chat.add_argument("prompt", nargs="*", help="what to say; without it, a conversation")
    chat.add_argument("--adapter", type=int, help="default: the newest")
    chat.add_argument("--base", metavar="MODEL", help="talk to this base model instead")
    chat.add_argument("--max-tokens", type=int, default=200)
    chat.add_argument("--temperature", type=float, default=0.0)
    chat.add_argument("--seed", type=int, default=0)
    chat.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    export = _leaf(commands, "export", "results:export", "write an adapter as a PEFT folder (zip) that works elsewhere")
    export.add_argument("adapter", type=int, nargs="?", help="default: the newest")
    credit = _group(commands, "credit", "what contributions earned, and the public ledger")
    _leaf(credit, "show", "results:credit_show", "the balances and the newest entries of the ledger")
    _leaf(credit, "statement", "results:credit_statement", "what moved a person's account").add_argument("name", nargs="?")
    receipt = _leaf(credit, "receipt", "results:credit_receipt", "one payment and all it was computed from")
    receipt.add_argument("id", type=int)
    house_words.credit(credit, _leaf)
    board = _leaf(commands, "leaderboard", "results:leaderboard", "rank contributors, datasets or adapters")
    board.add_argument("of", nargs="?", choices=("contributors", "datasets", "adapters"), default="contributors")
    board.add_argument("--dataset", metavar="SLUG", help="contributors to this dataset only")
    board.add_argument("--why", metavar="NAME", help="why this contributor ranks where they do, in numbers")


def main(words: Sequence[str] | None = None) -> int:
    """Do what was typed and return the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    knobs = words[:1] in (["train"], ["tokens"], ["estimate"], ["preflight"]) or words[:2] == ["runs", "clone"]
    arguments = (known := parser(with_knobs=knobs)).parse_args(words)
    if arguments.does == "training:train" and not arguments.dataset and not arguments.recipe:
        known.error("train needs --dataset SLUG[@N], or a --recipe whose file names its data")
    from factory.base.errors import FactoryError, Invalid

    try:
        return _act(arguments)
    except FactoryError as problem:
        if arguments.json:
            problems = problem.problems if isinstance(problem, Invalid) else []
            print(json.dumps({"error": str(problem), "problems": problems, "status": problem.status}, ensure_ascii=False))
        print("\n".join(problem.problems) if isinstance(problem, Invalid) else problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the answer has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _act(arguments: argparse.Namespace) -> int:
    from factory.base import people, store
    from factory.base import settings as settings_module
    from factory.commands.desk import Desk

    does = command(arguments.does)
    settings = settings_module.load()
    with store.connect(settings) as db:
        person = people.get(db, arguments.who) if arguments.who else people.maintainer(db)
        return does(Desk(settings, db, person, arguments.json), arguments) or 0


def command(does: str) -> Callable[[Desk, argparse.Namespace], int | None]:
    """The function that `module:function` of factory/commands names."""
    module, _, function = does.partition(":")
    found: Callable[[Desk, argparse.Namespace], int | None] = getattr(
        importlib.import_module(f"factory.commands.{module}"), function
    )
    return found


if __name__ == "__main__":
    if not sys.warnoptions:  # what libraries announce to programmers; the tests turn it into errors
        warnings.simplefilter("ignore")
    sys.exit(main())
