"""What a season showed: rates, what a step costs, how state and disk grow."""

from __future__ import annotations

import tempfile
from asyncio import Runner
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vppd.bench.environment import machine
from vppd.bench.season.plan import SeasonPlan
from vppd.bench.season.play import Played, Season
from vppd.bench.season.script import Act
from vppd.consensus.boundary import BodyRecord, DecisionRecord
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import CertificateKind
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, sign_bytes
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.types import Digest

DAYS_PER_YEAR = 365


class _Tally:
    """CPU and number of what blocks of one kind did."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.txs = 0

    def add(self, played: Played) -> None:
        self.seconds += played.seconds
        self.txs += len(played.txs)


def measure(plan: SeasonPlan, say: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Play a season, keep it in a store on disk, and count.

    Args:
        plan: what to play.
        say: hears of every gate that closes.

    Raises:
        LostMoney: a block made or lost money; then nothing else matters.
    """
    season = Season(plan, check_signatures=True)
    tallies = {act: _Tally() for act in Act}
    checked = raw_bytes = receipt_bytes = most_state = 0.0
    state_after: list[int] = []
    with tempfile.TemporaryDirectory() as folder, _Kept(Path(folder), season) as kept:
        for played in season.play(say):
            tallies[played.moment.act].add(played)
            checked += played.verify_seconds
            raw_bytes += sum(map(len, played.txs))
            receipt_bytes += sum(map(len, played.execution.receipts))
            kept.add(played)
            ended = played.moment.slot + 1
            at_midnight = ended % plan.slots_per_day == 0 or ended == plan.slots
            if played.moment.act is Act.SETTLEMENT and at_midnight:
                state_after.append(_state_bytes(season))
                most_state = max(most_state, state_after[-1])
        disk_bytes = kept.finish()
    executed = sum(tally.seconds for tally in tallies.values())
    txs = sum(tally.txs for tally in tallies.values())
    days = plan.slots / plan.slots_per_day
    member_years = plan.members * days / DAYS_PER_YEAR
    settled = plan.members * plan.slots
    return {
        "members": plan.members,
        "slots": plan.slots,
        "days": days,
        "transactions": txs,
        "blocks": season.ledger.height,
        "failed": {code.name.lower(): count for code, count in sorted(season.failures.items())},
        "replay": {
            "execution_cpu_s": executed,
            "signatures_cpu_s": checked,
            "transactions_per_s": txs / (executed + checked),
            "slots_per_s": plan.slots / (executed + checked),
            "executed_transactions_per_s": txs / executed,
        },
        "cost_us": {
            "order": _each(tallies[Act.ORDERS].seconds, tallies[Act.ORDERS].txs),
            "reading": _each(tallies[Act.READINGS].seconds, tallies[Act.READINGS].txs),
            "late_reading": _each(
                tallies[Act.LATE_READINGS].seconds, tallies[Act.LATE_READINGS].txs
            ),
            "gate_closure_per_order": _each(
                tallies[Act.GATE_CLOSURE].seconds, tallies[Act.ORDERS].txs
            ),
            "settlement_per_member_and_slot": _each(tallies[Act.SETTLEMENT].seconds, settled),
        },
        "bytes": {
            "transactions": raw_bytes,
            "receipts": receipt_bytes,
            "disk": disk_bytes,
            "disk_per_member_and_year": (disk_bytes - kept.opening_bytes) / member_years
            if days >= 1
            else None,
            "state_at_the_end_of_each_day": state_after,
            "state_per_member": most_state / plan.members,
            "state_at_the_end": _state_bytes(season),
        },
        "money": {
            "opening_micro": season.opening,
            "closing_micro": season.ledger.total_micro(),
            "postings": season.postings,
            "blocks_counted": season.ledger.height,
        },
        "state_root": season.ledger.state_root.hex(),
        "machine": machine(),
    }


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The same for people."""
    replay, cost, size = result["replay"], result["cost_us"], result["bytes"]
    days = size["state_at_the_end_of_each_day"]
    growth = f"{days[0]:,} → {days[-1]:,} bytes" if len(days) > 1 else f"{days[-1]:,} bytes"
    failed = ", ".join(f"{count} {name}" for name, count in result["failed"].items()) or "none"
    said = [
        ("members, slots", f"{result['members']:,}, {result['slots']:,} ({result['days']:g} days)"),
        ("transactions, blocks", f"{result['transactions']:,}, {result['blocks']:,}"),
        ("failed", failed),
        ("replayed on one core", f"{replay['transactions_per_s']:,.0f} transactions/s"),
        ("– without signatures", f"{replay['executed_transactions_per_s']:,.0f} transactions/s"),
        *((f"an {k}" if k[0] == "o" else f"a {k}", f"{v:.1f} µs") for k, v in cost.items() if v),
        ("state when a day has settled", growth),
        ("state per member", f"{size['state_per_member']:,.0f} bytes at most"),
        ("disk per member and year", _growth(size["disk_per_member_and_year"])),
        ("money", f"{result['money']['blocks_counted']:,} blocks counted, not a micro lost"),
    ]
    return [{"what": name.replace("_", " "), "figure": value} for name, value in said]


def _growth(year: float | None) -> str:
    """Less than a day says nothing about a year."""
    return "play a day or more" if year is None else f"{year / 1e6:,.1f} MB"


def _each(seconds: float, count: int) -> float:
    return seconds * 1e6 / count if count else 0.0


def _state_bytes(season: Season) -> int:
    return sum(len(key) + len(value) for key, value in season.ledger.entries())


class _Kept:
    """The season in a store, as a node would keep it; the disk's own sync is not what is measured.

    Args:
        folder: empty.
        season: to be kept.
    """

    def __init__(self, folder: Path, season: Season) -> None:
        self._path = folder / "chain.db"
        self._season = season
        self._runner = Runner()

    def __enter__(self) -> _Kept:
        genesis = self._season.cast.genesis
        run = self._runner.run
        run(ChainStore.create(self._path, genesis.digest))
        self._store = run(ChainStore.open(self._path, genesis.digest))
        run(self._store.seed_state(self._season.ledger.entries()))
        self.opening_bytes = _size(sorted(self._path.parent.iterdir()))
        """The store with genesis alone."""
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._store.close())
        self._runner.close()

    def add(self, played: Played) -> None:
        """One height: body, decision, execution."""
        header, key = played.header, self._season.cast.validator
        digest: Digest = header.digest()
        votes, proposal = (
            sign_bytes(tag, header.chain_id, 0, 0, header.height, digest)
            for tag in (TAG_COMMIT, TAG_PROPOSAL)
        )
        body = BodyRecord(digest, header.height, 0, header.encode(), played.txs, key.sign(proposal))
        certificate = assemble(
            CertificateKind.COMMIT, 0, 0, header.height, digest, {0: key.sign(votes)}, 1, 1
        )
        decided = DecisionRecord(header.height, digest, certificate)
        self._runner.run(self._keep(body, decided, ExecutionRow.of(played.execution)))

    async def _keep(self, body: BodyRecord, decided: DecisionRecord, row: ExecutionRow) -> None:
        await self._store.persist([body, decided])
        self._store.put_execution(row)

    def finish(self) -> int:
        """Everything is written; bytes on the disk."""
        self._runner.run(self._store.state_entries())
        return _size(sorted(self._path.parent.iterdir()))


def _size(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)
