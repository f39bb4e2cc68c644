"""Commands about the chain: blocks, transactions, validators, the store."""

from __future__ import annotations

from vppd.cli.commands.entry import Entry

CHAIN = (
    Entry(
        "block show",
        "vppd.cli.block:show",
        "Print a decided block.",
        ("vppd block show 7", "vppd block show 7 --home plant/der-1 -o json"),
    ),
    Entry(
        "block tail",
        "vppd.cli.block:tail",
        "Print the last blocks, and with -f those to come.",
        ("vppd block tail", "vppd block tail -f --home plant/der-1"),
    ),
    Entry(
        "block verify",
        "vppd.cli.block:verify",
        "Re-check every hash, root and signature from genesis.",
        ("vppd block verify", "vppd block verify 1..100 --home plant/der-1 -o json"),
    ),
    Entry(
        "block trace",
        "vppd.cli.trace:trace",
        "Print who said what to whom about a height, or replay a recorded run.",
        (
            "vppd block trace 7 --home plant/op-0",
            "vppd block trace --home plant/op-0 --out run.trace",
            "vppd block trace --replay run.trace --genesis plant/op-0/genesis.toml",
        ),
    ),
    Entry(
        "tx send",
        "vppd.cli.tx:send",
        "Hand a signed transaction to the node.",
        ("vppd tx send order.tx --wait", "vppd tx send - --home plant/der-1 < order.hex"),
    ),
    Entry(
        "tx show",
        "vppd.cli.tx:show",
        "Print where a transaction stands.",
        ("vppd tx show 3b1c…", "vppd tx show 3b1c… --wait --proof --home plant/der-1"),
    ),
    Entry(
        "recover",
        "vppd.cli.recover:recover_store",
        "Replace a lost or damaged store; the node then follows without voting.",
        ("vppd recover", "vppd recover --home plant/der-1", "vppd recover --force -o json"),
    ),
    Entry(
        "db check",
        "vppd.cli.db:check",
        "Check the store: its file, its safety record, every hash, root and signature.",
        (
            "vppd db check",
            "vppd db check --home plant/der-1 -o json",
            "vppd db check --store der-1.backup",
        ),
    ),
    Entry(
        "db backup",
        "vppd.cli.db:backup",
        "Copy the store of a running or stopped node; the copy can never vote.",
        ("vppd db backup der-1.backup", "vppd db backup /mnt/usb/der-1.backup --home plant/der-1"),
    ),
    Entry(
        "db restore",
        "vppd.cli.db:restore",
        "Put a backup in place of the store; the node then follows without voting.",
        (
            "vppd db restore der-1.backup",
            "vppd db restore der-1.backup --home plant/der-1 --replace",
        ),
    ),
    Entry(
        "db prune",
        "vppd.cli.db:prune",
        "Remove old transactions and receipts, and give their bytes to the disk.",
        ("vppd db prune", "vppd db prune --keep 1000 --home plant/der-1"),
    ),
    Entry(
        "db export",
        "vppd.cli.db:export",
        "Write every block as a stream of MessagePack objects.",
        ("vppd db export chain.vppd", "vppd db export - --home plant/op-0 | gzip > chain.vppd.gz"),
    ),
    Entry(
        "db import",
        "vppd.cli.db:import_",
        "Verify and execute the blocks of an export into a store that has none.",
        ("vppd db import chain.vppd", "vppd db import - --home plant/der-3 < chain.vppd"),
    ),
    Entry(
        "validator list",
        "vppd.cli.validator:list_validators",
        "Print who votes, who may be elected, and what waits for approvals.",
        ("vppd validator list", "vppd validator list --home plant/op-0 -o json"),
    ),
    Entry(
        "validator ready",
        "vppd.cli.validator:ready",
        "Print the line with which a member can add this node, or let it vote again.",
        ("vppd validator ready", "vppd validator ready --home der-9 --addr 192.168.10.9:7440"),
    ),
    Entry(
        "validator add",
        "vppd.cli.validator:add",
        "Propose a new validator, or approve it.",
        (
            "vppd validator add vppd-ready:…",
            'vppd validator add "$(vppd validator ready --home der-9)" --home plant/op-0',
        ),
    ),
    Entry(
        "validator remove",
        "vppd.cli.validator:remove",
        "Propose to take a validator out, or approve it.",
        ("vppd validator remove der-3", "vppd validator remove der-3 --home plant/op-0 -o json"),
    ),
    Entry(
        "validator rekey",
        "vppd.cli.validator:rekey",
        "Propose another key for a validator, or approve it.",
        (
            "vppd validator rekey der-3 vppd-ready:…",
            "vppd validator rekey der-3 vppd-ready:… --home plant/op-0",
        ),
    ),
    Entry(
        "validator readmit",
        "vppd.cli.validator:readmit",
        "Propose that a validator which has lost its memory votes again, or approve it.",
        (
            "vppd validator readmit der-3 vppd-ready:…",
            "vppd validator readmit der-3 vppd-ready:… --home plant/op-0",
        ),
    ),
    Entry(
        "validator role",
        "vppd.cli.validator:role",
        "Propose another role for a validator, or approve it.",
        ("vppd validator role der-3 operator", "vppd validator role der-3 der --home plant/op-0"),
    ),
    Entry(
        "validator set",
        "vppd.cli.validator:set_rules",
        "Propose other rules, or approve them.",
        (
            "vppd validator set view_timeout_ms=3000",
            "vppd validator set f=1 engine=pbft --home plant/op-0",
            "vppd validator set f=unset",
        ),
    ),
    Entry(
        "validator approve",
        "vppd.cli.validator:approve",
        "Approve a proposal of another member.",
        ("vppd validator approve", "vppd validator approve 3fa9 --home plant/der-1"),
    ),
    Entry(
        "validator vote",
        "vppd.cli.validator:vote",
        "Give this member's score to candidates, in engine dpos.",
        ("vppd validator vote der-3 der-5", "vppd validator vote --home plant/der-1"),
    ),
)
