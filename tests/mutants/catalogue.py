"""The mutants: one broken rule each, in voting, the change of view, epochs, the gate, and
what keeps a node from doing things twice."""

from __future__ import annotations

from tests.mutants.run import Mutant

NORMAL = "tests/consensus/test_normal_case.py"
PATHS = "tests/consensus/test_paths.py"
VIEWS = "tests/consensus/test_view_change.py tests/consensus/test_break_view_change.py"
TRACES = "tests/consensus/test_traces.py"
RESTART = "tests/consensus/test_restart.py"
QUORUM = "tests/consensus/test_quorum.py"
GATE = "tests/node/test_gate.py tests/node/test_gate_views.py"
GUARDS = "tests/consensus/test_guards.py"
FOUND = "tests/consensus/test_mutants_found.py"
ENDS = "tests/node/test_gate_paths.py"
EPOCHS, DELEGATES = "tests/consensus/test_epochs.py", "tests/consensus/test_dpos.py"
IN_TERMS, MACHINES = "tests/consensus/test_terms.py", "tests/node/test_machine_epochs.py"
ROLLED_BACK = "tests/node/test_rolled_back.py"
STATED, PROVED = "tests/node/test_statements.py", "tests/ledger/test_producers.py"

CORE, FLIGHT, FALLBACK = "consensus/core.py", "consensus/flight.py", "consensus/fallback.py"
PROPOSER, CHANGE = "consensus/proposer.py", "consensus/viewchange.py"
SELECT, SAFETY, SIZES = "consensus/selection.py", "consensus/safety.py", "consensus/quorum.py"
TALLY, CERTIFICATE, SCREEN = "consensus/tally.py", "consensus/certificate.py", "consensus/screen.py"
MISSING, TERMS = "consensus/missing.py", "consensus/terms.py"
REPLICA, RECOGNISE = "consensus/replica.py", "consensus/recognise.py"
CATCHUP, SCHEDULE = "consensus/catchup.py", "consensus/schedule.py"
VALIDATORS, PROVING = "consensus/validators.py", "consensus/proving.py"
MACHINE, EARLY, STATEMENTS = "node/machine.py", "node/early.py", "node/statements.py"
AT_THE_GATE = "net/gate.py"
INTAKE, PLACES, PACE = "node/intake.py", "store/places.py", "store/pace.py"
TAKEN, INDEXED = "tests/node/test_intake.py", "tests/store/test_places.py"
PACED = "tests/store/test_pace.py"
PROVING = "consensus/proving.py"

MUTANTS = (
    # ------------------------------------------------------------ what a replica may
    Mutant(
        "votes-while-changing",
        CORE,
        "            and self.record.mode is Mode.NORMAL\n            and view",
        "            and view",
        VIEWS,
    ),
    Mutant("votes-before-executed", CORE, "            and self.applied is not None\n", "", GUARDS),
    Mutant(
        "votes-below-h0",
        CORE,
        "            and self.record.opens(view, height)\n",
        "",
        TRACES,
    ),
    Mutant(
        "votes-in-any-view",
        CORE,
        "            and view == self.record.view\n",
        "",
        VIEWS,
    ),
    Mutant(
        "vote-not-kept",
        CORE,
        "        self.promise(VoteRecord(*at, digest))",
        "        self.record.fold(VoteRecord(*at, digest))",
    ),
    Mutant(
        "vote-not-compared",
        CORE,
        "if not right or not self.record.allows(at, digest):",
        "if not right:",
        GUARDS,
    ),
    Mutant(
        "votes-against-choice",
        CORE,
        "self._fresh(body, view) if choice is None else digest == choice",
        "choice is not None or self._fresh(body, view)",
        GUARDS,
    ),
    Mutant(
        "votes-for-invalid",
        CORE,
        "if body is None or self.record.voted(at) is not None or self.why_invalid(body):",
        "if body is None or self.record.voted(at) is not None:",
    ),
    Mutant(
        "any-proposer",
        CORE,
        "return body.header.proposer == leader.key and not early",
        "return not early",
    ),
    Mutant(
        "any-clock",
        CORE,
        "return body.header.proposer == leader.key and not early",
        "return body.header.proposer == leader.key",
    ),
    Mutant("never-creeps", CORE, "early = not creeping and ", "early = "),
    # ------------------------------------------------------------ locks
    Mutant(
        "lock-not-kept",
        CORE,
        "        self.promise(PreparedRecord(certificate))",
        "        self.record.fold(PreparedRecord(certificate))",
    ),
    Mutant(
        "locks-on-q-minus-1",
        CORE,
        "if len(signatures) < self.quorum.vote or",
        "if len(signatures) < self.quorum.vote - 1 or",
    ),
    Mutant(
        "locks-invalid",
        CORE,
        "        if body is None or self.why_invalid(body):\n            return False\n"
        "        self.bodies.keep(digest)\n        self.promise(Prep",
        "        if body is None:\n            return False\n"
        "        self.bodies.keep(digest)\n        self.promise(Prep",
        GUARDS,
    ),
    Mutant(
        "locks-without-body-kept",
        CORE,
        "        self.bodies.keep(digest)\n        self.promise(PreparedRecord(certificate))",
        "        self.promise(PreparedRecord(certificate))",
    ),
    # ------------------------------------------------------------ decisions
    Mutant(
        "decision-not-kept",
        CORE,
        "        self.promise(DecisionRecord(height, digest, certificate))\n",
        "",
    ),
    Mutant(
        "decides-on-q-minus-1",
        CORE,
        "ways = [(Round.COMMIT, CertificateKind.COMMIT, self.quorum.vote)]",
        "ways = [(Round.COMMIT, CertificateKind.COMMIT, self.quorum.vote - 1)]",
    ),
    Mutant(
        "decides-on-f-minus-1",
        CORE,
        "ways.append((Round.VOTE, CertificateKind.FAST, self.quorum.fast))",
        "ways.append((Round.VOTE, CertificateKind.FAST, self.quorum.fast - 1))",
        PATHS,
    ),
    Mutant(
        "pbft-exits-fast",
        CORE,
        "        if self._profile.fast_exit:\n            ways",
        "        if ways:\n            ways",
        PATHS,
    ),
    Mutant(
        "commits-of-one-view-only",
        CORE,
        "                view, digest, signatures = reached\n",
        "                view, digest, signatures = reached\n"
        "                if view != self.record.view:\n"
        "                    continue\n",
        VIEWS,
    ),
    Mutant(
        "agree-never-leaves",
        CORE,
        "self._out.send(ALL, Agree(certificate))",
        "self._out.send((), Agree(certificate))",
        PATHS,
    ),
    # ------------------------------------------------------------ who is honest
    Mutant(
        "own-lost-vote-ignored",
        CORE,
        "if signer == self.own and not self._cast_here(round_, at, cast.digest):",
        "if signer is None:",
        GUARDS,
    ),
    Mutant(
        "second-proposal-taken",
        CORE,
        "        if known.cast.digest == proposal.cast.digest:\n            return True",
        "        if known is not None:\n            return True",
    ),
    Mutant(
        "no-window",
        CORE,
        "return near and decided < height <= decided + HEIGHTS_AHEAD",
        "return decided < height",
        GUARDS,
    ),
    Mutant(
        "one-vote-makes-it-fetch",
        MISSING,
        "if len(signatures) > core.quorum.f and digest not in core.bodies:",
        "if digest not in core.bodies:",
        GUARDS,
    ),
    Mutant(
        "flight-survives-view",
        CORE,
        "        self.waiting.end()\n        self.policy",
        "        self.policy",
        GUARDS,
    ),
    # ------------------------------------------------------------ the wait for everybody
    Mutant(
        "grace-before-q",
        FLIGHT,
        "if votes >= self._quorum.vote and flight.quorum_ms is None:",
        "if votes >= self._quorum.vote - 1 and flight.quorum_ms is None:",
        PATHS,
    ),
    Mutant(
        "one-commit-ends-hold",
        FLIGHT,
        "commits > self._quorum.f",
        "commits >= self._quorum.f",
        PATHS,
    ),
    Mutant(
        "holds-for-the-dead",
        FLIGHT,
        " or present < self._quorum.fast",
        "",
        PATHS,
    ),
    Mutant(
        "holds-unpaid",
        FLIGHT,
        "self._streak < HOLD_STREAK or ",
        "",
        PATHS,
    ),
    Mutant(
        "streak-never-breaks",
        FLIGHT,
        "            self._streak = 0\n        elif",
        "            pass\n        elif",
        PATHS,
    ),
    Mutant("stale-timer-counts", FLIGHT, " or flight.at.height != timer.mark", "", GUARDS),
    Mutant(
        "timers-not-cancelled",
        FLIGHT,
        "                self._out.cancel(Timer(kind, self.flight.at.height))",
        "                pass",
        GUARDS,
    ),
    Mutant(
        "no-replica-timer",
        FLIGHT,
        "            self._arm(TimerKind.REPLICA, self.replica_ms)",
        "            pass",
        PATHS,
    ),
    Mutant(
        "f-give-up-for-all",
        FALLBACK,
        "> core.quorum.f:",
        ">= core.quorum.f:",
        PATHS,
    ),
    Mutant(
        "shows-q-minus-1",
        FALLBACK,
        "if len(signatures) < core.quorum.vote:",
        "if len(signatures) < core.quorum.vote - 1:",
        PATHS,
    ),
    Mutant(
        "end-of-wait-is-no-proposal",
        FALLBACK,
        "        if not core.propose_once(message.epoch, view, height, proposal):",
        "        if not proposal:",
        PATHS,
    ),
    Mutant(
        "end-of-another-wait",
        FALLBACK,
        "if flight.collects and self._ended == (flight.at, flight.digest):",
        "if flight.collects and self._ended is not None:",
        GUARDS,
    ),
    Mutant(
        "handed-for-anywhere",
        FALLBACK,
        "held is not None and position_of(held) == at",
        "held is not None",
        GUARDS,
    ),
    Mutant(
        "handed-is-kept",
        FALLBACK,
        "        self._handed = self._ended = None",
        "        self._ended = None",
        PATHS,
    ),
    Mutant(
        "falls-back-when-changing",
        FALLBACK,
        "        if not core.may(at.view, at.height):\n            return\n",
        "",
        FOUND,
    ),
    # ------------------------------------------------------------ the leader
    Mutant(
        "leader-vote-not-kept",
        PROPOSER,
        "core.promise(ProposalRecord(*at, digest), VoteRecord(*at, digest))",
        "core.promise(ProposalRecord(*at, digest))",
    ),
    Mutant(
        "proposal-not-kept",
        PROPOSER,
        "core.promise(ProposalRecord(*at, digest), VoteRecord(*at, digest))",
        "core.promise(VoteRecord(*at, digest))",
        RESTART,
    ),
    Mutant("everybody-proposes", PROPOSER, " and leads and ", " and ", VIEWS),
    Mutant(
        "proposes-again",
        PROPOSER,
        " and core.record.proposed(at) is None",
        "",
        RESTART,
    ),
    Mutant(
        "leader-free-of-choice",
        PROPOSER,
        " or core.choice(at) is not None:\n            return",
        ":\n            return",
        GUARDS,
    ),
    # ------------------------------------------------------------ the change of view
    Mutant(
        "claims-no-vote",
        CHANGE,
        "            claim = Claim(vote.at.view, vote.digest)",
        "            claim = None",
        TRACES,
    ),
    Mutant(
        "change-not-kept",
        CHANGE,
        "core.promise(ViewRecord(record.epoch, view, Mode.CHANGING), ViewChangeRecord(message))",
        "core.record.fold(ViewRecord(record.epoch, view, Mode.CHANGING))\n"
        "        core.record.fold(ViewChangeRecord(message))",
        VIEWS,
    ),
    Mutant(
        "new-view-not-kept",
        CHANGE,
        "(ViewRecord(message.epoch, message.view, Mode.NORMAL), NewViewRecord(message))",
        "(ViewRecord(message.epoch, message.view, Mode.NORMAL))\n"
        "        core.record.fold(NewViewRecord(message))",
        VIEWS,
    ),
    Mutant(
        "opens-on-w-minus-1",
        CHANGE,
        "        if len(asking) < size:",
        "        if len(asking) < size - 1:",
        VIEWS,
    ),
    Mutant(
        "f-make-one-join",
        CHANGE,
        "if len(later) <= self._quorum.f:",
        "if len(later) < self._quorum.f:",
        VIEWS,
    ),
    Mutant(
        "joins-the-highest",
        CHANGE,
        'self.start(later[self._quorum.f], "join")',
        'self.start(later[0], "join")',
        VIEWS,
    ),
    Mutant(
        "follows-any-new-view",
        CHANGE,
        "        if self._flaw(message):",
        "        if message is None:",
        VIEWS,
    ),
    Mutant(
        "goes-back-a-view",
        CHANGE,
        "later = view > record.view or (view == record.view and record.mode is Mode.CHANGING)",
        "later = True",
        VIEWS,
    ),
    Mutant(
        "leader-never-waits",
        CHANGE,
        "enough=later >= self._quorum.view_change",
        "enough=later >= self._quorum.n",
        VIEWS,
    ),
    Mutant(
        "choice-without-body",
        CHANGE,
        "selection.height and choice not in core.bodies:",
        "selection.height and choice is None:",
        GUARDS,
    ),
    Mutant(
        "hands-back-to-those-behind",
        CHANGE,
        "(i == core.own or decided.get(i, -1) >= head - HAND_BACK_LAG)",
        "(i == core.own or i in decided)",
        FOUND,
    ),
    Mutant(
        "hands-back-to-the-dead",
        CHANGE,
        "(i == core.own or decided.get(i, -1) >= head - HAND_BACK_LAG)",
        "decided",
        TRACES,
    ),
    Mutant(
        "hands-back-undoubled",
        CHANGE,
        "            and since >= due << min(self._failures[i], HAND_BACK_DOUBLINGS)\n",
        "",
        FOUND,
    ),
    # ------------------------------------------------------------ what a new leader is bound to
    Mutant(
        "h0-from-the-lowest",
        SELECT,
        "height = 1 + max(s.decided for s in standings)",
        "height = 1 + min(s.decided for s in standings)",
        GUARDS,
    ),
    Mutant("claims-of-its-own-view", SELECT, "s.vote.view > best)", "s.vote.view >= best)", GUARDS),
    Mutant(
        "one-claim-too-few",
        SELECT,
        "if count >= quorum.claim]",
        "if count >= quorum.claim - 1]",
        GUARDS,
    ),
    Mutant(
        "one-claim-too-many",
        SELECT,
        "if count >= quorum.claim]",
        "if count > quorum.claim]",
        VIEWS,
    ),
    Mutant(
        "claims-of-those-behind",
        SELECT,
        "[s for s in standings if s.decided == height - 1]",
        "list(standings)",
        GUARDS,
    ),
    Mutant(
        "certificate-is-nothing",
        SELECT,
        "None if prepared is None else prepared.digest",
        "None",
        VIEWS,
    ),
    Mutant(
        "hidden-certificate",
        SELECT,
        "if prepared is None or claim.view > prepared.view:",
        "if prepared is None:",
        GUARDS,
    ),
    Mutant(
        "one-standing-twice",
        SELECT,
        "if any(a.signer >= b.signer",
        "if any(a.signer > b.signer",
        GUARDS,
    ),
    Mutant(
        "certificate-of-this-view",
        SELECT,
        "prepared.view >= message.view:",
        "prepared.view > message.view:",
        GUARDS,
    ),
    # ------------------------------------------------------------ the safety record
    Mutant(
        "two-votes-at-one-place",
        SAFETY,
        "self.vote.at < at or self.vote ==",
        "self.vote.at <= at or self.vote ==",
        GUARDS,
    ),
    Mutant("h0-open", SAFETY, " and height >= opened.height", "", TRACES),
    Mutant(
        "h0-one-late", SAFETY, " and height >= opened.height", " and height > opened.height", VIEWS
    ),
    Mutant(
        "vote-ahead-is-no-flaw",
        SAFETY,
        "vote.at.height > decided + 1:",
        "vote.at.height < 0:",
        TRACES,
    ),
    Mutant(
        "commit-of-a-stranger",
        SAFETY,
        "own > at or (own == at and held.digest == digest)",
        "own >= at",
        GUARDS,
    ),
    # ------------------------------------------------------------ sizes
    Mutant("q-one-small", SIZES, "q = (n + f + 2) // 2", "q = (n + f + 1) // 2", QUORUM),
    Mutant("fast-one-small", SIZES, "p, q, n - p, max", "p, q, n - p - 1, max", QUORUM),
    Mutant("w-is-q", SIZES, "max(q, 2 * f + 2 * p + 1), f + p + 1)", "q, f + p + 1)", QUORUM),
    Mutant("tau-one-small", SIZES, "2 * p + 1), f + p + 1)", "2 * p + 1), f + p)", QUORUM),
    # ------------------------------------------------------------ counting
    Mutant(
        "both-of-two-votes-count",
        TALLY,
        "        if earlier.digest != cast.digest:\n            return earlier\n",
        "",
    ),
    Mutant("old-votes-stay", TALLY, "if key[0] <= height]:", "if key[0] < 0]:", GUARDS),
    Mutant("nobody-is-loud", TALLY, "            self.loud.add(signer)", "            pass", PATHS),
    # ------------------------------------------------------------ certificates
    Mutant(
        "certificate-unverified",
        CERTIFICATE,
        "        if not verify(validators.members[index].key, message, signature):",
        "        if index < 0:",
        GATE,
    ),
    Mutant(
        "certificate-too-short",
        CERTIFICATE,
        "if len(signers) != size or len(certificate.signatures) != size:",
        "if len(certificate.signatures) != len(signers):",
        ENDS,
    ),
    Mutant(
        "certificate-of-any-epoch",
        CERTIFICATE,
        "if certificate.epoch != validators.epoch:",
        "if certificate.epoch < 0:",
        GUARDS,
    ),
    Mutant(
        "votes-are-commits",
        CERTIFICATE,
        "CertificateKind.COMMIT: TAG_COMMIT",
        "CertificateKind.COMMIT: TAG_VOTE",
        GATE,
    ),
    Mutant(
        "certificate-of-strangers",
        CERTIFICATE,
        "if signers and signers[-1] >= n:",
        "if not signers:",
        ENDS,
    ),
    # ------------------------------------------------------------ what is looked at
    Mutant(
        "deaf-to-the-second-vote",
        SCREEN,
        "            return not _is_accused(core, round_, header)\n        # Known",
        "            return False\n        # Known",
        GUARDS,
    ),
    Mutant(
        "deaf-to-the-last-vote",
        SCREEN,
        ">= core.enough(round_)",
        ">= core.enough(round_) - 1",
        GUARDS,
    ),
    Mutant(
        "deaf-to-the-loud",
        SCREEN,
        "return loud and proposal is not None and proposal.path is Path.COLLECT",
        "return False",
        GUARDS,
    ),
    Mutant(
        "bodies-unasked",
        SCREEN,
        "return missing is not None and missing[0] == header.digest",
        "return True",
        GUARDS,
    ),
    # ------------------------------------------------------------ the gate
    Mutant(
        "sender-unchecked",
        AT_THE_GATE,
        "        if self._known(raw) is None:\n            self.check_sender(tx)\n",
        "",
        GATE,
    ),
    Mutant(
        "block-senders-unchecked",
        AT_THE_GATE,
        "        for wrong in self._spread(fresh):\n",
        "        for wrong in self._spread(fresh[:0]):\n",
        GATE,
    ),
    Mutant(
        "known-fits-anywhere",
        AT_THE_GATE,
        "                if tx is not None:\n                    check_fits",
        "                if tx is not None and height < 0:\n                    check_fits",
        GATE,
    ),
    Mutant(
        "opened-is-another",
        AT_THE_GATE,
        "        return self._opened.get(digest)",
        "        return next(reversed(self._opened.values()), None)",
        GATE,
    ),
    Mutant(
        "vote-unsigned",
        AT_THE_GATE,
        "            case Prepare() | Collected():\n                self._check_signature(message, "
        "TAG_VOTE, message.signer, message.sig)",
        "            case Prepare() | Collected():\n                pass",
        GATE,
    ),
    Mutant(
        "commit-unsigned",
        AT_THE_GATE,
        "                self._check_signature(message, TAG_COMMIT, message.signer, message.sig)",
        "                pass",
        GATE,
    ),
    Mutant(
        "another-block-shown",
        AT_THE_GATE,
        "            header.digest() != message.digest\n            or header.height",
        "            header.height",
        GATE,
    ),
    Mutant(
        "a-height-of-another-epoch",
        AT_THE_GATE,
        "        if not self._terms.covers(term, header.height):",
        "        if term is None:",
        GATE,
    ),
    Mutant(
        "any-leader-proposes",
        AT_THE_GATE,
        "        self._check_signature(message, TAG_PROPOSAL, leader, message.proposal_sig)\n"
        "        self._check_txs",
        "        self._check_txs",
        GATE,
    ),
    Mutant(
        "end-of-wait-unsigned",
        AT_THE_GATE,
        "        self._check_signature(message, TAG_PROPOSAL, leader, message.proposal_sig)\n"
        "        held",
        "        held",
        ENDS,
    ),
    Mutant(
        "end-with-other-votes",
        AT_THE_GATE,
        "if (held.epoch, held.view, held.height, held.digest) != at:",
        "if not at:",
        ENDS,
    ),
    Mutant(
        "prepared-decides",
        AT_THE_GATE,
        "if certificate.kind not in term.decisive:",
        "if not certificate.kind:",
        GATE,
    ),
    Mutant(
        "votes-decide-everywhere",
        TERMS,
        "        if self.profile.fast_exit:",
        "        if True:",
        ENDS,
    ),
    Mutant(
        "decision-prepares",
        AT_THE_GATE,
        "if prepared.kind != CertificateKind.PREPARED:",
        "if not prepared.kind:",
        GATE,
    ),
    Mutant(
        "claim-of-the-future",
        PROVING,
        "if claim is not None and claim.view >= standing.view:",
        "if claim is not None and claim.view < 0:",
        GATE,
    ),
    Mutant(
        "claim-without-proof",
        AT_THE_GATE,
        "if (claim is None) != (prepared is None):",
        "if claim is None and prepared is not None:",
        GATE,
    ),
    Mutant(
        "head-without-proof",
        AT_THE_GATE,
        "elif (decision.height, decision.digest) != (standing.decided, standing.head):",
        "elif decision.height < 0:",
        GATE,
    ),
    Mutant(
        "new-view-of-anybody",
        AT_THE_GATE,
        "if not self._verify(self._member(message.epoch, leader), signed, message.sig):",
        "if not signed:",
        GATE,
    ),
    Mutant(
        "standings-unchecked",
        AT_THE_GATE,
        "        for standing in message.standings:\n            self._check_standing(standing)\n",
        "",
        GATE,
    ),
    Mutant(
        "evidence-of-nothing",
        PROVING,
        "if proof.first == proof.second or",
        "if",
        GATE,
    ),
    # ------------------------------------------------------------ epochs
    Mutant(
        "no-epoch-reset",
        CORE,
        "            self.promise(ViewRecord(epoch, 0, Mode.NORMAL))\n",
        "            self.record.epoch = epoch\n",
        EPOCHS,
    ),
    Mutant(
        "next-set-ignored", CORE, "applied.next_set or self._validators", "self._validators", EPOCHS
    ),
    Mutant(
        "nonce-ignored",
        CORE,
        "self.own = self.own if self.record.speaks(member.nonce) else None",
        "self.own = self.own if member.key else None",
        EPOCHS,
    ),
    Mutant(
        "sound-memory-speaks-for-any",
        SAFETY,
        "            return nonce == ZERO_DIGEST\n",
        "            return True\n",
        EPOCHS,
    ),
    Mutant(
        "unnamed-memory-speaks",
        SAFETY,
        "return self.nonce != ZERO_DIGEST and nonce == self.nonce",
        "return nonce == self.nonce",
        EPOCHS,
    ),
    Mutant(
        "named-again",
        CORE,
        "self.own is None and self.record.nonce == ZERO_DIGEST",
        "self.own is None",
        EPOCHS,
    ),
    Mutant(
        "a-voter-is-named",
        CORE,
        "self.own is None and self.record.nonce",
        "self.record.nonce",
        EPOCHS,
    ),
    Mutant(
        "end-unnoticed",
        CORE,
        "self.ended = body.header.next_validators != self._validators.digest",
        "self.ended = False",
        EPOCHS,
    ),
    Mutant("votes-after-the-end", CORE, "            and not self.ended\n", "", EPOCHS),
    Mutant(
        "old-certificate-decides",
        CORE,
        "here = certificate.epoch == self.record.epoch and not self.ended",
        "here = not self.ended",
        EPOCHS,
    ),
    Mutant(
        "reviews-after-the-end",
        CHANGE,
        "core.own is None or not core.voting or core.ended:",
        "core.own is None or not core.voting:",
        EPOCHS,
    ),
    Mutant(
        "refused-for-all-leaders",
        CHANGE,
        "return later and (view, leader) not in self._refused",
        "return later and view not in {refused for refused, _ in self._refused}",
        DELEGATES,
    ),
    Mutant(
        "led-from-above",
        CHANGE,
        "if m.standing.decided <= decided}",
        "if m.standing.decided >= 0}",
        DELEGATES,
    ),
    Mutant(
        "opens-for-another-height",
        CHANGE,
        "            if mine and len(level) >= size:",
        "            if len(level) >= size:",
        DELEGATES,
    ),
    Mutant(
        "order-from-genesis-on",
        SCHEDULE,
        "return (height - validators.first + view) % validators",
        "return (height - 1 + view) % validators",
        DELEGATES,
    ),
    Mutant(
        "order-without-heights",
        SCHEDULE,
        "return (height - validators.first + view) % validators",
        "return view % validators",
        DELEGATES,
    ),
    Mutant(
        "counts-any-epoch",
        REPLICA,
        ") if epoch != core.record.epoch:  # fmt: skip",
        ") if epoch < 0:  # fmt: skip",
        EPOCHS,
    ),
    Mutant(
        "votes-at-once",
        REPLICA,
        "        self._met.clear()\n",
        "        self._met.update(range(64))\n",
        EPOCHS,
    ),
    Mutant(
        "any-status-ends-the-wait",
        REPLICA,
        "        if status.epoch != epoch:\n            return\n",
        "",
        EPOCHS,
    ),
    Mutant(
        "old-start-ends-the-wait",
        REPLICA,
        "                if timer == self._start_timer:\n"
        "                    self._start_voting()\n",
        "                self._start_voting()\n",
        EPOCHS,
    ),
    Mutant(
        "last-words-not-shown",
        REPLICA,
        "                self._out.send((sender,), word)\n",
        "                pass\n",
        EPOCHS,
    ),
    Mutant(
        "witness-of-another-epoch",
        RECOGNISE,
        "certificate is None or certificate.epoch != record.epoch",
        "certificate is None",
        EPOCHS,
    ),
    Mutant(
        "peers-keep-their-index",
        CATCHUP,
        "            new = index.get(old)\n",
        "            new = old\n",
        EPOCHS,
    ),
    Mutant(
        "set-hash-without-nonces",
        VALIDATORS,
        ' + b"".join(m.nonce for m in self.members))',
        ")",
        EPOCHS,
    ),
    Mutant(
        "set-hash-without-first", VALIDATORS, 'struct.pack(">Q", self.first)', "bytes(8)", EPOCHS
    ),
    Mutant("term-begins-late", TERMS, "if t.first <= height)", "if t.first < height)", IN_TERMS),
    Mutant(
        "term-never-ends",
        TERMS,
        "after is None or height < after.first",
        "after is None or height",
        IN_TERMS,
    ),
    Mutant("terms-kept-for-ever", TERMS, "e > self.latest.epoch - KEPT", "e >= 0", IN_TERMS),
    Mutant(
        "any-height-of-an-epoch",
        AT_THE_GATE,
        "if not self._terms.covers(term, certificate.height):",
        "if not term:",
        MACHINES,
    ),
    Mutant(
        "any-epochs-set",
        AT_THE_GATE,
        "        term = self._term(certificate.epoch)\n        if certificate.kind",
        "        term = self._term(0)\n        if certificate.kind",
        MACHINES,
    ),
    Mutant(
        "certificate-epoch-unchecked",
        CERTIFICATE,
        "    if certificate.epoch != validators.epoch:\n",
        "    if certificate.epoch < 0:\n",
        GATE + " " + MACHINES,
    ),
    Mutant(
        "effect-at-n-plus-1",
        MACHINE,
        "seat=terms.at(ledger.height + 1).seat(self.key)",
        "seat=terms.at(ledger.height + 2).seat(self.key)",
        MACHINES,
    ),
    Mutant(
        "next-set-a-height-late",
        MACHINE,
        "next_set=terms.at(ledger.height + 2)",
        "next_set=terms.at(ledger.height + 1)",
        MACHINES,
    ),
    Mutant(
        "batch-not-cut",
        MACHINE,
        "        if end is None:\n",
        "        if end is None or end > 0:\n",
        MACHINES,
    ),
    Mutant(
        "words-of-the-epoch-before-lost",
        REPLICA,
        "        self._core.heard.follow(before.heard, members)\n",
        "",
        "tests/consensus/test_epochs.py " + ROLLED_BACK,
    ),
    Mutant(
        "words-lost-before-their-epoch-is-known",
        MACHINE,
        "            self._early.remember(sender, message)\n",
        "",
        ROLLED_BACK,
    ),
    Mutant("early-dropped", MACHINE, "[inputs[0], *early]", "[inputs[0]]", MACHINES),
    Mutant(
        "sound-candidate-named",
        MACHINE,
        "return status.lost or not listed",
        "return True",
        MACHINES,
    ),
    Mutant(
        "mute-is-ready",
        MACHINE,
        "if term.profile.moves and not mute else",
        "if term.profile.moves else",
        MACHINES,
    ),
    Mutant(
        "index-of-the-epoch-in-force",
        MACHINE,
        "        term = self.terms.of(epoch)\n",
        "        term = self.term\n",
        MACHINES,
    ),
    Mutant("epochs-mixed-early", EARLY, "if at == epoch]", "if at >= epoch]", MACHINES),
    Mutant(
        "room-for-one-sender-only",
        EARLY,
        "return self._queued[sender] <",
        "return self._queued.total() <",
        MACHINES,
    ),
    Mutant(
        "early-without-bound",
        EARLY,
        "if self._queued[received.sender] + size <= EARLY_BYTES:",
        "if size:",
        MACHINES,
    ),
    Mutant(
        "skip-of-mixed-heights",
        STATEMENTS,
        "any((s.decided, s.head) != (first.decided, first.head) for s in others)",
        "not first",
        STATED,
    ),
    Mutant(
        "skip-proof-of-mixed-heights",
        PROVING,
        "if any((s.epoch, s.view, s.decided, s.head) != at for s in standings):",
        "if any((s.epoch, s.view) != at[:2] for s in standings):",
        PROVED,
    ),
    Mutant(
        "skip-proof-of-too-few",
        PROVING,
        "    if len(standings) != size:\n",
        "    if not standings:\n",
        PROVED,
    ),
    Mutant(
        "decision-without-body-forgotten",
        MISSING,
        "    if undecided is not None and undecided.digest not in core.bodies:\n"
        "        return undecided.digest, core.others\n",
        "",
        "tests/consensus",
    ),
    # ------------------------------------------------------------ what is not done twice
    Mutant(
        "passed-under-its-digest",
        AT_THE_GATE,
        "if passed is not None and [tx.raw for tx in passed] == list(raws):",
        "if passed is not None:",
        GATE,
    ),
    Mutant(
        "taken-by-its-id",
        INTAKE,
        "waiting.known(raws[position]) is not tx",
        "waiting.get(tx.id) is None",
        TAKEN,
    ),
    Mutant(
        "bad-signature-is-taken",
        INTAKE,
        "            if wrong is not None:\n                outcomes[position] = wrong\n",
        "            pass\n",
        TAKEN,
    ),
    Mutant(
        "place-of-any-id-that-begins-so",
        PLACES,
        " and id_of(txs[place.position]) == tx_id:",
        ":",
        INDEXED,
    ),
    Mutant(
        "place-of-what-was-refused",
        PLACES,
        "        parts[position] = bytes(PREFIX)\n    return",
        "        pass\n    return",
        INDEXED,
    ),
    Mutant(
        "last-place-instead-of-first",
        PLACES,
        "if not _may_be_repeated(txs[place.position]):",
        "if txs:",
        INDEXED,
    ),
    Mutant(
        "one-slow-write-is-nothing",
        PACE,
        "if self._clock() - begun <= QUICK_S else 0",
        "if self._clock() - begun <= QUICK_S else self._streak",
        PACED,
    ),
    Mutant(
        "large-writes-on-the-loop",
        PACE,
        "return items <= SMALL_ITEMS and size <= SMALL_BYTES",
        "return True",
        PACED,
    ),
)

SURVIVORS: dict[str, str] = {
    "votes-after-the-end": "until its last block is executed nothing is voted for in any case",
    "votes-while-changing": "who is CHANGING stands in a view > 0 that nothing has opened yet",
    "votes-in-any-view": "nobody asks about a view it is not in",
    "handed-is-kept": "a certificate for another position is not looked at",
    "proposes-again": "the vote that is kept with a proposal forbids a second one",
}
"""Mutants that nothing can notice, and why."""
