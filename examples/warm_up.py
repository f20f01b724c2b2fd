"""Warms the cache through the REST interface: a file of prompts, one on a line, to `POST /v1/generate`.

    python examples/warm_up.py prompts.txt --model gpt-image-2.5-flare --size 1024x1024 --budget-usd 5

Run it again to resume: what is stored is a hit and costs nothing. Ctrl-C lets what is in flight end. Prompts that failed are
written to FILE.failed.txt, in the same form. `cache-service warm` does more (prices beforehand, jsonl and csv); this is a
script to copy from, with httpx alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(660, connect=5)  # seconds; a generation may take 600


class WarmUp:
    """One run over a file of prompts."""

    def __init__(
        self, client: httpx.AsyncClient, parameters: dict[str, Any], total: int, budget_usd: float | None
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []
        self.usd = 0.0
        self.stopped = ""
        self._client = client
        self._parameters = parameters
        self._total = total
        self._budget_usd = budget_usd

    def stop(self, why: str) -> None:
        """Begins nothing more; what is in flight ends, because it is paid."""
        self.stopped = self.stopped or why

    async def run(self, prompts: list[str], concurrency: int) -> None:
        """Asks for all prompts, `concurrency` at once."""
        queue = iter(prompts)

        async def worker() -> None:
            for prompt in queue:  # one iterator for all workers: each prompt is taken once
                if self.stopped:
                    return
                await self._ask(prompt)

        await asyncio.gather(*(worker() for _ in range(concurrency)))

    async def _ask(self, prompt: str) -> None:
        body = {"operation": "images", "request": {**self._parameters, "prompt": prompt}}
        try:
            answer = await self._client.post("/v1/generate", json=body)
            answer.raise_for_status()
            cache = answer.json()["cache"]
            decision, usd = cache["decision"], cache["usd"] or 0.0
        except httpx.HTTPStatusError as error:
            self._fail(prompt, f"{error.response.status_code} {error.response.text[:200]}")
        except httpx.HTTPError as error:
            self._fail(prompt, f"{type(error).__name__}: {error}")
        except (ValueError, KeyError, TypeError) as error:
            self._fail(prompt, f"not an answer of the service: {error!r}")
        else:
            self.outcomes[decision] += 1
            self.usd += usd
            if self._budget_usd is not None and self.usd >= self._budget_usd:
                self.stop(f"{self._budget_usd:g} USD are spent")
        self._show()

    def _fail(self, prompt: str, why: str) -> None:
        self.failed.append(prompt)
        self.outcomes["failed"] += 1
        print(f"\nfailed: {prompt[:60]!r}: {why}", file=sys.stderr)

    def _show(self) -> None:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        print(
            f"\r{self.outcomes.total()}/{self._total}: {counts}, {self.usd:.3f} USD",
            end="",
            file=sys.stderr,
            flush=True,
        )


async def main() -> int:
    """Exit status: 0 all there, 3 some failed or were not begun."""
    options = _options()
    prompts = [line.strip() for line in options.file.read_text("utf-8").splitlines() if line.strip()]
    parameters = {"model": options.model, "size": options.size}
    headers = (
        {"Authorization": f"Bearer {os.environ['CACHE_SERVICE_KEY']}"} if "CACHE_SERVICE_KEY" in os.environ else {}
    )
    limits = httpx.Limits(max_connections=options.concurrency)
    async with httpx.AsyncClient(base_url=options.url, headers=headers, timeout=TIMEOUT, limits=limits) as client:
        warm_up = WarmUp(client, parameters, len(prompts), options.budget_usd)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, warm_up.stop, "interrupted")
        await warm_up.run(prompts, options.concurrency)
    return _report(warm_up, options.file, len(prompts))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Warm the cache from a file of image prompts.")
    parser.add_argument("file", type=Path, help="one prompt on a line")
    parser.add_argument("--url", default=os.environ.get("CACHE_SERVICE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--model", default="gpt-image-2.5-flare")
    parser.add_argument("--size", default="1024x1024")
    parser.add_argument("--concurrency", type=int, default=8, help="requests at once")
    parser.add_argument("--budget-usd", type=float, help="begin nothing more once so much is spent")
    return parser.parse_args()


def _report(warm_up: WarmUp, file: Path, total: int) -> int:
    not_begun = total - warm_up.outcomes.total()
    print(file=sys.stderr)
    for outcome, count in warm_up.outcomes.most_common():
        print(f"{outcome}: {count}")
    print(f"paid: {warm_up.usd:.4f} USD")
    if not_begun:
        print(f"not begun: {not_begun} ({warm_up.stopped}); run it again to go on")
    failed_file = file.with_name(file.name + ".failed.txt")
    failed_file.unlink(missing_ok=True)  # an older run's
    if warm_up.failed:
        failed_file.write_text("\n".join(warm_up.failed) + "\n", "utf-8")
        print(f"prompts that failed are in {failed_file}")
    return 3 if not_begun or warm_up.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
