"""What a transaction can come to, and why it failed; the numbers are stable."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What became of a transaction."""

    OK = 0
    FAILED = 1
    """Nothing changed but the sender's nonce."""
    REFUSED = 2
    """Nothing changed at all."""


class ErrorCode(IntEnum):
    """Why a transaction failed; numbers are stable."""

    NONE = 0
    UNDECODABLE = 1
    UNKNOWN_ACCOUNT = 2
    BAD_NONCE = 3
    NOT_AN_ACCOUNT = 4
    UNKNOWN_RECIPIENT = 5
    AMOUNT_OUT_OF_RANGE = 6
    INSUFFICIENT_FUNDS = 7
    IN_DEBT = 8
    SLOT_NOT_OPEN = 9
    GATE_CLOSED = 10
    QUANTITY_OUT_OF_RANGE = 11
    PRICE_OUT_OF_RANGE = 12
    RESERVE_ON_WRONG_SIDE = 13
    NOT_A_METER = 14
    READING_FROM_FUTURE = 15
    SLOT_CLOSED = 16
    REGISTER_BACKWARDS = 17
    ENERGY_OUT_OF_RANGE = 18
    DUPLICATE_READING = 19
    BEFORE_FIRST_SLOT = 20
    TOO_MANY_ORDERS = 21
    NOT_A_GOVERNOR = 22
    STALE_PROPOSAL = 23
    ERA_CHANGING = 24
    ALREADY_APPROVED = 25
    NOTHING_CHANGES = 26
    TOO_MANY_CHANGES = 27
    UNKNOWN_VALIDATOR = 28
    KEY_TAKEN = 29
    NAME_TAKEN = 30
    BAD_NAME_OR_ADDRESS = 31
    NOT_READY = 32
    KEY_CONVICTED = 33
    NO_MEMBER_LEFT = 34
    TOO_MANY_VALIDATORS = 35
    BAD_QUORUM = 36
    BAD_NUMBER = 37
    UNKNOWN_ENGINE = 38
    NOT_A_STATEMENT = 39
    TOO_MANY_STATEMENTS = 40
    UNKNOWN_EPOCH = 41
    NO_PROOF = 42
    NOT_DPOS = 43
    NOT_A_CANDIDATE = 44
    TOO_MANY_TARGETS = 45
    WRONG_LEDGER = 46

    # Contracts and governed rules: 47 to 54
    UNKNOWN_KIND = 47
    UNKNOWN_CONTRACT = 48
    CONTRACT_REFUSED = 49
    CONTRACT_BROKEN = 50
    CONTRACT_OVERDRAWN = 51
    SLOT_NOT_FUTURE = 52
    NOT_A_PARTY = 53
    BAD_TERMS = 54

    # Orders, deals and urgent orders: 55 to 64
    UNKNOWN_ORDER = 55
    NOT_YOURS = 56
    ORDER_FILLED = 57
    DELIVERY_BEGUN = 58
    SAME_PARTY = 59
    ONLY_WHOLE = 60
    MORE_THAN_LEFT = 61
    UNKNOWN_TRADE = 62
    ALREADY_SIGNED = 63
    NOT_TO_BE_SIGNED = 64

    # Credit, fees, settlement and meters: 65 to 74
    QUOTA_OF_GRADE = 65
    UNKNOWN_METER = 66
    NO_METER = 67
    METER_READ_LATER = 69
    REGISTER_BEYOND = 70
    ROLLOVER_TOO_LOW = 71

    # Grid: 75 to 79
    UNKNOWN_BUS = 75
    NOT_OWN_BUS = 76

    # Plans and resources: 80 to 89
    UNKNOWN_RESOURCE = 80
    BAD_RESOURCE = 81
    TOO_MANY_RESOURCES = 82
    RESOURCE_PLANNED = 83
    BAD_PLAN = 84
    BEYOND_POWER = 85
    BELOW_EMPTY = 86
    ABOVE_FULL = 87
    BEYOND_PLAN = 89

    # Sharing: 90 to 94

    # Registration, permissions and demand response: 95 to 119
    NOT_PERMITTED = 95
    KEY_IN_USE = 96
    BAD_MEMBER_NAME = 97
    UNKNOWN_MEMBER = 98
    SUSPENDED = 99
    BARRED = 100
    STILL_NEEDED = 101
    TOO_MANY_EVENTS = 102
    SLOT_HAS_BEGUN = 103
    METER_RETIRED = 104
    NOT_ACQUIRED = 105
    BAD_PARAMETER = 106
    NO_REASON = 107
    NO_OPEN_ORDERS = 108
    NOT_STUCK = 109
    NOT_A_PROJECT = 110
    NOT_RELEASED = 111
    NOT_IN_PROJECT = 112
    NOT_AGREED = 113
    TOO_MANY_MEMBERS = 114
    EVENT_RUNNING = 115
    EVENTS_OVERLAP = 116
    NOT_CALLED = 117
    TOO_LATE = 118
    OUT_OF_BOUNDS = 119


MEANING: dict[ErrorCode, tuple[str, tuple[str, ...]]] = {
    ErrorCode.NONE: ("It succeeded.", ()),
    ErrorCode.UNDECODABLE: ("The bytes are not a transaction; REFUSED.", ()),
    ErrorCode.UNKNOWN_ACCOUNT: ("The sender is neither a member nor a meter; REFUSED.", ()),
    ErrorCode.BAD_NONCE: ("The nonce is not the sender's next one; REFUSED.", ("next_nonce",)),
    ErrorCode.NOT_AN_ACCOUNT: ("A meter sends readings, it neither trades nor pays.", ()),
    ErrorCode.UNKNOWN_RECIPIENT: ("Nobody has the account that is to be paid.", ()),
    ErrorCode.AMOUNT_OUT_OF_RANGE: ("An amount is above zero.", ()),
    ErrorCode.INSUFFICIENT_FUNDS: ("The balance does not cover it.", ("missing_micro",)),
    ErrorCode.IN_DEBT: ("The balance is negative; no bid until it is not.", ("missing_micro",)),
    ErrorCode.SLOT_NOT_OPEN: ("Orders for this slot are not taken yet.", ("opens_ms",)),
    ErrorCode.GATE_CLOSED: ("Orders for this slot are no longer taken.", ("closed_ms",)),
    ErrorCode.QUANTITY_OUT_OF_RANGE: (
        "A quantity is above zero; a member's offers, and its bids, for one slot sum up to at most "
        "market.max_quantity_wh.",
        ("max_wh",),
    ),
    ErrorCode.PRICE_OUT_OF_RANGE: ("A price is at most market.max_price.", ("max_price",)),
    ErrorCode.RESERVE_ON_WRONG_SIDE: (
        "A reserve price is at most the price in an offer, at least the price in a bid.",
        ("price",),
    ),
    ErrorCode.NOT_A_METER: ("Only a registered meter sends readings.", ()),
    ErrorCode.READING_FROM_FUTURE: ("The slot has not ended yet.", ("ends_ms",)),
    ErrorCode.SLOT_CLOSED: ("The slot takes no corrections any more.", ("closed_ms",)),
    ErrorCode.REGISTER_BACKWARDS: (
        "A register lies below an earlier slot's or above a later slot's.",
        ("neighbour_import_wh", "neighbour_export_wh"),
    ),
    ErrorCode.ENERGY_OUT_OF_RANGE: (
        "A register moves by at most market.max_quantity_wh per slot.",
        ("max_wh",),
    ),
    ErrorCode.DUPLICATE_READING: ("Exactly this reading is on chain already.", ("version",)),
    ErrorCode.TOO_MANY_ORDERS: (
        "A member places at most market.max_orders for one slot.",
        ("max_orders",),
    ),
    ErrorCode.NOT_A_GOVERNOR: (
        "Only a member of the era in force, or a registration authority, proposes and approves.",
        (),
    ),
    ErrorCode.STALE_PROPOSAL: (
        "The proposal is made for another era than the latest scheduled.",
        ("latest_epoch",),
    ),
    ErrorCode.ERA_CHANGING: ("Another change takes effect with this block.", ("first_height",)),
    ErrorCode.ALREADY_APPROVED: ("The sender has approved exactly this proposal before.", ()),
    ErrorCode.NOTHING_CHANGES: ("It would leave everything as it is.", ()),
    ErrorCode.TOO_MANY_CHANGES: (
        "A block adds, removes, re-keys and readmits at most max(1, f) members.",
        ("most",),
    ),
    ErrorCode.UNKNOWN_VALIDATOR: ("There is no such validator or candidate.", ("change",)),
    ErrorCode.KEY_TAKEN: ("The key is a validator's, a candidate's or a meter's.", ("change",)),
    ErrorCode.NAME_TAKEN: ("Another validator or candidate has this name.", ("change",)),
    ErrorCode.BAD_NAME_OR_ADDRESS: ("A name or an address has not the right form.", ("change",)),
    ErrorCode.NOT_READY: (
        "Its ready is another key's, not signed by it, of a height to come, or without a nonce.",
        ("change",),
    ),
    ErrorCode.KEY_CONVICTED: ("The key is proved to have broken the rules.", ("change",)),
    ErrorCode.NO_MEMBER_LEFT: ("At least one member stays.", ("change",)),
    ErrorCode.TOO_MANY_VALIDATORS: ("There can be only so many.", ("most",)),
    ErrorCode.BAD_QUORUM: ("So many members cannot have that f or p.", ("members", "most_f")),
    ErrorCode.BAD_NUMBER: (
        "No such number, a value out of range, or one that contradicts another number.",
        ("change",),
    ),
    ErrorCode.UNKNOWN_ENGINE: (
        "Neither an engine of this build nor the one in genesis, or it does not fit the members.",
        (),
    ),
    ErrorCode.NOT_A_STATEMENT: ("What proves itself stands in a transaction without sender.", ()),
    ErrorCode.TOO_MANY_STATEMENTS: (
        "A block's statements beyond the first are not looked at; REFUSED.",
        ("most",),
    ),
    ErrorCode.UNKNOWN_EPOCH: (
        "It is about an epoch that does not count, or not any more; REFUSED.",
        ("latest_epoch",),
    ),
    ErrorCode.NO_PROOF: ("It does not prove what it says; REFUSED.", ()),
    ErrorCode.NOT_DPOS: ("The engine in force elects nobody.", ()),
    ErrorCode.NOT_A_CANDIDATE: ("There is no such candidate.", ()),
    ErrorCode.TOO_MANY_TARGETS: (
        "A vote names distinct candidates, at most as many as there are producers.",
        ("most",),
    ),
    ErrorCode.WRONG_LEDGER: (
        "Opaque bytes are for a null ledger, and it takes nothing of a market.",
        (),
    ),
    ErrorCode.BEFORE_FIRST_SLOT: ("The meter counts from a later slot on.", ("first_slot",)),
    # Contracts and governed rules
    ErrorCode.UNKNOWN_KIND: ("This chain has no such kind of contract.", ()),
    ErrorCode.UNKNOWN_CONTRACT: ("There is no such contract, or not any more.", ()),
    ErrorCode.CONTRACT_REFUSED: (
        "The contract's own rules forbid it; the reason is one of its kind.",
        ("reason",),
    ),
    ErrorCode.CONTRACT_BROKEN: ("The contract's kind failed while it ran; ask who made it.", ()),
    ErrorCode.CONTRACT_OVERDRAWN: (
        "The contract holds less than it is to pay.",
        ("missing_micro",),
    ),
    ErrorCode.SLOT_NOT_FUTURE: (
        "Rules of the market change from a slot on that has not opened yet.",
        ("change", "first_slot"),
    ),
    ErrorCode.NOT_A_PARTY: ("The sender has no say in this contract.", ()),
    ErrorCode.BAD_TERMS: ("The contract's terms or the call's arguments cannot be read.", ()),
    # Orders, deals and urgent orders
    ErrorCode.UNKNOWN_ORDER: ("There is no such order in this slot.", ("orders",)),
    ErrorCode.NOT_YOURS: ("The order is another member's.", ()),
    ErrorCode.ORDER_FILLED: ("Nothing of the order rests: it is filled or cancelled.", ()),
    ErrorCode.DELIVERY_BEGUN: ("The energy of this slot flows already.", ("began_ms",)),
    ErrorCode.SAME_PARTY: ("Nobody trades with itself by a contract.", ()),
    ErrorCode.ONLY_WHOLE: ("A deal with one named member is taken whole.", ("left_wh",)),
    ErrorCode.MORE_THAN_LEFT: (
        "A part of a deal is above zero and at most the rest.",
        ("left_wh",),
    ),
    ErrorCode.UNKNOWN_TRADE: ("There is no such trade in this slot.", ("trade",)),
    ErrorCode.ALREADY_SIGNED: ("The sender has signed this before.", ()),
    ErrorCode.NOT_TO_BE_SIGNED: (
        "Trades of the auction are signed from gate closure until delivery starts, where the "
        "slot's rules ask for consent.",
        ("from_ms", "until_ms"),
    ),
    # Credit, fees, settlement and meters
    ErrorCode.QUOTA_OF_GRADE: (
        "A member of this grade has only a part of market.max_orders and market.max_quantity_wh.",
        ("grade", "max_orders", "max_wh"),
    ),
    ErrorCode.NO_METER: ("Who joined after the founding sells through a meter.", ()),
    ErrorCode.UNKNOWN_METER: ("There is no such meter, or not any more.", ()),
    ErrorCode.METER_READ_LATER: (
        "The meter has readings of the slot in which it is said to be replaced, or later.",
        ("last_slot",),
    ),
    ErrorCode.REGISTER_BEYOND: ("A register shows more than it has digits for.", ("most_wh",)),
    ErrorCode.ROLLOVER_TOO_LOW: (
        "A meter that begins again so soon could pass its last digit unseen between two readings.",
        ("least_wh",),
    ),
    # Grid
    ErrorCode.UNKNOWN_BUS: ("The grid has no such bus.", ("bus",)),
    ErrorCode.NOT_OWN_BUS: ("An order comes from the bus where its member sits.", ("own_bus",)),
    # Plans and resources
    ErrorCode.UNKNOWN_RESOURCE: ("The sender has no resource of that number.", ()),
    ErrorCode.BAD_RESOURCE: (
        "Kind, power, capacity, level or efficiency make no resource, or not one of that kind.",
        (),
    ),
    ErrorCode.TOO_MANY_RESOURCES: ("A member's resources have numbers from 1 on.", ("most",)),
    ErrorCode.RESOURCE_PLANNED: (
        "The resource has a plan for a slot whose gate has not closed.",
        ("slot",),
    ),
    ErrorCode.BAD_PLAN: (
        "A plan has as many imports as exports, one of the two is 0 in each slot, and it is about "
        "at most 384 slots.",
        (),
    ),
    ErrorCode.BEYOND_POWER: ("The resource has not so much power.", ("slot", "most_wh")),
    ErrorCode.BELOW_EMPTY: (
        "The store would be below empty; so much can be taken out in that slot.",
        ("slot", "most_wh"),
    ),
    ErrorCode.ABOVE_FULL: (
        "The store would be above full; so much can be put in in that slot.",
        ("slot", "most_wh"),
    ),
    ErrorCode.BEYOND_PLAN: (
        "Plans are required, and the member's orders are not within its plan.",
        ("slot", "planned_import_wh", "planned_export_wh"),
    ),
    # Sharing
    # Registration, permissions and demand response
    ErrorCode.NOT_PERMITTED: (
        "The sender lacks the duty this takes: 1 commercial, 2 technical, 3 registrar, "
        "4 aggregator.",
        ("duty",),
    ),
    ErrorCode.KEY_IN_USE: ("The key is an account's or a meter's already.", ()),
    ErrorCode.BAD_MEMBER_NAME: ("It is no name, or another member or validator has it.", ()),
    ErrorCode.UNKNOWN_MEMBER: ("There is no such account, or it has been closed.", ()),
    ErrorCode.SUSPENDED: ("The account is suspended or closed.", ("standing",)),
    ErrorCode.BARRED: ("The operators' quorum has barred the account from trading.", ()),
    ErrorCode.STILL_NEEDED: (
        "The account cannot be closed: it has 1 money or debts, 2 slots that are not closed, "
        "3 a meter in use, 4 a contract, 5 a project, 6 members under it, 7 a seat as validator.",
        ("what",),
    ),
    ErrorCode.SLOT_HAS_BEGUN: ("It can begin with a later slot only.", ("earliest_slot",)),
    ErrorCode.METER_RETIRED: ("The meter measures no later slot.", ("last_slot",)),
    ErrorCode.NOT_ACQUIRED: (
        "Readings of this slot are not taken from this meter.",
        ("first_slot", "next_slot"),
    ),
    ErrorCode.BAD_PARAMETER: ("A parameter's name or value cannot be, or there are too many.", ()),
    ErrorCode.NO_REASON: ("An intervention or a binding order says why.", ()),
    ErrorCode.NO_OPEN_ORDERS: ("There is nothing in this slot's book to void.", ()),
    ErrorCode.NOT_STUCK: ("The contract will move by itself, at this block time.", ("due_ms",)),
    ErrorCode.NOT_A_PROJECT: ("The contract named is no project.", ()),
    ErrorCode.NOT_RELEASED: ("The project is a draft still, or has been released already.", ()),
    ErrorCode.NOT_IN_PROJECT: (
        "The account is not in the project, not of its aggregator, or is in it already.",
        (),
    ),
    ErrorCode.NOT_AGREED: ("The account has not agreed to the project's terms.", ("version",)),
    ErrorCode.TOO_MANY_MEMBERS: ("A project has, and an event calls, only so many.", ("most",)),
    ErrorCode.EVENT_RUNNING: ("An event of the project is not over.", ("event",)),
    ErrorCode.TOO_MANY_EVENTS: (
        "One issuer has only so many events that are not over.",
        ("most",),
    ),
    ErrorCode.EVENTS_OVERLAP: (
        "A member is called in these slots by an event of at least this priority.",
        ("event",),
    ),
    ErrorCode.NOT_CALLED: ("The event does not call this account.", ()),
    ErrorCode.TOO_LATE: ("The event has begun, or is over, or the order is binding.", ()),
    ErrorCode.OUT_OF_BOUNDS: (
        "A number of the terms is out of bounds: 1 slots, 2 power, 3 price, 4 days, 5 signal, "
        "6 priority, 7 capacity, 8 notice.",
        ("which",),
    ),
}
"""For each code a sentence, and what the receipt's ``detail`` holds after the failed operation."""
