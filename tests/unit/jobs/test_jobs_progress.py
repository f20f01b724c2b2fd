"""What a long command says on the way is true: a dry run generates nothing and pays nothing."""

from __future__ import annotations

import pytest

from cache_service.jobs.warm import WarmReport
from cache_service.progress import shown

REPORT = WarmReport(total=2, hits=1, generated=1, usd=0.25)


@pytest.mark.parametrize(
    ("dry_run", "line"),
    [
        (False, "2/2: 1 hits, 1 generated, 0 failed, 0.2500 USD\n"),
        (True, "2/2: 1 hits, 1 to generate, 0 failed, at most about 0.2500 USD\n"),
    ],
)
def test_a_dry_run_doesnt_say_that_it_generated(dry_run: bool, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, so that standard output holds results alone."""
    with shown(2, quiet=False, dry_run=dry_run) as progress:
        progress(REPORT)
    assert capsys.readouterr() == ("", line)
