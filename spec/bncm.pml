/* Fast path and view change of BNCM at n = 4: f = 1, p = 0, q = 3, F = 4, w = 3, tau = 2.
 *
 * Three honest replicas and one Byzantine signer, who counts in every quorum, leads any view and
 * claims anything in a view change. One height, two digests, views 0 .. VIEWS-1. The network is
 * in the search: a certificate exists once enough signatures do, and who holds it is left open.
 * protocol.md par. 5 (may, cast, lock) and par. 7 (start_vc, select, the check of a new view).
 *
 *   spin -a bncm.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * One rule can be broken with -D: FAST_ONE_LESS, CLAIM_ONE_LESS, CHANGE_ONE_LESS,
 * SLACK_TOO_LARGE, CLAIMS_DROPPED, CERTIFICATE_FIRST, CHECK_DROPPED, LEADER_VOTE_OMITTED,
 * AMNESIA, NOTHING_CARRIED. Then the assertion at the end must fail.
 */
#ifndef VIEWS
#define VIEWS 3
#endif

#define HONEST 3
#define F_BYZ 1
#define Q 3

#ifdef FAST_ONE_LESS
#define FAST 3
#else
#ifdef SLACK_TOO_LARGE
#define FAST 3
#else
#define FAST 4
#endif
#endif

#ifdef CLAIM_ONE_LESS
#define TAU 1
#else
#ifdef SLACK_TOO_LARGE
#define TAU 3
#else
#define TAU 2
#endif
#endif

#ifdef CHANGE_ONE_LESS
#define W 2
#else
#define W 3
#endif

#define AT(i, v) ((i) * VIEWS + (v))

byte view[HONEST];              /* the view a replica has left for; it votes in no older one */
byte vote[HONEST * VIEWS];      /* the digest of its first-round vote, 0: none */
byte lock[HONEST * VIEWS];      /* the digest it holds a prepared certificate of, and committed */
#ifdef LEADER_VOTE_OMITTED
byte led[VIEWS];                /* 1 + the honest replica that led the view: its vote is not on disk */
#endif
#ifdef AMNESIA
byte wiped;                     /* 1 + the replica that lost its record */
byte old_vote[VIEWS];           /* what it had signed before */
byte old_lock[VIEWS];
#endif

byte decided;                   /* digests with a decision certificate, as bits 1 and 2 */

/* Scratch of one step; always 0 between steps. */
byte i, u, d, members, liar, best, certain, first, second, choice, seen, prep, what;
bool fine;

#define SAME(votes, m, v, x) (votes[AT(m, v)] == (x))
#ifdef AMNESIA
/* What an amnesiac signed before counts as well, unless it signed the same again. */
#define BEFORE(votes, old, v, x) (old[v] == (x) && votes[AT(wiped - 1, v)] != (x))
#else
#define BEFORE(votes, old, v, x) 0
#endif
#define SIGNED(votes, old, v, x) \
  (F_BYZ + SAME(votes, 0, v, x) + SAME(votes, 1, v, x) + SAME(votes, 2, v, x) + \
   BEFORE(votes, old, v, x))
#define VOTES(v, x) SIGNED(vote, old_vote, v, x)
#define COMMITS(v, x) SIGNED(lock, old_lock, v, x)

/* The attached certificate: best = 1 + its view, certain = its digest; 0, 0 if none. */
inline attach(v) {
  do
  :: u < v && VOTES(u, 1) >= Q -> best = u + 1; certain = 1; break
  :: u < v && VOTES(u, 2) >= Q -> best = u + 1; certain = 2; break
  :: u < v -> u++
  :: u >= v -> break
  od;
  u = 0
}

/* What replica m says when it leaves for view v: seen, choice := 1 + view and digest of its latest
 * vote; prep, what := the same of its latest lock. */
inline standing(m, v) {
  u = 0;
  do
  :: u < v ->
     if
#ifdef LEADER_VOTE_OMITTED
     :: vote[AT(m, u)] && led[u] != m + 1 -> seen = u + 1; choice = vote[AT(m, u)]
#else
     :: vote[AT(m, u)] -> seen = u + 1; choice = vote[AT(m, u)]
#endif
     :: else
     fi;
     if
     :: lock[AT(m, u)] -> prep = u + 1; what = lock[AT(m, u)]
     :: else
     fi;
     u++
  :: else -> break
  od;
  u = 0
}

/* Adds the view change of replica m to W: its claim, and whether the certificate stands up to it. */
inline present(m, v) {
  standing(m, v);
#ifdef CERTIFICATE_FIRST
  if
  :: choice == 1 -> first++
  :: choice == 2 -> second++
  :: else
  fi;
#else
  if
  :: choice == 1 && seen > best -> first++
  :: choice == 2 && seen > best -> second++
  :: else
  fi;
#endif
#ifndef CHECK_DROPPED
  if
  :: prep > best || (prep && prep == best && what != certain) -> fine = false
  :: else
  fi;
#endif
  members++;
  seen = 0; choice = 0; prep = 0; what = 0
}

/* A new view v: W of honest replicas that have asked for it and perhaps the liar, a certificate, a
 * claim. Leaves d = what it allows to be voted, 0 if this W is not one. */
inline new_view(v) {
  attach(v);
  fine = true;
  do
  :: i < HONEST && view[i] >= v -> d_step { present(i, v); i++ }
  :: i < HONEST -> i++          /* not among W */
  :: else -> break
  od;
  i = 0;
  if
  :: members == W
  :: members == W - 1 -> liar = 1; members++
  :: members != W && members != W - 1 -> fine = false
  fi;
  if
  :: liar && best < v -> first++       /* the liar claims a vote of view v-1, as good as any later */
  :: liar && best < v -> second++
  :: true                              /* or none */
  fi;
  if
  :: fine ->
     choice = certain;
#ifndef CLAIMS_DROPPED
#ifndef NOTHING_CARRIED
#ifdef CERTIFICATE_FIRST
     if
     :: certain == 0 && first >= TAU && second < TAU -> choice = 1
     :: certain == 0 && second >= TAU && first < TAU -> choice = 2
     :: else
     fi;
#else
     if
     :: first >= TAU && second < TAU -> choice = 1
     :: second >= TAU && first < TAU -> choice = 2
     :: else
     fi;
#endif
#endif
#endif
#ifdef NOTHING_CARRIED
     choice = 0;
#endif
     if
     :: choice -> d = choice
     :: !choice -> d = 1
     :: !choice -> d = 2
     fi
  :: else
  fi;
  fine = false; members = 0; first = 0; second = 0; liar = 0; best = 0; certain = 0; choice = 0
}

/* A first-round vote in the replica's own view. */
inline cast(m) {
  atomic {
    vote[AT(m, view[m])] == 0 ->
    if
    :: view[m] == 0 -> if :: d = 1 :: d = 2 fi
    :: else -> new_view(view[m])
    fi;
    if
    :: d ->
       vote[AT(m, view[m])] = d;
       if
       :: VOTES(view[m], d) >= FAST -> decided = decided | (1 << d)
       :: else
       fi;
#ifdef LEADER_VOTE_OMITTED
       if
       :: led[view[m]] == 0 -> led[view[m]] = m + 1
       :: true
       fi;
#endif
       printf("%c votes d%d in view %d\n", 'A' + m, d, view[m])
    :: else
    fi;
    d = 0;
    assert(decided != 6)
  }
}

/* q votes exist: the replica keeps the certificate and commits. In a later view it has to have
 * accepted a new view first; at one height that is any W at all, which q votes in it prove. */
inline commit(m) {
  atomic {
    lock[AT(m, view[m])] == 0 ->
    if
    :: VOTES(view[m], 1) >= Q -> d = 1
    :: VOTES(view[m], 2) >= Q -> d = 2
    :: else
    fi;
    if
    :: d ->
       lock[AT(m, view[m])] = d;
       if
       :: COMMITS(view[m], d) >= Q -> decided = decided | (1 << d)
       :: else
       fi;
       printf("%c commits d%d in view %d\n", 'A' + m, d, view[m])
    :: else
    fi;
    d = 0;
    assert(decided != 6)
  }
}

inline leave(m) {
  atomic {
    view[m] < VIEWS - 1 ->
    view[m]++;
    printf("%c leaves for view %d\n", 'A' + m, view[m])
  }
}

#ifdef AMNESIA
/* The record is gone, what was signed is not: the other replicas still hold it. */
inline wipe(m) {
  atomic {
    wiped == 0 ->
    wiped = m + 1;
    u = 0;
    do
    :: u < VIEWS ->
       old_vote[u] = vote[AT(m, u)]; vote[AT(m, u)] = 0;
       old_lock[u] = lock[AT(m, u)]; lock[AT(m, u)] = 0;
       u++
    :: else -> break
    od;
    u = 0;
    view[m] = 0;
    printf("%c loses its record\n", 'A' + m)
  }
}
#endif

active proctype plant() {
end:
  do
  :: cast(0) :: cast(1) :: cast(2)
  :: commit(0) :: commit(1) :: commit(2)
  :: leave(0) :: leave(1) :: leave(2)
#ifdef AMNESIA
  :: wipe(0) :: wipe(1) :: wipe(2)
#endif
  od
}
