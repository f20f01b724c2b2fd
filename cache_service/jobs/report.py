"""What `evaluate` and `calibrate` print for people, as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cache_service.calibration import NEVER, Calibration, needed
from cache_service.jobs.calibrate import Outcome, Report, Route
from cache_service.jobs.evaluate import Evaluation, Tally
from cache_service.jobs.replay import Replayed

WIDTH = 32  # characters of a category's name
CELL = 10  # characters of a rate


def percent(rate: float | None, digits: int = 1) -> str:
    """3.4 %, or a dash."""
    return "–" if rate is None else f"{rate:.{digits}%}"


def evaluation(result: Evaluation) -> Iterator[str]:
    """The table of the gate in force, then every gate with its bounds."""
    yield f"{'category':{WIDTH}} {'pairs':>7} {'same':>7} {'hits':>7} {'true hits':>10} {'false hits':>10}"
    for name, tally in [*sorted(result.by_category.items()), ("all", result.total)]:
        rates = f"{percent(tally.true_hit_rate):>10} {percent(tally.false_hit_rate):>10}"
        yield f"{name[:WIDTH]:{WIDTH}} {tally.pairs:7} {tally.same:7} {tally.hits:7} {rates}"
    yield f"gate {result.gate}"
    yield ""
    yield "By gate; bounds are upper ones of the false hits, 95 % certain (Clopper–Pearson)"
    gates = sorted(result.gates.items(), reverse=True)
    shown = [f"{gate:g}" for gate, _ in gates]
    yield f"{'':{WIDTH}} {'':>7} {'':>9}" + "".join(f" | {f'gate {gate}':^{3 * CELL + 2}}" for gate in shown)
    heads = " ".join(f"{head:>{CELL}}" for head in ("true hits", "false hits", "bound"))
    yield f"{'category':{WIDTH}} {'same':>7} {'different':>9}" + f" | {heads}" * len(shown)
    rows = [(name, [found.by_category[name] for _, found in gates]) for name in sorted(result.by_category)]
    for name, tallies in [*rows, ("all", [found.total for _, found in gates])]:
        different = tallies[0].pairs - tallies[0].same
        cells = "".join(f" | {_rates(tally)}" for tally in tallies)
        yield f"{name[:WIDTH]:{WIDTH}} {tallies[0].same:7} {different:9}{cells}"
    for gate, (_, found) in zip(shown, gates, strict=True):
        yield f"gate {gate}: {_wrong(found.total, result.prior)}"
    yield "decided by: " + (
        ", ".join(f"{how} {count}" for how, count in result.how.items()) or "nothing, there are no pairs"
    )
    if result.unjudged:
        yield f"{result.unjudged} pairs are not judged yet (same is null) and counted nowhere"


def _rates(tally: Tally) -> str:
    row = tally.bounds_as_json(0.5)
    return " ".join(f"{percent(row[name]):>{CELL}}" for name in ("true_hit_rate", "false_hit_rate", "false_hit_bound"))


def _wrong(tally: Tally, prior: float) -> str:
    """Wrong / hits, as the pairs are mixed and re-weighted."""
    if not tally.hits:
        return "no hits"
    row = tally.bounds_as_json(prior)
    text = f"wrong / hits {tally.false_hits}/{tally.hits} = {percent(row['wrong_of_hits'], 2)}, bound {percent(row['wrong_of_hits_bound'], 2)}"
    if row["at_prior"] is None:
        return f"{text}; candidates of one kind only can't be re-weighted"
    weighted, bound = percent(row["at_prior"], 2), percent(row["at_prior_bound"], 2)
    return f"{text}; re-weighted to {prior:.0%} same candidates {weighted}, bound {bound}"


def replayed(result: Replayed) -> Iterator[str]:
    """What became of a log's requests."""
    found = result.as_json()
    yield (
        f"{found['requests']} requests in {found['partitions']} partitions: {found['exact_hits']} exact hits, "
        f"{found['semantic_hits']} semantic hits ({percent(found['hit_rate'])} in all), gate {result.gate:g}"
    )
    yield "not answered: " + (", ".join(f"{count} {why}" for why, count in result.misses.most_common()) or "none")
    yield f"different pairs of prompts compared: {found['pairs_served']} served, {found['pairs_refused']} refused"


def calibration(report: Report, *, verifier: str) -> Iterator[str]:
    """What was measured, what was chosen, and why a route has no threshold."""
    aim = report.aim
    for operation, how in report.how.items():
        yield f"{operation}: " + ", ".join(f"{count} {name}" for name, count in how.items() if count)
    for operation, routes in report.routes.items():
        yield ""
        yield f"{operation}: at most {percent(aim.allowed[operation])} of hits wrong, candidates from cosine {aim.floor:g}"
        yield f"{'route':10} {'threshold':>10} {_HEAD.format(share=f'at {aim.prior:.0%} same')}"
        for kind, route in routes.items():
            yield f"{kind:10} {_threshold(route):>10} {_row(route.found)}  {_because(route, report, operation)}"
    for operation, steps in report.gates.items():
        yield ""
        yield f"{operation} by gate (least cosine), with {'these thresholds' if report.routes else 'the verifier as it is'}"
        yield f"{'gate':10} {'':>10} {_HEAD.format(share=f'at {aim.prior:.0%} same')}"
        for gate, found in steps:
            yield f"{gate:<10g} {'':>10} {_row(found)}"
    if not report.routes:
        yield ""
        yield (
            f"The verifier in force, `{verifier}`, has no thresholds: nothing was calibrated and nothing is written. What is above was "
            "measured; with rules alone only the gate can be chosen (CACHE_SERVICE_SIMILARITY_THRESHOLD). `--set verifier=learned` "
            "calibrates the trained one."
        )


_HEAD = f"{'same':>7} {'different':>10} {'true hits':>10} {'wrong/hits':>12} {'':>7} {'bound':>7} {{share:>12}} {'bound':>7}"


def _threshold(route: Route) -> str:
    return "rules only" if route.threshold >= NEVER else f"{route.threshold:.4f}"


def _row(found: Calibration) -> str:
    rate = found.served_same / found.same if found.same else None
    counts = f"{found.served_different}/{found.hits}"
    weighted, bound = (found.wrong_of_hits, found.bound) if found.served_same and found.different else (None, None)
    raw_bound = found.raw_bound if found.hits else None
    return (
        f"{found.same:7} {found.different:10} {percent(rate):>10} {counts:>12} {percent(found.raw, 2):>7} {percent(raw_bound, 2):>7} "
        f"{percent(weighted, 2):>12} {percent(bound, 2):>7}"
    )


def _because(route: Route, report: Report, operation: str) -> str:
    if route.outcome is Outcome.PROVED:
        return ""
    if route.outcome is Outcome.TOO_FEW:
        least = needed(report.aim.allowed[operation], report.aim.prior)
        kept = "; the threshold in force is kept" if route.kept else ""
        return f"too few pairs: it takes {least} different ones, and same ones beside them{kept}"
    return route.outcome.value
