"""Commands that start a node, ask it, and look after its files."""

from __future__ import annotations

from vppd.cli.commands.entry import Entry

NODE = (
    Entry(
        "dev",
        "vppd.cli.dev:dev",
        "A whole plant on this machine plays one trading day.",
        (
            "vppd dev --exit",
            "vppd dev -n 8 --profiles profiles.csv --exit",
            "vppd dev --slots 6 --exit -o json",
        ),
    ),
    Entry(
        "start",
        "vppd.cli.start:start",
        "Run this node.",
        ("vppd start --role der --peers peers.toml", "vppd start --home plant/der-1"),
    ),
    Entry(
        "status",
        "vppd.cli.status:status",
        "Print where the plant stands and who is missing.",
        ("vppd status", "vppd status --watch", "vppd status --probe --home plant/op-0 -o json"),
    ),
    Entry(
        "testnet",
        "vppd.cli.testnet:run_testnet",
        "Write keys, CA, genesis.toml and peers.toml for N nodes.",
        (
            "vppd testnet -n 5 --out plant",
            "vppd testnet -n 7 --operators 2 --hosts 192.168.10.2,192.168.10.3 --out plant",
            "vppd testnet --scenario p3 --out p3",
        ),
    ),
    Entry(
        "init",
        "vppd.cli.init:init",
        "Write key, node.toml and an empty store here; never overwrites.",
        ("vppd init --role der --name der-4", "vppd init --role operator --home /var/lib/vppd"),
    ),
    Entry(
        "doctor",
        "vppd.cli.doctor:doctor",
        "Check clock, disk, ports, permissions, files, certificates, store and peers.",
        ("vppd doctor", "vppd doctor --home plant/der-1", "vppd doctor -o json"),
    ),
    Entry(
        "config check",
        "vppd.cli.config:check",
        "Check a node's files by themselves and against each other.",
        (
            "vppd config check",
            "vppd config check --home plant/der-1",
            "vppd config check peers.toml",
        ),
    ),
    Entry(
        "config show",
        "vppd.cli.config:show",
        "Print every value this node runs with, and where it comes from.",
        ("vppd config show", "vppd config show --origin --home plant/der-1 -o json"),
    ),
    Entry(
        "key gen",
        "vppd.cli.key:gen",
        "Write a new secret key, mode 0600, and print its public key.",
        ("vppd key gen", "vppd key gen --out meter.key"),
    ),
    Entry(
        "key show",
        "vppd.cli.key:show",
        "Print the public key of a secret key file.",
        ("vppd key show", "vppd key show meter.key -o json"),
    ),
    Entry(
        "pki init",
        "vppd.cli.pki:init",
        "Create the plant's certificate authority.",
        ("vppd pki init --dir ca", "vppd pki init --dir ca --name vpp-demo"),
    ),
    Entry(
        "pki issue",
        "vppd.cli.pki:issue",
        "Issue a node's transport certificate.",
        (
            "vppd pki issue der-4 --hosts 192.168.10.6 --out der-4",
            "vppd pki issue der-4 --dir ca --hosts der-4.local,192.168.10.6 --days 30 --out der-4",
        ),
    ),
    Entry(
        "pki revoke",
        "vppd.cli.pki:revoke",
        "Put a certificate on the plant's list of revoked ones.",
        ("vppd pki revoke der-4/node.pem", "vppd pki revoke der-4/node.pem --dir ca --days 365"),
    ),
    Entry(
        "pki crl",
        "vppd.cli.pki:crl",
        "Renew the list of revoked certificates before it expires.",
        ("vppd pki crl", "vppd pki crl --dir ca --days 365"),
    ),
    Entry(
        "pki show",
        "vppd.cli.pki:show",
        "Print what a certificate says.",
        ("vppd pki show node.pem", "vppd pki show ca.pem -o json"),
    ),
    Entry(
        "peers list",
        "vppd.cli.peers:list_peers",
        "List who listens where.",
        ("vppd peers list", "vppd peers list --peers plant/der-1/peers.toml -o json"),
    ),
    Entry(
        "peers check",
        "vppd.cli.peers:check",
        "Connect to every node of peers.toml and say who answers.",
        ("vppd peers check", "vppd peers check --home plant/der-1 -o json"),
    ),
    Entry(
        "peers add",
        "vppd.cli.peers:add",
        "Add an address to peers.toml; copy the file to every node afterwards.",
        (
            "vppd peers add obs-1 $(vppd key show obs-1/node.key) 192.168.10.9:7440",
            "vppd peers add obs-1 $(vppd key show) 192.168.10.9:7440 --peers der-1/peers.toml",
        ),
    ),
)
