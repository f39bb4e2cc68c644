"""Errors for people, from where they are raised to where they are shown."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from vppd.errors import ConfigError, Exit, UserError

FULL = UserError(
    "E431", "no run", facts={"why": "two\nlines"}, hint="fewer", exit_code=Exit.THRESHOLD
)
OF_A_FILE = ConfigError("E100", "no such file", facts={"file": "x.toml"})


def _raise(err: UserError) -> None:
    raise err


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("err", [FULL, OF_A_FILE])
def test_an_error_is_pickled_whole(err: UserError, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(err, protocol))  # noqa: S301  # our own
    assert type(again) is type(err)
    assert (vars(again), again.args, str(again)) == (vars(err), err.args, str(err))
    assert again.exit_code is err.exit_code


def test_what_a_worker_raises_is_what_is_shown() -> None:
    with ProcessPoolExecutor(1) as pool:
        caught = pool.submit(_raise, FULL).exception(60)
    assert isinstance(caught, UserError)
    assert str(caught) == str(FULL)
    assert caught.exit_code is Exit.THRESHOLD
