/* The transition protocol of libbreaker, for spin. spin_test.py runs it; README.md of this folder says what is left out.
 *
 * The state word (epoch, state) is read at once and changed by compare-and-swap only. What a process does between two
 * such steps may be interleaved with anything, and mortal processes may be killed at any statement. Time is left to
 * chance: an open time may pass once its end is published, a lease may end once it is out.
 *
 * Properties, by the names breaker.h gives:
 *   B2  a transition is only ever made out of the epoch that was judged: stale permits change nothing
 *   B3  each epoch is begun by exactly one transition
 *   B4  an epoch of half-open grants at most PROBES permits, and a permit decides at most once
 *   T1  the end of an open time is published once: all who ask get the same
 *   L1  (LIVE) while one caller lives, half-open does not last for ever
 *   L2  (LIVE, WELL) while every call ends well, slow or not, and no rule judges slow calls, an open breaker closes at last
 *
 * Wrong on purpose, to see that the properties can fail: BUG_STALE (a report does not look at the epoch), BUG_STORE (a
 * transition is a store), BUG_LEASE (a lease never ends), BUG_PUBLISH (the end is stored, not swapped), BUG_SLOW (a slow probe is bad though no rule judges
 * slow calls).
 */
#ifndef PROBES
#define PROBES 2
#endif
#define NEEDED 2 /* successes that close */
#ifdef LIVE
#define EPOCHS 3 /* epochs go round: a cycle of states is what is looked for */
#else
#ifndef EPOCHS
#define EPOCHS 5 /* and the run ends there */
#endif
#endif
#define NEXT(e) ((e + 1) % EPOCHS)

#define CLOSED 0
#define OPEN   1
#define HALF   2

#define FREE   0
#define OUT    1
#define GOOD   2
#define BAD    3
#define SLOW   4 /* a success all the same: no rule judges slow calls */

typedef Probe {
    byte epoch;
    byte is
};

byte epoch = 0;
#ifdef WELL
byte state = OPEN;
#else
byte state = CLOSED;
#endif
Probe probe[PROBES];
bool late[PROBES];    /* its lease has ended */
byte until_epoch = 9; /* which epoch the published end belongs to */
byte until_by = 0;    /* who published it */
bool passed = false;  /* that end has come */

bool killed[6];

/* What the properties talk about. */
byte granted[EPOCHS];
byte begun[EPOCHS];
byte seen_until[EPOCHS]; /* whose end was seen in that epoch, 0 nobody's */

#define LAST (epoch == EPOCHS - 1)
#ifdef LIVE
#define STOP false
#else
#define STOP LAST
#endif

/* Compare-and-swap of the state word. */
inline move(e, s, to) {
    atomic {
        if
#ifdef BUG_STORE
        :: !STOP ->
#else
        :: (epoch == e && state == s && !STOP) ->
#endif
            epoch = NEXT(e);
            state = to;
#ifndef LIVE
            begun[epoch]++;
            assert(begun[epoch] == 1); /* B3 */
#endif
            won = true
        :: else -> won = false
        fi
    }
}

/* Publish the end of this epoch's open time unless it is there; then read it. */
inline publish(e) {
#ifdef BUG_PUBLISH
    if
    :: until_epoch != e -> atomic { until_epoch = e; until_by = _pid; passed = false }
    :: else
    fi;
#else
    atomic {
        if
        :: until_epoch != e && epoch == e -> until_epoch = e; until_by = _pid; passed = false
        :: else
        fi
    }
#endif
#ifndef LIVE
    atomic {
        if
        :: until_epoch == e && epoch == e ->
            assert(seen_until[e] == 0 || seen_until[e] == until_by); /* T1 */
            seen_until[e] = until_by
        :: else
        fi
    }
#endif
}

inline open_again(e, s) {
    move(e, s, OPEN);
    if
    :: won -> publish(NEXT(e))
    :: else
    fi
}

/* Settle leases that have ended, count, decide if it is certain. */
inline judge(e) {
    i = 0;
    good = 0;
    bad = 0;
    do
    :: i < PROBES ->
        atomic {
            if
            :: probe[i].epoch == e && probe[i].is == OUT && late[i] && epoch == e -> probe[i].is = BAD
            :: else
            fi
        }
        atomic {
            if
            :: probe[i].epoch == e && probe[i].is == GOOD -> good++
            :: probe[i].epoch == e && probe[i].is == BAD -> bad++
#ifdef BUG_SLOW
            :: probe[i].epoch == e && probe[i].is == SLOW -> bad++
#else
            :: probe[i].epoch == e && probe[i].is == SLOW -> good++
#endif
            :: else
            fi;
            i++
        }
    :: else -> break
    od;
    if
    :: good >= NEEDED -> move(e, HALF, CLOSED)
    :: bad > PROBES - NEEDED -> open_again(e, HALF)
    :: else
    fi
}

/* Take a free probe by compare-and-swap: mine < PROBES when taken. */
inline take(e) {
    mine = 0;
    do
    :: mine < PROBES ->
        atomic {
            if
            :: (probe[mine].epoch != e || probe[mine].is == FREE) && epoch == e ->
                probe[mine].epoch = e;
                probe[mine].is = OUT;
                late[mine] = false;
#ifndef LIVE
                granted[e]++;
                assert(granted[e] <= PROBES); /* B4 */
#endif
                break
            :: else -> mine++
            fi
        }
    :: else -> break
    od
}

inline report_probe(e, outcome) {
    atomic { now_epoch = epoch; now_state = state };
    if
#ifdef BUG_STALE
    :: true ->
#else
    :: now_epoch == e ->
#endif
        atomic {
            if
            :: probe[mine].epoch == e && probe[mine].is == OUT && !late[mine] -> probe[mine].is = outcome
            :: else
            fi
        }
        judge(e)
#ifndef BUG_STALE
    :: else
#endif
    fi
}

/* A failure that trips: the rules are left to chance, the epoch is not. */
inline report_normal(e) {
    atomic { now_epoch = epoch; now_state = state };
    if
#ifdef BUG_STALE
    :: true ->
        atomic { assert(now_epoch == e || LAST); } /* B2: what would be judged is another epoch's */
#else
    :: now_epoch == e && now_state == CLOSED ->
#endif
        open_again(now_epoch, now_state)
    :: true /* it did not trip, or was a success */
    fi
}

inline call() {
    atomic { e = epoch; s = state };
    if
#ifdef WELL
    :: s == CLOSED -> skip
#else
    :: s == CLOSED -> report_normal(e)
#endif
    :: s == OPEN ->
        publish(e);
        if
        :: until_epoch == e && passed -> move(e, OPEN, HALF)
        :: else
        fi
    :: s == HALF ->
        take(e);
        if
        :: mine < PROBES ->
            if
            :: report_probe(e, GOOD)
            :: report_probe(e, SLOW)
#ifndef WELL
            :: report_probe(e, BAD)
            :: true /* it hangs: nothing is ever reported */
#endif
            fi
        :: else -> judge(e)
        fi
    fi
}

proctype caller(bool is_mortal) {
    byte e, s, now_epoch, now_state, i, good, bad, mine;
    bool won;
    {
        do
#ifndef LIVE
        :: LAST -> break
        :: else -> call()
#else
        :: call()
#endif
        od
    } unless {
        is_mortal && killed[_pid]
    }
}

/* Kills whom it likes, whenever it likes. */
proctype killer(byte victim) {
    killed[victim] = true
}

/* Lets time pass. */
proctype clock() {
end:
    do
    :: atomic { until_epoch == epoch && state == OPEN && !passed -> passed = true }
#if !defined(BUG_LEASE) && !defined(WELL)
    :: atomic { probe[0].is == OUT && !late[0] -> late[0] = true }
    :: atomic { probe[1].is == OUT && !late[1] -> late[1] = true }
#endif
#ifndef LIVE
    :: LAST -> break
#endif
    od
}

init {
    byte i = 0;
    atomic {
        do
        :: i < PROBES -> probe[i].epoch = 9; i++
        :: else -> break
        od;
        run caller(false); /* 1 */
#ifndef ALONE
        run caller(true); /* 2 */
#endif
#ifdef THREE
        run caller(true); /* 3 */
#endif
        run clock();
#ifndef ALONE
        run killer(2)
#endif
    }
}

#ifdef LIVE
#ifdef WELL
ltl closes { <>(state == CLOSED) } /* L2 */
#else
ltl comes_out { []((state == HALF) -> <>(state != HALF)) } /* L1 */
#endif
#endif
