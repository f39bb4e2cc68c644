"""Commands that measure and simulate."""

from __future__ import annotations

from vppd.cli.commands.entry import Entry

BENCH = (
    Entry(
        "simulate",
        "vppd.cli.simulate:simulate",
        "Whole simulated plants with seeded faults, every invariant checked.",
        (
            "vppd simulate -n 4 --seeds 1..300",
            "vppd simulate -n 10 --seeds 42 --faults network,crash --heights 60",
            "vppd simulate -n 7 --delay 10ms --faults none -o json",
        ),
    ),
    Entry(
        "bench run",
        "vppd.cli.bench:run",
        "Load a plant of real daemons, and measure goodput and latency from outside.",
        (
            "vppd bench run -n 4 --rate 1000 --duration 30",
            "vppd bench run -n 4 --ledger null --rate 5000 --to leader --accounts 512",
            "vppd bench run -n 5 --fail der-4=40% --delay 10ms --assert 'goodput_tx_s>=450'",
        ),
    ),
    Entry(
        "bench saturate",
        "vppd.cli.bench:saturate",
        "Find the highest rate that a plant keeps up with, and measure it there.",
        (
            "vppd bench saturate -n 4",
            "vppd bench saturate -n 4 --ledger null --to leader --accounts 512 --rate 2000",
            "vppd bench saturate -n 4 --engine pbft --rate 200 --limit 500 --runs 5 -o json",
        ),
    ),
    Entry(
        "bench report",
        "vppd.cli.bench_report:report",
        "Write a run's report: one HTML file with its figures, plots, limits and machine.",
        (
            "vppd bench report bench-20260101-bncm-n4",
            "vppd bench report bncm-n4 --with bncm-n7 --with pbft-n4 --with pbft-n7",
        ),
    ),
    Entry(
        "bench compare",
        "vppd.cli.bench_report:compare",
        "Compare the runs of two folders, with confidence intervals.",
        ("vppd bench compare before after", "vppd bench compare bncm pbft --force -o json"),
    ),
    Entry(
        "bench paper",
        "vppd.cli.bench_paper:paper",
        "Run an experiment of the papers again: their numbers beside ours.",
        (
            "vppd bench paper fig12",
            "vppd bench paper fig14 --sim --delay-ms 50 -o json",
            "vppd bench paper day --profiles profiles.csv --out results",
        ),
    ),
    Entry(
        "bench market",
        "vppd.cli.bench_market:market",
        "Play a season of the market on one ledger: rates, costs, growth, every micro counted.",
        (
            "vppd bench market",
            "vppd bench market --members 20 --slots 2880 --missing 5 -o json",
        ),
    ),
    Entry(
        "bench remote",
        "vppd.cli.bench_remote:remote",
        "Measure a plant on other machines, by SSH.",
        (
            "vppd bench remote pis.toml --rate 20 --duration 60",
            "vppd bench remote pis.toml --engine pbft --out pis-pbft -o json",
        ),
    ),
    Entry(
        "bench scale",
        "vppd.cli.bench_scale:scale",
        "Simulate larger plants with costs measured here.",
        (
            "vppd bench scale --sizes 4,10,31 --sites lan,country",
            "vppd bench scale --ways broadcast,dpos --slower 6 --out slow-cores",
            "vppd bench scale --calibrate costs.json",
        ),
    ),
)
