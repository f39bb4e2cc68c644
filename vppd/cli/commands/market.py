"""Commands of the market and of meters."""

from __future__ import annotations

from vppd.cli.commands.entry import Entry

MARKET = (
    Entry(
        "market bid",
        "vppd.cli.market:bid",
        "Bid for energy in a slot.",
        ("vppd market bid 1500 0.52", "vppd market bid 1500 0.52 --reserve 0.55 --slot 30 --wait"),
    ),
    Entry(
        "market ask",
        "vppd.cli.market:ask",
        "Offer energy in a slot.",
        ("vppd market ask 1500 0.48", "vppd market ask 1500 0.48 --reserve 0.42 --slot 30 --wait"),
    ),
    Entry(
        "market book",
        "vppd.cli.market:book",
        "Print a slot's resting orders.",
        ("vppd market book", "vppd market book --slot 30 -o json"),
    ),
    Entry(
        "market trades",
        "vppd.cli.market:trades",
        "Print a slot's trades.",
        ("vppd market trades", "vppd market trades --slot 30 -o json"),
    ),
    Entry(
        "market plan",
        "vppd.cli.plans:plan",
        "Print what is planned and forecast for a slot; with energies, plan it.",
        (
            "vppd market plan --slot 30",
            "vppd market plan --export 1500,1600,900 --wait",
            "vppd market plan --resource 1 --import 700,0 --export 0,650 --slot 30",
        ),
    ),
    Entry(
        "market forecast",
        "vppd.cli.plans:forecast",
        "Publish an operator's forecast of the plant's load and generation.",
        (
            "vppd market forecast --load 12000,11500 --generation 9000,9800 --home plant/op-0",
            "vppd market forecast --load 12000 --slot 30 --wait --home plant/op-0",
        ),
    ),
    Entry(
        "market resource",
        "vppd.cli.plans:resource",
        "Say what a member owns, so that its plans are held against the limits.",
        (
            "vppd market resource 1 battery --capacity-wh 8000 --max-import-w 3000 "
            "--max-export-w 3000 --level-wh 4000",
            "vppd market resource 2 pv --max-export-w 5000 --wait",
            "vppd market resource 1 --retire",
        ),
    ),
    Entry(
        "market resources",
        "vppd.cli.plans:resources",
        "Print what members say they own.",
        ("vppd market resources", "vppd market resources --home plant/op-0 -o json"),
    ),
    Entry(
        "market shares",
        "vppd.cli.market:shares",
        "Print how a slot was shared in which the plant bid as a whole.",
        ("vppd market shares", "vppd market shares --slot 30 -o json"),
    ),
    Entry(
        "market contracts",
        "vppd.cli.market_rules:contracts",
        "Print the contracts on chain: where each stands and when it moves.",
        ("vppd market contracts", "vppd market contracts --kind slot -o json"),
    ),
    Entry(
        "market rules",
        "vppd.cli.market_rules:rules",
        "Print the rules of the market: in force, and scheduled.",
        ("vppd market rules", "vppd market rules --home plant/op-0 -o json"),
    ),
    Entry(
        "market set",
        "vppd.cli.market_rules:set_market",
        "Propose other rules of the market from a slot on, or approve them.",
        (
            "vppd market set gate_lead_ms=60000 --from 1980000",
            "vppd market set rules=two-stage --from 1980000 --home plant/op-0",
        ),
    ),
    # Orders, deals and urgent orders
    Entry(
        "market orders",
        "vppd.cli.orders:orders",
        "Print a member's orders and what became of them.",
        ("vppd market orders", "vppd market orders der-1 --state resting -o json"),
    ),
    Entry(
        "market cancel",
        "vppd.cli.orders:cancel",
        "Take what rests of an order out of the book.",
        ("vppd market cancel 30 2", "vppd market cancel 30 2 --wait -o json"),
    ),
    Entry(
        "market replace",
        "vppd.cli.orders:replace",
        "Cancel an order and place another of its side, both or neither.",
        (
            "vppd market replace 30 2 1200 0.50",
            "vppd market replace 30 2 1200 0.50 --reserve 0.53 --wait",
        ),
    ),
    Entry(
        "market urgent",
        "vppd.cli.orders:urgent",
        "Bid for energy that is needed now: who stands by is asked first.",
        ("vppd market urgent 7000 0.80", "vppd market urgent 7000 0.80 --slot 30 --wait"),
    ),
    Entry(
        "market standby",
        "vppd.cli.orders:standby",
        "Stand ready to give energy up to whoever needs it urgently.",
        ("vppd market standby 3000 0.60", "vppd market standby 3000 0.60 --slot 30 --wait"),
    ),
    Entry(
        "market sign",
        "vppd.cli.orders:sign",
        "Consent to trades of the auction, where the rules ask for it.",
        ("vppd market sign 30", "vppd market sign 30 0 4 --home plant/op-0 --wait"),
    ),
    Entry(
        "deal offer",
        "vppd.cli.deals:offer",
        "Offer energy at a fixed price, to one member or to all.",
        ("vppd deal offer 5000 0.45", "vppd deal offer 5000 0.45 --to der-3 --slot 30 --wait"),
    ),
    Entry(
        "deal bid",
        "vppd.cli.deals:bid",
        "Bid for energy at a fixed price, to one member or to all.",
        ("vppd deal bid 5000 0.45", "vppd deal bid 5000 0.45 --to der-3 --slot 30 --wait"),
    ),
    Entry(
        "deal list",
        "vppd.cli.deals:list_deals",
        "Print what can be taken, drawn from or signed.",
        ("vppd deal list", "vppd deal list --home plant/der-1 -o json"),
    ),
    Entry(
        "deal take",
        "vppd.cli.deals:take",
        "Take a deal, or a part of a listing.",
        ("vppd deal take 12", "vppd deal take 12 --wh 800 --wait"),
    ),
    Entry(
        "deal withdraw",
        "vppd.cli.deals:withdraw",
        "Withdraw a deal or a standby offer of one's own.",
        ("vppd deal withdraw 12", "vppd deal withdraw 12 --wait -o json"),
    ),
    Entry(
        "deal three-party",
        "vppd.cli.deals:three_party",
        "Commit a contract that supplier, user and an operator have to call.",
        (
            "vppd deal three-party der-1 der-3 5000 0.45",
            "vppd deal three-party der-1 der-3 5000 0.45 --class pv --remark roof --wait",
        ),
    ),
    Entry(
        "deal sign",
        "vppd.cli.deals:sign",
        "Sign a three-party contract; the third signature makes the trade.",
        ("vppd deal sign 12", "vppd deal sign 12 --home plant/op-0 --wait"),
    ),
    # Credit, fees and bills
    # Grid
    # Plans, resources and agents
    # Sharing
    # Registration, permissions and demand response
    Entry(
        "market paths",
        "vppd.cli.market_paths:paths",
        "Print which way a slot's trades go through the grid, and what was cut of them.",
        ("vppd market paths --slot 30", "vppd market paths --slot 30 --home plant/op-0 -o json"),
    ),
    Entry(
        "grid check",
        "vppd.cli.grid:check",
        "Check a grid model, and print voltages, loadings and which trades it carries.",
        (
            "vppd grid check config/grid.toml",
            "vppd grid check genesis.toml --load 3=40000 -o json",
            "vppd grid check config/grid.toml --trades trades.json --minutes 60",
        ),
    ),
    Entry(
        "meter push",
        "vppd.cli.meter:push",
        "Put the readings of a file on chain; rows that are there already are passed over.",
        (
            "vppd meter push readings.csv",
            "vppd meter push readings.csv --key meter.key --home plant/der-1 -o json",
        ),
    ),
    Entry(
        "meter replace",
        "vppd.cli.meter_replace:replace",
        "Say on chain that a meter was replaced; its member's energy goes on without a step.",
        (
            "vppd meter replace ed25519:OLD ed25519:NEW --slot 30 --final-import 815000 --wait",
            "vppd meter replace ed25519:OLD ed25519:NEW --slot 9 --final-import 5 -o json",
        ),
    ),
    Entry(
        "meter list",
        "vppd.cli.meter:list_meters",
        "List the plant's meters, whose they are, and their last readings.",
        ("vppd meter list", "vppd meter list --home plant/der-1 -o json"),
    ),
    Entry(
        "market clear",
        "vppd.cli.clear:clear",
        "Clear a book of orders from a file and print trades and remainders.",
        ("vppd market clear book.json", "vppd market clear book.json --rules paper003 -o json"),
    ),
    Entry(
        "market bill",
        "vppd.cli.bill:bill",
        "Print what a day cost a member, with its proof; or check such a bill without a node.",
        (
            "vppd market bill der-1 --day 0 --home plant/der-1",
            "vppd market bill der-1 --day 2027-03-28 -o html",
            "vppd market bill verify bill.json --genesis genesis.toml",
        ),
    ),
    Entry(
        "market payouts",
        "vppd.cli.bill:payouts",
        "Print what each member has gained or lost by the end of a day, for a payment system.",
        ("vppd market payouts --day 0 -o csv", "vppd market payouts --day 2027-03-28 -o json"),
    ),
    Entry(
        "market credit",
        "vppd.cli.credit:credit",
        "Print a member's credit history, or replay a file of deliveries to credit values.",
        (
            "vppd market credit der-1 --home plant/op-0",
            "vppd market credit deliveries.json",
            "vppd market credit deliveries.json --rules paper003 -o json",
        ),
    ),
    Entry(
        "market shapley",
        "vppd.cli.shapley:shapley",
        "Share what a coalition is worth among its players, to the last micro.",
        (
            "vppd market shapley game.json",
            "vppd market shapley game.json -o json",
            "vppd market shapley game.json --samples 10000 --seed 2026-05-01",
        ),
    ),
)
