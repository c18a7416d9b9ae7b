"""Asking the base model or an adapter, streamed; and the process that does so for pages.

One base model stays loaded in a process. Adapters are put on it side by side, and the base itself is the same model with
its adapters switched off: what differs between two answers is the adapter and nothing else.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait
from pathlib import Path
from typing import Any

import psutil
import torch
from filelock import FileLock, Timeout

from factory.adapters import kept, talk
from factory.base import store
from factory.base.errors import Conflict, FactoryError, Invalid
from factory.base.settings import Settings
from factory.training import device, models

IDLE_SECONDS = 600.0
MAXIMUM_TOKENS = 2048
MAXIMUM_TEMPERATURE = 2.0
ADAPTERS_AT_ONCE = 4
FREED = "Somebody freed the model's memory meanwhile; ask again and it is loaded anew."

Messages = Sequence[dict[str, str]]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Loaded:
    """A base model in memory. `model` is plain until the first adapter and PEFT's from then on."""

    folder: str
    hash: str
    template_hash: str | None
    tokenizer: Any
    model: Any
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Voice:
    """Who answers: a loaded model, the adapter switched on in it (None: the base), and what is said before all else."""

    loaded: Loaded
    adapter: str | None
    system_prompt: str


_loaded: list[Loaded] = []  # at most one; a list, so that it can be replaced


def stream(
    settings: Settings,
    model_name: str,
    adapter_folder: Path | None,
    messages: Messages,
    *,
    max_tokens: int = 200,
    temperature: float = 0.0,
    seed: int = 0,
    should_stop: ShouldStop | None = None,
) -> Iterator[str]:
    """The answer to a conversation in pieces of text; greedy at temperature 0, else sampled from `seed`.

    Ends at the end of the turn, after `max_tokens` tokens, or when `should_stop()` is true between two tokens. An adapter
    is asked with the system prompt it was trained with, unless the conversation brings its own.
    Raises Invalid for a conversation, a number or an adapter that does not fit, NotFound for an unknown model.
    """
    _check(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
    voice = _voice(settings, model_name, adapter_folder)
    prompt = _prompt(voice, messages, max_tokens)
    tokenizer = voice.loaded.tokenizer
    tokens: list[int] = []
    shown = ""
    for token in _tokens(voice, prompt, max_tokens, temperature, seed, should_stop):
        tokens.append(token)
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        if len(text) > len(shown) and not text.endswith("\N{REPLACEMENT CHARACTER}"):  # that is half a character
            yield text[len(shown) :]
            shown = text
    rest = tokenizer.decode(tokens, skip_special_tokens=True)[len(shown) :]
    if rest:
        yield rest


def greedy_tokens(
    settings: Settings, model_name: str, adapter_folder: Path | None, messages: Messages, *, max_tokens: int = 24
) -> list[int]:
    """The likeliest answer as token ids, its end-of-turn token included: what an export has to say again."""
    _check(messages, max_tokens=max_tokens)
    voice = _voice(settings, model_name, adapter_folder)
    return list(_tokens(voice, _prompt(voice, messages, max_tokens), max_tokens, 0.0, 0, None, with_end=True))


def _check(messages: Messages, *, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> None:
    problems = []
    roles = []
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise Invalid("A conversation is a list of messages with a role and a content, both text.")
        roles.append(message["role"])
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user" if i % 2 == 0 else "assistant" for i in range(len(turns))] or turns[-1] != "user":
        problems.append("Ask something: after an optional system message, user and assistant take turns, the user last.")
    elif not messages[-1]["content"].strip():
        problems.append("The last message is empty; write a question.")
    if not 1 <= max_tokens <= MAXIMUM_TOKENS:
        problems.append(f"An answer has 1 to {MAXIMUM_TOKENS} tokens; {max_tokens} is outside.")
    if not -(2**63) <= seed < 2**63:
        problems.append("A seed is a whole number of at most 18 digits.")
    if not 0 <= temperature <= MAXIMUM_TEMPERATURE:
        problems.append(f"The temperature lies between 0 and {MAXIMUM_TEMPERATURE:g}; {temperature} is outside.")
    if problems:
        raise Invalid(problems)


def _voice(settings: Settings, model_name: str, adapter_folder: Path | None) -> Voice:
    base = models.get(settings, model_name)
    loaded = _same(base["folder"], base["hash"], base["template_hash"])  # a changed file is read anew, and then refused
    if loaded is None:
        _loaded.clear()  # first, so that two models are never in memory together
        model, tokenizer = models.load(settings, model_name)
        loaded = Loaded(base["folder"], base["hash"], base["template_hash"], tokenizer, model)
        _loaded.append(loaded)
    if adapter_folder is None:
        return Voice(loaded, None, "")
    sheet = kept.sheet(adapter_folder)
    kept.need_fit(sheet, model_hash=loaded.hash, template_hash=models.template_hash(loaded.tokenizer))
    if adapter_folder.name not in loaded.adapters:
        loaded = _put_on(loaded, adapter_folder)
        _loaded[:] = [loaded]
    return Voice(loaded, adapter_folder.name, sheet["system_prompt"])


def _same(folder: str, digest: str, template: str | None) -> Loaded | None:
    return next((one for one in _loaded if (one.folder, one.hash, one.template_hash) == (folder, digest, template)), None)


def _put_on(loaded: Loaded, adapter_folder: Path) -> Loaded:
    """One more adapter on the loaded model; the oldest makes room."""
    from peft import PeftModel

    name, model, adapters = adapter_folder.name, loaded.model, loaded.adapters
    if not isinstance(model, PeftModel):
        model = PeftModel.from_pretrained(model, str(adapter_folder), adapter_name=name)
    else:
        model.load_adapter(str(adapter_folder), adapter_name=name)
    model.set_adapter(name)
    model.requires_grad_(False)
    adapters = (*adapters, name)
    for oldest in adapters[:-ADAPTERS_AT_ONCE]:
        model.delete_adapter(oldest)
    return replace(loaded, model=model.eval(), adapters=adapters[-ADAPTERS_AT_ONCE:])


def _prompt(voice: Voice, messages: Messages, max_tokens: int) -> list[int]:
    ids = kept.prompt(voice.loaded.tokenizer, messages, system_prompt=voice.system_prompt)
    room = int(getattr(voice.loaded.model.config, "max_position_embeddings", 0) or 2**20)
    if len(ids) + max_tokens > room:
        raise Invalid(
            f"The conversation is too long for this model: {len(ids)} tokens and an answer of {max_tokens} do not fit into"
            f" {room}; begin again or ask for less."
        )
    return ids


def _tokens(
    voice: Voice,
    prompt: list[int],
    max_tokens: int,
    temperature: float,
    seed: int,
    should_stop: ShouldStop | None,
    *,
    with_end: bool = False,
) -> Iterator[int]:
    draws = torch.Generator().manual_seed(seed)
    ends = kept.end_tokens(voice.loaded.model, voice.loaded.tokenizer)
    given, cache = prompt, None
    for _ in range(max_tokens):
        if should_stop is not None and should_stop():
            return
        logits, cache = _step(voice, given, cache)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1, generator=draws))
        if token in ends and not with_end:
            return
        yield token
        if token in ends:
            return
        given = [token]


def _step(voice: Voice, given: list[int], cache: Any) -> tuple[torch.Tensor, Any]:
    """Scores of the next token (vocabulary, float32, on the CPU) and the cache that has read `given` as well.

    Which adapter is on is said at every step, so that two answers from one model may be drawn in turns.
    """
    loaded = _same(voice.loaded.folder, voice.loaded.hash, voice.loaded.template_hash) or voice.loaded
    model = loaded.model
    off = nullcontext()
    if voice.adapter is not None:
        if model.active_adapter != voice.adapter:
            model.set_adapter(voice.adapter)
    elif loaded.adapters:
        off = model.disable_adapter()
    with torch.inference_mode(), off:
        ids = torch.tensor([given], device=model.device)
        answer = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return answer.logits[0, -1].float().cpu(), answer.past_key_values


def serve(settings: Settings, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """Answer `talk.stream` until nobody has asked for `idle_seconds`, or until `talk.free`.

    One answer at a time, in the order of asking. Returns at once where another process serves this installation.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    # Training beside it takes every core, and two processes that both do crawl; words need few.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    try:
        with FileLock(settings.home / "chat.lock", timeout=0):
            device.settle(settings)
            _serve_alone(settings, idle_seconds)
    except Timeout:
        return


@dataclass(frozen=True)
class Room:
    """What the threads of the chat process share: whose turn it is, who waits, and whether to leave."""

    settings: Settings
    idle_seconds: float
    turn: threading.Lock = field(default_factory=threading.Lock)
    leaving: threading.Event = field(default_factory=threading.Event)
    waiting: set[int] = field(default_factory=set)
    now: dict[str, Any] = field(default_factory=lambda: {"state": "idle", "model_name": None, "since": time.monotonic()})


def _serve_alone(settings: Settings, idle_seconds: float) -> None:
    room = Room(settings, idle_seconds)
    address = talk.address(settings)
    Path(address).unlink(missing_ok=True)  # left by one that was killed: whoever holds the lock may take it away
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(address)
        os.chmod(address, 0o600)
        door.listen(32)
        while not room.leaving.is_set() and (room.turn.locked() or room.waiting or _idle_for(room) < idle_seconds):
            if wait([door], timeout=0.25):
                connection = Connection(door.accept()[0].detach())
                threading.Thread(target=_attend, args=(room, connection), daemon=True).start()
        Path(address).unlink(missing_ok=True)
    room.leaving.set()
    if room.turn.acquire(timeout=5):  # an answer under way ends at its next token
        room.turn.release()


def _idle_for(room: Room) -> float:
    return time.monotonic() - float(room.now["since"])


def _attend(room: Room, connection: Connection) -> None:
    """One caller, from the handshake to the last piece."""
    with connection:
        try:
            key = talk.authkey(room.settings)
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            try:
                _answer(room, connection, talk.receive(connection))
            except FactoryError as problem:
                talk.send(connection, {"error": str(problem), "family": type(problem).__name__})
        except (EOFError, OSError, AuthenticationError):
            return  # the caller went away, or does not know the key


def _answer(room: Room, connection: Connection, request: dict[str, Any]) -> None:
    verb = request.get("do")
    if verb == "status":
        talk.send(connection, {"status": _status(room)})
    elif verb == "free":
        room.leaving.set()
        talk.send(connection, {"end": True})
    elif verb == "talk":
        room.waiting.add(threading.get_ident())
        try:
            while not room.turn.acquire(timeout=0.2):
                if room.leaving.is_set():
                    raise Conflict(FREED)
                if connection.poll():
                    return
        finally:
            room.waiting.discard(threading.get_ident())
        try:
            _answer_in_turn(room, connection, request)
        finally:
            room.now.update(state="idle", since=time.monotonic())
            room.turn.release()
    else:
        raise Invalid("The chat process knows talk, status and free; update the program that asked.")


def _answer_in_turn(room: Room, connection: Connection, request: dict[str, Any]) -> None:
    """Hold the device for the length of the answer, or answer beside who holds it: on one thread, if memory has room."""
    threads = torch.get_num_threads()
    try:
        with device.held(room.settings, device.CHAT, "Chat is answering"):
            _talk(room, connection, request)
            return
    except Conflict:
        if device.holder(room.settings) is None or room.leaving.is_set():
            raise  # it was not the device that was in the way
    _need_room(room, request)
    torch.set_num_threads(1)  # training beside it keeps its cores
    try:
        _talk(room, connection, request)
    finally:
        torch.set_num_threads(threads)


def _need_room(room: Room, request: dict[str, Any]) -> None:
    """Refuse to load a model beside a training where memory has no room for both. A loaded one is there already."""
    found = device.holder(room.settings)
    model = models.find(room.settings, str(request.get("model_name")))
    if found is None or model is None or any(one.hash == model["hash"] for one in _loaded):
        return
    needs = 1.5 * sum(file.stat().st_size for file in Path(model["folder"]).rglob("*.safetensors"))
    if psutil.virtual_memory().available < needs:
        raise Conflict(
            f"{found.words}, and memory has no room for a model to talk to beside it; wait, or free the device on the page"
            " of runs: the run then makes way and goes on by itself."
        )


def _talk(room: Room, connection: Connection, request: dict[str, Any]) -> None:
    try:
        adapter_id = None if request["adapter_id"] is None else int(request["adapter_id"])
        model_name, seed = str(request["model_name"]), int(request["seed"])
        max_tokens, temperature = int(request["max_tokens"]), float(request["temperature"])
        messages = list(request["messages"])
    except (KeyError, TypeError, ValueError) as problem:
        raise Invalid("That is not a complete question to the chat process; update the program that asked.") from problem
    adapter_folder = None
    if adapter_id is not None:
        with store.connect(room.settings) as db:
            adapter_folder = kept.folder(db, room.settings, adapter_id)
            model_name = kept.get(db, adapter_id)["model_name"]
    room.now.update(state="loading", model_name=model_name)
    pieces = stream(
        room.settings,
        model_name,
        adapter_folder,
        messages,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        should_stop=lambda: room.leaving.is_set() or connection.poll(),  # a caller says nothing more, so it has left
    )
    with closing(pieces):  # type: ignore[type-var]
        for piece in pieces:
            room.now.update(state="talking")
            talk.send(connection, {"piece": piece})
    if room.leaving.is_set():
        raise Conflict(FREED)
    talk.send(connection, {"end": True})


def _status(room: Room) -> dict[str, Any]:
    busy = room.turn.locked()
    return {
        "state": room.now["state"] if busy else "idle",
        "waiting": len(room.waiting),
        "model_name": room.now["model_name"],
        "memory_bytes": psutil.Process().memory_info().rss,
        "pid": os.getpid(),
        "idle_seconds": 0.0 if busy else round(_idle_for(room), 1),
        "exits_after_seconds": room.idle_seconds,
    }
