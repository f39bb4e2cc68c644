"""Commands of registration, permissions and demand response."""

from __future__ import annotations

from vppd.cli.commands.entry import Entry

MEMBERS = (
    Entry(
        "member list",
        "vppd.cli.members:list_members",
        "List members: whom each belongs to, its standing, duties and meters.",
        ("vppd member list", "vppd member list --home plant/op-0 -o json"),
    ),
    Entry(
        "member register",
        "vppd.cli.members:register",
        "Register a new member: an account without money.",
        (
            "vppd member register house-7 ed25519:9aFb…",
            "vppd member register house-7 ed25519:9aFb… --aggregator agg-1 --bus 12",
        ),
    ),
    Entry(
        "member suspend",
        "vppd.cli.members:suspend",
        "Suspend a member: it sends nothing any more.",
        (
            "vppd member suspend house-7 --reason 'key lost'",
            "vppd member suspend house-7 --reason 'key lost' --home plant/op-0 -o json",
        ),
    ),
    Entry(
        "member restore",
        "vppd.cli.members:restore",
        "Let a suspended or closed member act again.",
        ("vppd member restore house-7", "vppd member restore house-7 --home plant/op-0"),
    ),
    Entry(
        "member close",
        "vppd.cli.members:close",
        "Close the account of a member that leaves.",
        (
            "vppd member close house-7 --reason 'moved away'",
            "vppd member close house-7 --reason 'moved away' --home plant/op-0",
        ),
    ),
    Entry(
        "member parameters",
        "vppd.cli.members:parameters",
        "Print parameters of a member or a meter, and who set them.",
        ("vppd member parameters house-7", "vppd member parameters house-7 -o json"),
    ),
    Entry(
        "member set",
        "vppd.cli.members:set_parameters",
        "Set parameters of a member or a meter.",
        (
            "vppd member set house-7 capacity_w=5000",
            "vppd member set house-7 maker=acme phases=3 --key house-7.key",
        ),
    ),
    Entry(
        "meter enrol",
        "vppd.cli.members:enrol",
        "Register a new meter for a member.",
        (
            "vppd meter enrol ed25519:Tr4k… house-7 --from 1980000",
            "vppd meter enrol ed25519:Tr4k… house-7 --from 1980000 --import-wh 12000",
        ),
    ),
    Entry(
        "meter control",
        "vppd.cli.members:control",
        "Pause a meter's readings, take them again, or say how often it reports.",
        (
            "vppd meter control ed25519:Tr4k… --from 1980000 --pause --reason 'line works'",
            "vppd meter control ed25519:Tr4k… --from 1980040 --resume",
            "vppd meter control ed25519:Tr4k… --from 1980040 --every 4",
        ),
    ),
    Entry(
        "meter retire",
        "vppd.cli.members:retire",
        "Retire a meter after a slot.",
        (
            "vppd meter retire ed25519:Tr4k… --last 1980000 --reason 'house demolished'",
            "vppd meter retire ed25519:Tr4k… --last 1980000 --reason 'broken' -o json",
        ),
    ),
    Entry(
        "project list",
        "vppd.cli.response:list_projects",
        "List projects for demand response: their terms and members.",
        ("vppd project list", "vppd project list -o json"),
    ),
    Entry(
        "project build",
        "vppd.cli.response:build",
        "Build a project for demand response, as a draft.",
        (
            "vppd project build evening --price 0.20 --capacity-w 5000",
            "vppd project build evening --price 0.20 --capacity-w 5000 --baseline-days 1",
        ),
    ),
    Entry(
        "project release",
        "vppd.cli.response:release",
        "Release a project: members may join.",
        ("vppd project release 0", "vppd project release 0 --home plant/op-0"),
    ),
    Entry(
        "project update",
        "vppd.cli.response:update",
        "Give a project other terms; its members agree to them by joining anew.",
        (
            "vppd project update 0 evening --price 0.25 --capacity-w 5000",
            "vppd project update 0 evening --price 0.25 --capacity-w 5000 -o json",
        ),
    ),
    Entry(
        "project delete",
        "vppd.cli.response:delete",
        "Delete a project of which no event is left.",
        ("vppd project delete 0", "vppd project delete 0 --home plant/op-0"),
    ),
    Entry(
        "project join",
        "vppd.cli.response:join",
        "Join a project, or agree to its terms as they are now.",
        (
            "vppd project join 0 --capacity-w 2000",
            "vppd project join 0 --capacity-w 2000 --auto --key house-7.key",
        ),
    ),
    Entry(
        "project leave",
        "vppd.cli.response:leave",
        "Leave a project.",
        ("vppd project leave 0", "vppd project leave 0 --key house-7.key"),
    ),
    Entry(
        "event list",
        "vppd.cli.response:list_events",
        "List events and orders that are not over.",
        ("vppd event list", "vppd event list -o json"),
    ),
    Entry(
        "event show",
        "vppd.cli.response:show_event",
        "Print one event, and where each called member stands.",
        ("vppd event show 1", "vppd event show 1 -o json"),
    ),
    Entry(
        "event issue",
        "vppd.cli.response:issue",
        "Issue an event to members of a project, or a binding order.",
        (
            "vppd event issue --project 0 --from 1980000 --slots 4 --power-w 1000",
            "vppd event issue --project 0 --from 1980000 --signal limit --power-w 2000",
            "vppd event issue --order --from 1980000 --signal limit --member house-7 "
            "--reason 'line 3 is down'",
        ),
    ),
    Entry(
        "event respond",
        "vppd.cli.response:respond",
        "Opt in to an event that calls you, or out of it.",
        ("vppd event respond 1 in", "vppd event respond 1 out --key house-7.key"),
    ),
    Entry(
        "event cancel",
        "vppd.cli.response:cancel",
        "Cancel an event; one that runs ends with the slot under way.",
        (
            "vppd event cancel 1 --reason 'wind has come'",
            "vppd event cancel 1 --reason 'wind has come' --home plant/op-0",
        ),
    ),
    Entry(
        "market permissions",
        "vppd.cli.duties:permissions",
        "Print who has which duty.",
        ("vppd market permissions", "vppd market permissions -o json"),
    ),
    Entry(
        "market grant",
        "vppd.cli.duties:grant",
        "Propose to give a member a duty, or approve it.",
        ("vppd market grant agg-1 aggregator", "vppd market grant house-7 technical -o json"),
    ),
    Entry(
        "market revoke",
        "vppd.cli.duties:revoke",
        "Propose to take a duty away from a member, or approve it.",
        ("vppd market revoke agg-1 aggregator", "vppd market revoke house-7 technical -o json"),
    ),
    Entry(
        "market intervene",
        "vppd.cli.duties:intervene",
        "Propose an intervention by the operators' quorum, or approve it.",
        (
            "vppd market intervene bar house-7 --reason 'registers were turned back'",
            "vppd market intervene void 1980000 --reason 'a forecast was wrong'",
            "vppd market intervene release 12 --reason 'its kind fails as it fires'",
        ),
    ),
)
