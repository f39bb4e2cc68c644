-- chain.db, schema version 4. SQLite is the truth: nothing here is kept a second time elsewhere.
--
-- What was decided is append-only for every connection: triggers refuse to change or remove it.
-- Conflict clauses (REPLACE) delete rows without firing delete triggers, so inserts are guarded too.
-- Pruning is the one way to remove anything: it raises the mark in `pruned`, and the triggers let go
-- of what lies at or below it. Of `places` a run also goes when one that covers it has come.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- The safety record (protocol.md, §4): one row, written whole. The generation counts its writes. The
-- checksum covers generation and record, because SQLite would hand out a rotten page of its main
-- file without a word.
CREATE TABLE safety (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    record     BLOB NOT NULL,
    checksum   BLOB NOT NULL
) STRICT;

-- New views that were accepted or built, whole; the safety record names the one that counts by its
-- SHA-256. The last 64 stay, since they tell who opened which view with whose votes.
CREATE TABLE new_views (
    seq    INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    record BLOB NOT NULL
) STRICT;

-- Block bodies by digest, each written once. Every body at or below the last decided height is a
-- decided one: losing bodies go in the transaction that stores the decision. `txs` is x'' where the
-- transactions are gone (pruned) or never were here (the base); a block without any has x'90'.
CREATE TABLE bodies (
    id           INTEGER PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    height       INTEGER NOT NULL CHECK (height > 0),
    view         INTEGER NOT NULL CHECK (view >= 0),
    header       BLOB NOT NULL,
    txs          BLOB NOT NULL,
    proposal_sig BLOB NOT NULL
) STRICT;

CREATE INDEX bodies_by_height ON bodies (height);

CREATE TABLE decisions (
    height      INTEGER PRIMARY KEY CHECK (height > 0),
    digest      BLOB NOT NULL CHECK (length(digest) = 32),
    certificate BLOB NOT NULL
) STRICT;

CREATE TABLE executions (
    height        INTEGER PRIMARY KEY CHECK (height > 0),
    state_root    BLOB NOT NULL CHECK (length(state_root) = 32),
    receipts_root BLOB NOT NULL CHECK (length(receipts_root) = 32),
    receipts      BLOB NOT NULL,
    next_due_ms   INTEGER
) STRICT;

-- Where the chain begins here, if not at genesis: the snapshot after this height was installed. Header
-- and certificate are those of the height after it; that header carries the roots after the base.
CREATE TABLE base (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    height      INTEGER NOT NULL CHECK (height > 0),
    header      BLOB NOT NULL,
    certificate BLOB NOT NULL
) STRICT;

-- Up to this height transactions, receipts and the index of transactions have been removed; headers
-- and certificates stay.
CREATE TABLE pruned (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL CHECK (through > 0)
) STRICT;

-- Every era that executing a block has scheduled, by epoch; never pruned. Epoch 0 is genesis.
CREATE TABLE eras (
    epoch  INTEGER PRIMARY KEY CHECK (epoch > 0),
    first  INTEGER NOT NULL CHECK (first > 1),
    record BLOB NOT NULL
) STRICT;

-- The last header before an era, with its certificate, where it lies below the base.
CREATE TABLE links (
    epoch       INTEGER PRIMARY KEY CHECK (epoch > 0),
    header      BLOB NOT NULL,
    certificate BLOB NOT NULL
) STRICT;

-- Where transactions were executed: runs of heights, `ids` the first eight bytes of the id of each
-- transaction in order, zeros for one that was refused, `counts` how many each height has, u32
-- big-endian. A block appends a run; runs are joined, and pruning cuts one.
CREATE TABLE places (
    id     INTEGER PRIMARY KEY,
    first  INTEGER NOT NULL CHECK (first > 0),
    last   INTEGER NOT NULL CHECK (last >= first),
    ids    BLOB NOT NULL,
    counts BLOB NOT NULL
) STRICT;

CREATE INDEX places_by_last ON places (last, first);

-- Proof that a replica broke the rules, kept for good; one per charge.
CREATE TABLE evidence (
    signer INTEGER NOT NULL CHECK (signer >= 0),
    kind   INTEGER NOT NULL CHECK (kind >= 0),
    epoch  INTEGER NOT NULL CHECK (epoch >= 0),
    view   INTEGER NOT NULL CHECK (view >= 0),
    height INTEGER NOT NULL CHECK (height >= 0),
    record BLOB NOT NULL,
    PRIMARY KEY (signer, kind, epoch, view, height)
) STRICT, WITHOUT ROWID;

-- The ledger's state after the last row of executions; before the first one, that of genesis.
CREATE TABLE state (
    key   BLOB PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER new_views_written_once BEFORE INSERT ON new_views
WHEN EXISTS (SELECT 1 FROM new_views WHERE digest = NEW.digest)
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER new_views_no_update BEFORE UPDATE ON new_views
BEGIN SELECT RAISE(ABORT, 'a new view is never changed'); END;

CREATE TRIGGER bodies_written_once BEFORE INSERT ON bodies
WHEN EXISTS (SELECT 1 FROM bodies WHERE digest = NEW.digest OR id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER bodies_no_update BEFORE UPDATE ON bodies
WHEN OLD.height > coalesce((SELECT through FROM pruned), 0) OR NEW.txs <> x''
  OR (NEW.id, NEW.digest, NEW.height, NEW.view, NEW.header)
     <> (OLD.id, OLD.digest, OLD.height, OLD.view, OLD.header)
BEGIN SELECT RAISE(ABORT, 'a block body is never changed'); END;

CREATE TRIGGER bodies_no_delete BEFORE DELETE ON bodies
WHEN EXISTS (SELECT 1 FROM decisions WHERE height = OLD.height AND digest = OLD.digest)
BEGIN SELECT RAISE(ABORT, 'the body of a decided block is never removed'); END;

CREATE TRIGGER decisions_in_order BEFORE INSERT ON decisions
WHEN NEW.height <> (SELECT coalesce(max(height), (SELECT height - 1 FROM base), 0) + 1 FROM decisions)
BEGIN SELECT RAISE(ABORT, 'decisions are appended height by height, once'); END;

CREATE TRIGGER decisions_with_body BEFORE INSERT ON decisions
WHEN NOT EXISTS (SELECT 1 FROM bodies WHERE digest = NEW.digest AND height = NEW.height)
BEGIN SELECT RAISE(ABORT, 'a decision needs its body'); END;

CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is never changed'); END;

CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is never removed'); END;

CREATE TRIGGER executions_in_order BEFORE INSERT ON executions
WHEN NEW.height <> (SELECT coalesce(max(height), (SELECT height - 1 FROM base), 0) + 1 FROM executions)
BEGIN SELECT RAISE(ABORT, 'executions are appended height by height, once'); END;

CREATE TRIGGER executions_of_decided BEFORE INSERT ON executions
WHEN NOT EXISTS (SELECT 1 FROM decisions WHERE height = NEW.height)
BEGIN SELECT RAISE(ABORT, 'only a decided block is executed'); END;

CREATE TRIGGER executions_no_update BEFORE UPDATE ON executions
BEGIN SELECT RAISE(ABORT, 'an execution is never changed'); END;

CREATE TRIGGER executions_no_delete BEFORE DELETE ON executions
WHEN OLD.height > coalesce((SELECT through FROM pruned), 0)
BEGIN SELECT RAISE(ABORT, 'an execution is never removed'); END;

CREATE TRIGGER evidence_once BEFORE INSERT ON evidence
WHEN EXISTS (SELECT 1 FROM evidence WHERE (signer, kind, epoch, view, height)
             = (NEW.signer, NEW.kind, NEW.epoch, NEW.view, NEW.height))
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END;

CREATE TRIGGER evidence_no_delete BEFORE DELETE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is never removed'); END;

CREATE TRIGGER places_in_order BEFORE INSERT ON places
WHEN NEW.last > (SELECT coalesce(max(height), 0) FROM executions)
  OR EXISTS (SELECT 1 FROM places WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM places WHERE last >= NEW.first AND first <= NEW.last AND (
     last > NEW.last OR max(first, coalesce((SELECT through FROM pruned), 0) + 1) < NEW.first))
BEGIN SELECT RAISE(ABORT, 'places of executed blocks are appended, or joined'); END;

CREATE TRIGGER places_no_update BEFORE UPDATE ON places
BEGIN SELECT RAISE(ABORT, 'the place of a transaction is never changed'); END;

CREATE TRIGGER places_no_delete BEFORE DELETE ON places
WHEN OLD.last > coalesce((SELECT through FROM pruned), 0) AND NOT EXISTS (
  SELECT 1 FROM places WHERE last >= OLD.last AND id <> OLD.id
  AND first <= max(OLD.first, coalesce((SELECT through FROM pruned), 0) + 1))
BEGIN SELECT RAISE(ABORT, 'the place of a transaction is never removed'); END;

CREATE TRIGGER base_first BEFORE INSERT ON base
WHEN EXISTS (SELECT 1 FROM base) OR EXISTS (SELECT 1 FROM decisions)
BEGIN SELECT RAISE(ABORT, 'a base comes before everything else, once'); END;

CREATE TRIGGER base_no_update BEFORE UPDATE ON base
BEGIN SELECT RAISE(ABORT, 'the base is never changed'); END;

CREATE TRIGGER base_no_delete BEFORE DELETE ON base
BEGIN SELECT RAISE(ABORT, 'the base is never removed'); END;

CREATE TRIGGER pruned_once BEFORE INSERT ON pruned
WHEN EXISTS (SELECT 1 FROM pruned)
  OR NEW.through >= (SELECT coalesce(max(height), 0) FROM executions)
BEGIN SELECT RAISE(ABORT, 'only what was executed before the last block is pruned'); END;

CREATE TRIGGER pruned_only_rises BEFORE UPDATE ON pruned
WHEN NEW.id <> OLD.id OR NEW.through < OLD.through
  OR NEW.through >= (SELECT coalesce(max(height), 0) FROM executions)
BEGIN SELECT RAISE(ABORT, 'only what was executed before the last block is pruned'); END;

CREATE TRIGGER pruned_no_delete BEFORE DELETE ON pruned
BEGIN SELECT RAISE(ABORT, 'what was pruned stays so'); END;

CREATE TRIGGER eras_in_order BEFORE INSERT ON eras
WHEN NEW.epoch <> (SELECT coalesce(max(epoch), 0) + 1 FROM eras)
BEGIN SELECT RAISE(ABORT, 'eras are appended epoch by epoch, once'); END;

CREATE TRIGGER eras_no_update BEFORE UPDATE ON eras
BEGIN SELECT RAISE(ABORT, 'an era is never changed'); END;

CREATE TRIGGER eras_no_delete BEFORE DELETE ON eras
BEGIN SELECT RAISE(ABORT, 'an era is never removed'); END;

CREATE TRIGGER links_with_base BEFORE INSERT ON links
WHEN EXISTS (SELECT 1 FROM links WHERE epoch = NEW.epoch) OR EXISTS (SELECT 1 FROM decisions)
BEGIN SELECT RAISE(ABORT, 'links come with the base, once'); END;

CREATE TRIGGER links_no_update BEFORE UPDATE ON links
BEGIN SELECT RAISE(ABORT, 'a link is never changed'); END;

CREATE TRIGGER links_no_delete BEFORE DELETE ON links
BEGIN SELECT RAISE(ABORT, 'a link is never removed'); END;
