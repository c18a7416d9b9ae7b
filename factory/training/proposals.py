"""What to try next, and what to give up: Optuna's samplers and pruners over a study rebuilt from the trials so far.

Nothing is kept between two questions, so a search that was killed goes on as if it had not been: the same trials and the
same seed give the same answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factory.training import spaces
from factory.training.recipes import Recipe
from factory.training.spaces import Range

if TYPE_CHECKING:
    import optuna

METHODS = {
    "tpe": "Optuna's TPE: looks around at random first, then near what worked",
    "random": "at random",
    "grid": "every combination, in a shuffled order",
}
PRUNERS = {
    "median": "give up a trial that is worse than the median of the earlier ones at the same point",
    "halving": "successive halving: at the 1st, 2nd, 4th … measuring only the better half goes on",
    "none": "let every trial run to its end",
}
MEDIAN_AFTER = 3  # so many trials have to be done before a median says anything
REDRAWS = 30


@dataclass(frozen=True)
class Trial:
    """One trial as the sampler sees it: `curve` maps the measuring's place (1, 2, …) to the held-out loss there."""

    settings: Mapping[str, Any]
    status: str  # done, pruned; whatever else says nothing
    value: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)


def propose(
    ranges: Sequence[Range], past: Sequence[Trial], *, method: str, seed: int, start: Recipe
) -> dict[str, Any] | None:
    """The settings of the next trial; None when every combination was tried.

    The first trial is the starting recipe itself, where the ranges hold it, so that all others have something to beat.
    """
    tried = {_key(trial.settings) for trial in past}
    if method == "grid":
        return next((cell for cell in spaces.grid(ranges, seed=seed) if _key(cell) not in tried), None)
    own = {each.name: getattr(start, each.name) for each in ranges}
    if not past and all(each.holds(own[each.name]) for each in ranges):
        return own
    whole = spaces.size(ranges)
    if whole is not None and len(tried) >= whole:
        return None
    distributions = {each.name: _distribution(each) for each in ranges}
    settings: dict[str, Any] = {}
    for redraw in range(REDRAWS):
        study = _study(ranges, past, method=method, seed=seed + 1000 * len(past) + redraw)
        drawn = study.ask(distributions).params
        settings = {name: spaces.tidy(value) if isinstance(value, float) else value for name, value in drawn.items()}
        if _key(settings) not in tried:
            return settings
    left = [cell for cell in spaces.grid(ranges, seed=seed) if _key(cell) not in tried] if whole else []
    return left[0] if left else settings


def hopeless(past: Sequence[Trial], curve: Mapping[int, float], *, pruner: str) -> bool:
    """Whether a trial with this curve so far should be given up, in view of the trials before it."""
    import optuna

    if pruner == "none" or not curve:
        return False
    asked = optuna.pruners.MedianPruner(n_startup_trials=MEDIAN_AFTER, n_warmup_steps=0)
    halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    study = _empty(pruner=asked if pruner == "median" else halving)
    for trial in past:  # told point by point: halving remembers who passed which one
        if trial.status in ("done", "pruned"):
            _walk(study, trial.curve)
            state = optuna.trial.TrialState.COMPLETE if trial.status == "done" else optuna.trial.TrialState.PRUNED
            study.tell(len(study.trials) - 1, trial.value if trial.status == "done" else None, state=state)
    return _walk(study, curve)


def _walk(study: optuna.Study, curve: Mapping[int, float]) -> bool:
    trial, given_up = study.ask(), False
    for place in sorted(curve):
        trial.report(curve[place], place)
        given_up = trial.should_prune()
    return given_up


def importance(ranges: Sequence[Range], past: Sequence[Trial]) -> dict[str, float]:
    """How much each setting decided the loss, shares that add up to 1 (PED-ANOVA); empty where too little is known."""
    import optuna

    done = [trial for trial in past if trial.status == "done"]
    varied = [each for each in ranges if len({trial.settings[each.name] for trial in done}) > 1]
    if len(done) < 4 or not varied:
        return {}
    study = _study(ranges, done, method="random", seed=0)
    found = optuna.importance.get_param_importances(study, params=[each.name for each in varied])
    return {name: float(share) for name, share in found.items()}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _empty(**how: Any) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="minimize", **how)


def _study(ranges: Sequence[Range], past: Sequence[Trial], *, method: str, seed: int) -> optuna.Study:
    """An in-memory study with these trials in it."""
    import optuna

    first = max(3, min(10, len(ranges) * 3))
    samplers = optuna.samplers
    sampler = (
        samplers.TPESampler(seed=seed, n_startup_trials=first) if method == "tpe" else samplers.RandomSampler(seed=seed)
    )
    study = _empty(sampler=sampler)
    states = optuna.trial.TrialState
    for trial in past:
        inside = {each.name: _distribution(each) for each in ranges if each.holds(trial.settings[each.name])}
        study.add_trial(
            optuna.trial.create_trial(
                params={name: trial.settings[name] for name in inside},
                distributions=inside,
                value=trial.value if trial.status == "done" else None,
                intermediate_values=dict(trial.curve),
                state={"done": states.COMPLETE, "pruned": states.PRUNED}.get(trial.status, states.FAIL),
            )
        )
    return study


def _distribution(each: Range) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if each.choices:
        return distributions.CategoricalDistribution(each.choices)
    if each.whole:
        return distributions.IntDistribution(int(each.low), int(each.high), log=each.log)
    return distributions.FloatDistribution(each.low, each.high, log=each.log)
