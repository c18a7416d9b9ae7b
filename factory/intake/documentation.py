"""What the installed Python says about itself: every well-known function, and questions with answers made from it.

Pure: the same Python gives the same entries and the same questions, in the same order. The sample dataset is written
with `question`, and its demo reviewers look things up with `named_in`; neither knows of the other.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

MODULES = """
    os os.path pathlib itertools functools collections re json math cmath statistics random datetime shutil string
    textwrap bisect heapq operator copy glob fnmatch hashlib base64 csv urllib.parse time calendar decimal fractions
    contextlib tempfile zipfile tarfile gzip zlib bz2 lzma struct uuid secrets difflib pprint inspect ast html shlex
    unicodedata binascii colorsys filecmp linecache keyword warnings traceback timeit pickle queue threading
    subprocess logging configparser argparse ipaddress getpass platform sys gc weakref mimetypes types
"""
TYPES: tuple[type, ...] = (str, list, dict, set, frozenset, tuple, bytes, bytearray, int, float)
CLASSES = """
    pathlib.Path collections.Counter collections.deque collections.OrderedDict collections.ChainMap datetime.date
    datetime.datetime datetime.timedelta decimal.Decimal fractions.Fraction zipfile.ZipFile tarfile.TarFile
    contextlib.ExitStack threading.Thread threading.Event queue.Queue configparser.ConfigParser random.Random
    string.Template argparse.ArgumentParser ipaddress.IPv4Address ipaddress.IPv4Network difflib.SequenceMatcher
    subprocess.Popen csv.DictReader statistics.NormalDist uuid.UUID textwrap.TextWrapper calendar.Calendar
"""
VERBS = """
    abort add announce append apply ask attempt build calculate call cancel capture cast change check choose clean
    clear close collapse combine compare compile compose compress compute concatenate construct control convert copy
    count create deactivate decode decompress decrease decrement delete describe deserialize detect determine differ
    disable disassemble display divide do drop dump emit empty enable encode ensure enter escape evaluate execute
    exit expand extend extract fill filter find flush force format generate get give handle hash implement increase
    increment indicate initialize insert invert issue iterate join kill list load locate log look make map mark
    match merge modify move multiply name normalize obtain open override pack parse perform pickle place pop
    pretty-print prepare print produce provide push put query quote raise read rearrange receive record recursively
    register release remove rename render repeat replace report represent request reset resolve restore retrieve
    return reverse rotate round run scan schedule search seek select send serialize set shuffle skip sleep sort
    split spawn start stop store strip subtract swap take tell terminate test transform translate truncate try
    unpack unquote unregister update use validate verify wait walk warn wrap write yield
"""
STOP = """
    a an and any are as at be been but by can do does for from has have how if in into is it its may not of on one
    or s so that the their then there this to was what when where which with you your
"""
WORDINGS = {
    "does": (
        "What does `{name}` do?",
        "What is `{name}` for?",
        "In Python, what does `{name}` do?",
        "Explain `{name}` in one or two sentences.",
        "I came across `{name}`. What does it do?",
    ),
    "which": (
        "Which {kind} of `{owner}` {said}?",
        "Is there a {kind} in `{owner}` that {said}?",
        "I need a {kind} of `{owner}` that {said}. Which one?",
        "Name the {kind} of `{owner}` that {said}.",
    ),
    "call": (
        "How do I call `{name}`?",
        "What arguments does `{name}` take?",
        "Please show how `{name}` is called.",
        "How is `{name}` used?",
    ),
    "module": (
        "Which module has `{short}`?",
        "Where do I import `{short}` from?",
        "Which module is `{short}` in?",
        "How do I import `{short}`, and what is it for?",
    ),
    "default": (
        "What is the default of `{parameter}` in `{name}`?",
        "If I leave out `{parameter}`, what does `{name}` use?",
        "Does `{name}` have a default for `{parameter}`?",
    ),
}
DOTTED = re.compile(r"[A-Za-z_][\w.]*\.[A-Za-z_]\w*")
VERB_SET, STOP_SET = frozenset(VERBS.split()), frozenset(STOP.split())
SHORTEST_SUMMARY, LONGEST_SUMMARY, LONGEST_SIGNATURE = 18, 170, 72


@dataclass(frozen=True)
class Entry:
    """One function, class or method as its documentation has it.

    `name` is what one types after importing `module` (`shutil.copy`, `str.strip`); `signature` is "" where Python does
    not tell; `summary` is the first sentence of the docstring, `more` the second or "".
    """

    name: str
    module: str
    kind: str
    signature: str
    summary: str
    more: str
    defaults: tuple[tuple[str, str], ...]

    @property
    def short(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def call(self) -> str:
        return f"{self.name}{self.signature}"


@cache
def entries() -> tuple[Entry, ...]:
    """Every documented function, class and method with a usable docstring, by name; one entry for one object.

    Where two entries would say the same, the first keeps its place: a question about either could not be told apart.
    """
    found: dict[str, Entry] = {}
    seen: set[str] = set()
    for name, module, kind, thing in _things():
        entry = _entry(name, module, kind, thing)
        if entry is None or name in found:
            continue
        said = " ".join(words(entry.summary))
        if said not in seen:
            seen.add(said)
            found[name] = entry
    return tuple(found[name] for name in sorted(found))


def _things() -> Iterator[tuple[str, str, str, Any]]:
    ours: set[int] = set()
    for module_name in MODULES.split():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue  # a Python built without it
        for short in _public(module):
            thing = getattr(module, short, None)
            if not (inspect.isroutine(thing) or inspect.isclass(thing)) or id(thing) in ours:
                continue
            ours.add(id(thing))
            yield f"{module_name}.{short}", module_name, "class" if inspect.isclass(thing) else "function", thing
    for owner in TYPES:
        yield from _methods(owner.__name__, "builtins", owner)
    for name in CLASSES.split():
        module_name, _, short = name.rpartition(".")
        yield from _methods(name, module_name, getattr(importlib.import_module(module_name), short))


def _public(module: ModuleType) -> list[str]:
    offered = getattr(module, "__all__", None)
    if offered is not None:
        return sorted(offered)
    root = module.__name__.partition(".")[0]
    return sorted(
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and (getattr(thing, "__module__", None) or root).lstrip("_").partition(".")[0] == root
    )


def _methods(owner_name: str, module: str, owner: type) -> Iterator[tuple[str, str, str, Any]]:
    for short in sorted(vars(owner)):
        if not short.startswith("_") and callable(getattr(owner, short)):
            yield f"{owner_name}.{short}", module, "method", getattr(owner, short)


def _entry(name: str, module: str, kind: str, thing: Any) -> Entry | None:
    documentation = inspect.getdoc(thing) or ""
    if inspect.isclass(thing) and (issubclass(thing, BaseException) or "__doc__" not in vars(thing)):
        return None
    sentences = _sentences(documentation, name.rpartition(".")[2])
    if not sentences or not SHORTEST_SUMMARY <= len(sentences[0]) <= LONGEST_SUMMARY:
        return None
    if re.search(r"deprecated|obsolete|internal use|not part of|private", documentation[:400], re.IGNORECASE):
        return None
    signature, defaults = _signature(thing)
    more = sentences[1] if len(sentences) > 1 and len(sentences[0] + sentences[1]) <= LONGEST_SUMMARY else ""
    return Entry(name, module, kind, signature, sentences[0], more, defaults)


def _signature(thing: Any) -> tuple[str, tuple[tuple[str, str], ...]]:
    try:
        found = inspect.signature(thing)
    except (ValueError, TypeError):
        return "", ()
    parameters = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name not in ("self", "cls")]
    try:
        text = str(found.replace(parameters=parameters, return_annotation=found.empty))
    except ValueError:
        return "", ()
    # A default such as <object object at 0x7f…> or the path of this Python differs from one place to the next.
    if len(text) > LONGEST_SIGNATURE or re.search(r"<|=_|='/|=\"/|:\\\\", text):
        return "", ()
    pairs = tuple((p.name, repr(p.default)) for p in parameters if p.default is not p.empty)
    return text, pairs


def _sentences(documentation: str, short: str) -> list[str]:
    paragraphs = [" ".join(part.split()) for part in documentation.split("\n\n")]
    if paragraphs and re.match(rf"[\w.]*\b{re.escape(short)}\(", paragraphs[0]):
        # The old style tells the call first: `pop(k[,d]) -> v, remove the key …`. What is called is known already.
        rest = re.sub(r"^[^>]*?\)\s*(->|--)\s*[\w.\[\], ]*?(,|\.|--|:|$)\s*", "", paragraphs[0])
        paragraphs = [rest, *paragraphs[1:]] if rest != paragraphs[0] else paragraphs[1:]
    text = next((part for part in paragraphs if part), "")
    text = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", lambda found: found[1] or found[2], text)
    if re.search(r"[^\x20-\x7e]|`|\'\'|::|\|| >>>|\*\*|[{}_`]_|^[-*@<]|\.\.\.", text):
        return []
    found = [part.strip() for part in re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)\s+(?=[A-Z\"'(])", text)]
    return [part if part.endswith((".", "!", "?")) else part + "." for part in found if part and not part.endswith(":")]


def words(text: str) -> list[str]:
    """The words of a text in order, lower case, names taken apart at dots and underscores.

    >>> words("`os.path.isfile(path)` tests whether …")
    ['os', 'path', 'isfile', 'path', 'tests', 'whether']
    """
    return re.findall(r"[a-z0-9]+", text.lower())


def content_words(text: str) -> set[str]:
    """The words that carry meaning, cut to a common stem so that "returns" and "return" agree.

    >>> sorted(content_words("Returns the copies of a string"))
    ['copi', 'return', 'string']
    """
    return {_stem(word) for word in words(text) if word not in STOP_SET}


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-2]
    if len(word) > 3 and word.endswith("y"):
        return word[:-1] + "i"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def named_in(text: str) -> list[Entry]:
    """The entries a text names, in the order of their first mention: full names first, then last parts in backticks."""
    by_name, by_short = _index()
    full = [by_name[name] for name in DOTTED.findall(text) if name in by_name]
    short = [e for name in re.findall(r"`([A-Za-z_]\w*)\b[^`]*`", text) for e in by_short.get(name, ())]
    return list(dict.fromkeys([*full, *short]))


@cache
def _index() -> tuple[dict[str, Entry], dict[str, list[Entry]]]:
    by_short: dict[str, list[Entry]] = {}
    for entry in entries():
        by_short.setdefault(entry.short, []).append(entry)
    return {entry.name: entry for entry in entries()}, by_short


def seed(*parts: object) -> int:
    """A number that depends on the parts alone, the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:6], "big")


def pick(choices: list[str] | tuple[str, ...], *parts: object) -> str:
    """One of `choices`, always the same for the same parts."""
    return choices[seed(*parts) % len(choices)]


def says(entry: Entry) -> str:
    """The summary as the end of a sentence that begins with the name; "" where its first words do not allow it.

    >>> says(Entry("shutil.copy", "shutil", "function", "(src, dst)", "Copy data and mode bits.", "", ()))
    'copies data and mode bits.'
    >>> says(Entry("pathlib.Path.exists", "pathlib", "method", "()", "Whether this path exists.", "", ()))
    'tells whether this path exists.'
    """
    first, _, rest = entry.summary.partition(" ")
    lower = first.lower()
    if lower in VERB_SET:
        return f"{_third_person(lower)} {rest}"
    if lower.endswith("s") and _base(lower) in VERB_SET:
        return f"{lower} {rest}"
    if lower.endswith("ly") and rest.split(" ")[0] in VERB_SET:
        verb, _, rest = rest.partition(" ")
        return f"{lower} {_third_person(verb)} {rest}"
    if lower in ("a", "an", "the"):
        return f"is {lower} {rest}"
    if lower in ("class", "context", "decorator", "metaclass"):
        return f"is a {lower} {rest}"
    return f"tells whether {rest}" if lower == "whether" else ""


def _base(verb: str) -> str:
    plain = verb[:-1]
    return next((b for b in (plain, verb[:-2], verb[:-3] + "y") if b in VERB_SET), plain)


def _third_person(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def kinds(entry: Entry) -> list[str]:
    """The kinds of question that the documentation of an entry can answer."""
    if not says(entry):
        return []
    fits = ["does"]
    if entry.short.lower() not in words(entry.summary):  # else the question would give the answer away
        fits.append("which")
    if len(entry.signature) > 2:
        fits.append("call")
    if entry.kind != "method" and len(_index()[1][entry.short]) == 1:
        fits.append("module")
    if entry.defaults:
        fits.append("default")
    return fits


def question(entry: Entry, kind: str) -> tuple[str, str]:
    """A question of this kind about an entry, and its answer; a hash of the name chooses the wording.

    >>> copy = Entry("shutil.copy", "shutil", "function", "(src, dst)", "Copy data and mode bits.", "", ())
    >>> question(copy, "call")[1]
    'Call it as `shutil.copy(src, dst)`. It copies data and mode bits.'
    """
    name, call, said = entry.name, entry.call, says(entry)
    called = f"Call it as `{call}`." if entry.signature else _place(entry)
    if kind == "does":
        return pick(WORDINGS[kind], name).format(name=name), f"`{name}` {said} {called}"
    if kind == "which":
        owner = name.rpartition(".")[0]
        asked = pick(WORDINGS[kind], name).format(kind=entry.kind, owner=owner, said=said.rstrip("."))
        return asked, f"That is `{name}`. {called}"
    if kind == "call":
        return pick(WORDINGS[kind], name).format(name=name), f"{called} It {said}"
    if kind == "module":
        asked = pick(WORDINGS[kind], name).format(short=entry.short)
        place = f"`{entry.short}` is in the module `{entry.module}`"
        return asked, f"{place}: write `from {entry.module} import {entry.short}`. It {said}"
    parameter, default = entry.defaults[seed(name) % len(entry.defaults)]
    asked = pick(WORDINGS[kind], name).format(name=name, parameter=parameter)
    return asked, f"In `{call}`, `{parameter}` is `{default}` unless you say otherwise. `{entry.short}` {said}"


def _place(entry: Entry) -> str:
    return "It is built in." if entry.module == "builtins" else f"It belongs to the module `{entry.module}`."
