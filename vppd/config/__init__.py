"""The three files a person edits: genesis.toml, peers.toml, node.toml."""
