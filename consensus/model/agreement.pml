/*
 * Agreement of a small instance of the protocol, explored exhaustively with spin; README.md says how.
 *
 * HONEST validators follow consensus/SPEC.md. One more may sign anything and show any certificate, timeout or
 * proposal to anyone at any time. It also plays every leader (S2: safety never relies on one), so every proposal
 * that the rules do not forbid is made. Nothing is delivered: an honest validator may act on whatever signatures
 * exist, at any later time or never, which is every schedule of loss, delay, duplication and reordering. The state
 * is the set of honest signatures and what their makers remember. Each rule stands where its id is, and the macro
 * NO_<rule> takes it away.
 *
 * Four reductions, each exact for "can there be a fork?":
 *
 *  1. Only honest signatures are stored. A certificate exists once q - f honest validators signed (NEED): the faulty
 *     one adds its signature when that is of use. Signatures are never withdrawn, so sets of them are bit masks.
 *  2. A validator learns nothing in advance. It enters a term, and raises its lock, in the step in which it signs
 *     something that needs this, and by the lowest certificate that will do. To know more changes only the lock that
 *     its timeouts list. A higher lock listed allows the next first block less (R4), and so does a higher one held:
 *     every step possible with the higher lock is possible with the lower. EAGER adds learning as steps of its own,
 *     to check this argument.
 *  3. Honest validators are interchangeable, as they lead nothing (2): their records are kept sorted.
 *  4. STRATA: the steps of a term come before those of the next. What a validator signs in term t depends on its own
 *     past, of terms up to t (T1), and on signatures of terms up to t. So a step of term t right after one of
 *     another validator in a later term can be swapped with it; the later one then finds the same signatures or
 *     more, hence the same term certificates or lower ones, and 2 applies. Sorting by term is a sequence of such
 *     swaps. Of a term that is over there remain its certificates, what is final, the locks, and the lowest
 *     lock that its term certificates can list. Not for rules whose absence breaks T1, nor for amnesia, where
 *     answers tell the term of another: without STRATA every order is explored.
 *
 * An epoch boundary (EPOCH) is explored in the same manner: nothing in epoch 1 depends on a signature of epoch 2, so
 * epoch 1 comes first, and at any moment after the commit of its last block (E3) epoch 2 starts. Its validators are
 * others than those of epoch 1, or the same ones acting in both at once: more than the protocol allows.
 */
/* The instance; the runner sets these. */
#ifndef HONEST
#define HONEST 3        /* n = HONEST + 1 */
#endif
#ifndef NEED
#define NEED 2          /* S1: honest signatures in any certificate, q - f */
#endif
#ifndef TERMS
#define TERMS 2
#endif
#ifndef HEIGHTS
#define HEIGHTS 2
#endif
#ifndef VARIANTS
#define VARIANTS 1      /* contents a block of given term and parent may have */
#endif
#ifndef NUDGE
#define NUDGE 1         /* whether commit votes exist, or commits come from child blocks alone */
#endif
#ifndef FORGETS
#define FORGETS 0       /* how often a validator loses its disk; one at a time */
#endif

/* S1: signers are distinct. Counted twice, one honest validator less makes a certificate. */
#ifdef NO_S1_DISTINCT
#define NEED_VOTES (NEED - 1)
#else
#define NEED_VOTES NEED
#endif
#ifdef NO_S1_DISTINCT_TIMEOUTS
#define NEED_TIMEOUTS (NEED - 1)
#else
#define NEED_TIMEOUTS NEED
#endif
#ifdef NO_D8_QUORUM
#define NEED_STATUS (NEED - 1)
#else
#define NEED_STATUS NEED
#endif

#define BIT(b) (1 << (b))
#define TERM_OF(rank) (((rank) + HEIGHTS - 1) / HEIGHTS)
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define SHUT 255        /* no term certificate exists */
#define BLOCKS_MAX 31   /* bits of a positive int; bit 0 is the base block */
#define RANKS (TERMS * HEIGHTS)
#define LISTED(v, t) ((listed[v] >> (4 * ((t) - 1))) & 15)

/* What blocks there are: constants once drawn, hence hidden from the state. */
hidden byte blocks;
hidden byte term_of[32];
hidden byte height_of[32];
hidden byte rank_of[32];
hidden byte parent_of[32];
hidden byte variant_of[32];
hidden int ancestors[32];      /* with the block itself */
hidden int rivals[32];         /* neither ancestors nor descendants */
hidden int of_term[8];
hidden int last;               /* blocks that may end epoch 1 */
hidden int following;          /* blocks on top of those */
hidden int repeats;            /* those once more, in a later term */
hidden int earlier[32];        /* of a repeat: the same block in earlier terms */
hidden int at_least[16];       /* blocks of this rank and above */
hidden byte name[HONEST];      /* who is who in a trace, as records are sorted */

/* What honest validators signed, as masks of blocks; and their timeouts, four bits a term: lock + 1. */
int prepared[HONEST];
int commits[HONEST];
int listed[HONEST];
/* What they remember. Terms are 0 until the first step. Ranks count from 1; 0 is the base block's. */
byte term[HONEST];
byte voted[HONEST];
byte timed[HONEST];
byte lock[HONEST];
/* Amnesia: 0 well, 1 asking for statuses, 2 back; whether it answered the one who asks. */
byte health[HONEST];
bool answered[HONEST];
byte forgotten;

/* What follows from the signatures. */
int certified = 1;
int final;
byte opened[TERMS + 1] = SHUT;  /* the lowest lock that a term certificate can list */
byte phase = 1;                 /* STRATA: the term whose steps are explored now */
byte epoch = 1;
bool split;                     /* epoch 1 applied a block that epoch 2 does not build on */

/* Choices within a step; zero between steps. */
byte who;
byte what;
byte pick;
int able;
/* Scratch that lives within one deterministic step, hence hidden. */
hidden int once;
hidden int twice;
hidden int thrice;
hidden byte i;
hidden byte j;

/* Counted beside the search, which does not see it: that each step is taken and each commit reached. */
c_decl {
    static long times_done[10];
    static long times_final[3][8][8], times_repeated, times_back;
    __attribute__((destructor)) static void report(void) {
        static const char *names[] = {
            "", "prepare", "commit", "timeout", "learn", "advance", "begin", "forget", "answer", "crash"
        };
        for (int k = 1; k < 10; k++) printf("@did %s %ld\n", names[k], times_done[k]);
        for (int e = 1; e < 3; e++) for (int t = 1; t < 8; t++) for (int h = 1; h < 8; h++)
            if (times_final[e][t][h]) printf("@final %d %d %d %ld\n", e, t, h, times_final[e][t][h]);
        if (times_back) printf("@back %ld\n", times_back);
        if (times_repeated) printf("@repeated %ld\n", times_repeated);
    }
}

#define PREPARE 1
#define COMMIT 2
#define TIMEOUT 3
#define LEARN 4
#define ADVANCE 5
#define BEGIN 6
#define FORGET 7
#define ANSWER 8
#define CRASH 9

/* What is applied: a repeat is the block that it repeats, which is final with it. */
#define APPLIED (final & ~repeats)

/* ---------- what exists ---------- */

inline add_block(t, h, p, x)
{
    assert(blocks < BLOCKS_MAX);
    term_of[blocks] = t;
    height_of[blocks] = h;
    rank_of[blocks] = (t - 1) * HEIGHTS + h;
    parent_of[blocks] = p;
    variant_of[blocks] = x;
    ancestors[blocks] = ancestors[p] | BIT(blocks);
    of_term[t] = of_term[t] | BIT(blocks);
    blocks++
}

/* E1, E4: blocks of height HEIGHTS - 1 end epoch 1, and later terms may open with any of them once more. */
inline draw_repeats()
{
    for (i : 1 .. blocks - 1) {
        if
        :: height_of[i] == HEIGHTS -> following = following | BIT(i)
        :: height_of[i] == HEIGHTS - 1 -> last = last | BIT(i)
        :: else
        fi
    }
    for (who : 2 .. TERMS) {
        for (i : 1 .. blocks - 1) {
            if
            :: (last & BIT(i)) && term_of[i] < who ->
                repeats = repeats | BIT(blocks);
                for (j : 0 .. blocks - 1) {
                    if
                    :: j == i || ((repeats & BIT(j)) && parent_of[j] == i && term_of[j] < who) ->
                        earlier[blocks] = earlier[blocks] | BIT(j)
                    :: else
                    fi
                }
                add_block(who, HEIGHTS - 1, i, 0)
            :: else
            fi
        }
    }
}

/* Each block of each term and height, on each block one lower of a term no later (V1), with each content. */
inline draw_blocks()
{
    assert(RANKS + 1 < 16 && TERMS < 8);    /* what `listed` and the tables hold */
    blocks = 1;
    ancestors[0] = 1;
    for (who : 1 .. TERMS) {
        for (i : 1 .. HEIGHTS) {
            for (j : 0 .. blocks - 1) {
                if
                :: height_of[j] == i - 1 ->
                    for (pick : 0 .. VARIANTS - 1) {
                        add_block(who, i, j, pick)
                    }
                :: else
                fi
            }
        }
    }
    for (i : 1 .. blocks - 1) {
        for (j : 1 .. blocks - 1) {
            if
            :: !(ancestors[i] & BIT(j)) && !(ancestors[j] & BIT(i)) -> rivals[i] = rivals[i] | BIT(j)
            :: else
            fi
        }
    }
#ifdef EPOCH
    draw_repeats();
#endif
    for (i : 0 .. blocks - 1) {
        for (j : 0 .. rank_of[i]) {
            at_least[j] = at_least[j] | BIT(i)
        }
    }
    for (i : 0 .. HONEST - 1) {
        name[i] = i
    }
    who = 0; pick = 0
}

/* Masks of what at least one, two and three honest validators signed. */
#define COUNT_SIGNERS(masks) \
    once = 0; twice = 0; thrice = 0; \
    for (i : 0 .. HONEST - 1) { \
        thrice = thrice | (twice & masks[i]); \
        twice = twice | (once & masks[i]); \
        once = once | masks[i] \
    }

#define SIGNED_BY(need) ((need) == 1 -> once : ((need) == 2 -> twice : thrice))

/* S1 makes certificates, S4 commits. */
inline certify()
{
    COUNT_SIGNERS(prepared);
    certified = certified | SIGNED_BY(NEED_VOTES);
    COUNT_SIGNERS(commits);
    final = final | SIGNED_BY(NEED_VOTES);
    for (j : 1 .. blocks - 1) {
        if
#ifdef NO_S4
        :: certified & BIT(j) -> final = final | (ancestors[parent_of[j]] & ~1)
#else
        /* S4: only a child of the same term commits its parent. */
        :: (certified & BIT(j)) && term_of[parent_of[j]] == term_of[j] ->
            final = final | (ancestors[parent_of[j]] & ~1)
#endif
        :: else
        fi;
        /* S4: all ancestors with it. */
        if
        :: final & BIT(j) -> final = final | (ancestors[j] & ~1)
        :: else
        fi
    }
}

/* T1: q timeouts make a certificate; the adversary takes the q - f honest ones with the lowest locks, and its own
   lists the base block. */
inline open_term(t)
{
    opened[t] = SHUT;
    for (j : 0 .. RANKS) {
        able = 0;
        for (i : 0 .. HONEST - 1) {
#ifdef NO_S3_SIGNED
            /* S3: a lock that is not under the timeout's signature is whatever the adversary says. */
            able = able + (LISTED(i, t) != 0)
#else
            able = able + (LISTED(i, t) != 0 && LISTED(i, t) <= j + 1)
#endif
        }
        if
        :: able >= NEED_TIMEOUTS && opened[t] == SHUT -> opened[t] = j
        :: else
        fi
    }
    able = 0
}

/* ---------- what an honest validator may do ---------- */

#ifdef STRATA
#define NOW(t) ((t) == phase)
#else
#define NOW(t) true
#endif

/* T1: a term is entered on the certificate of the one before, or on any of its own, and never gone back from. */
#define ENTERS(v, t) ((t) >= term[v] && NOW(t) && health[v] != 1 && \
    ((t) == 1 || (t) == term[v] || opened[(t) - 1] != SHUT || (certified & of_term[t])))

/* R1: no vote of either kind in a term after its timeout. */
#ifdef NO_R1_PREPARE
#define R1_PREPARE(v, t) true
#else
#define R1_PREPARE(v, t) (timed[v] < (t))
#endif
#ifdef NO_R1_COMMIT
#define R1_COMMIT(v, t) true
#else
#define R1_COMMIT(v, t) (timed[v] < (t))
#endif

/* R2: prepare votes ascend in rank. */
#ifdef NO_R2
#define R2(v, b) true
#else
#define R2(v, b) (rank_of[b] > voted[v])
#endif

/* R3: a block that is not the first of its term extends a certificate of that term. */
#ifdef NO_R3
#define CONTINUES(v, b) (term_of[parent_of[b]] == term_of[b] || TERM_OF(voted[v]) == term_of[b])
#else
#define CONTINUES(v, b) (term_of[parent_of[b]] == term_of[b])
#endif
#ifdef NO_R3_CERTIFIED
#define JUSTIFIED(v, b) ((certified & BIT(parent_of[b])) || term_of[parent_of[b]] == term_of[b])
#else
#define JUSTIFIED(v, b) (certified & BIT(parent_of[b]))
#endif

/* R4: at most one vote for a first block per term; ... */
#ifdef NO_R4_ONE
#define R4_ONE(v, b) true
#else
#define R4_ONE(v, b) (TERM_OF(voted[v]) < term_of[b])
#endif
/* R4: ... which comes with the certificate of the term before, and extends a certificate at least as high as
   every lock listed there. In term 1 it extends the base certificate: no other is of an earlier term. */
#ifdef NO_R4_HIGHEST
#define R4_HIGHEST(b) (term_of[b] == 1 || opened[term_of[b] - 1] != SHUT)
#else
#define R4_HIGHEST(b) (term_of[b] == 1 || \
    (opened[term_of[b] - 1] != SHUT && rank_of[parent_of[b]] >= opened[term_of[b] - 1]))
#endif

/* V5: nothing follows the last block of an epoch. E4: it may be repeated as the first block of a later term, on a
   certificate for itself that is as high as R4 demands. */
#ifdef NO_V5
#define EXISTS(b) (epoch == 1 || !(repeats & BIT(b)))
#else
#define EXISTS(b) (epoch == 1 -> !(following & BIT(b)) : !(repeats & BIT(b)))
#endif
#ifdef NO_E4_HIGHEST
#define REPEATED(b) (certified & earlier[b])
#else
#define REPEATED(b) (certified & earlier[b] & at_least[opened[term_of[b] - 1]])
#endif
#define MAY_REPEAT(v, b) (opened[term_of[b] - 1] != SHUT && R4_ONE(v, b) && REPEATED(b))
#define MAY_FOLLOW(v, b) (JUSTIFIED(v, b) && (CONTINUES(v, b) || (R4_ONE(v, b) && R4_HIGHEST(b))))

#define MAY_PREPARE(v, b) (EXISTS(b) && ENTERS(v, term_of[b]) && !(prepared[v] & BIT(b)) && \
    R1_PREPARE(v, term_of[b]) && R2(v, b) && ((repeats & BIT(b)) -> MAY_REPEAT(v, b) : MAY_FOLLOW(v, b)))

/* S5: a commit vote is given on a certificate of the current term, never after a timeout of it. */
#ifdef NO_S5_TERM
#define MAY_COMMIT(v, b) (NUDGE && (certified & BIT(b)) && !(commits[v] & BIT(b)) && health[v] != 1 && \
    (ENTERS(v, term_of[b]) || term_of[b] < term[v]) && R1_COMMIT(v, MAX(term[v], term_of[b])))
#else
#define MAY_COMMIT(v, b) (NUDGE && (certified & BIT(b)) && !(commits[v] & BIT(b)) && \
    ENTERS(v, term_of[b]) && R1_COMMIT(v, term_of[b]))
#endif

/* Timeouts of the last term open none that is explored. */
#define MAY_TIME_OUT(v, t) ((t) < TERMS && ENTERS(v, t) && timed[v] < (t))

#define MAY_LEARN(v, b) ((certified & BIT(b)) && ENTERS(v, term_of[b]) && \
    (lock[v] < rank_of[b] || term[v] < term_of[b]))

/* ---------- what it does ---------- */

/* S3: the lock rises with the certificate that let the validator in, the lowest that will do. */
inline enter(v, t)
{
    if
    :: t > 1 && t > term[v] ->
        if
        :: opened[t - 1] != SHUT -> lock[v] = MAX(lock[v], opened[t - 1])
        :: else -> lock[v] = MAX(lock[v], (t - 1) * HEIGHTS + 1)
        fi
    :: else
    fi;
#ifndef STRATA
    term[v] = MAX(term[v], t)
#endif
}

inline prepare(v, b)
{
    printf("@ validator %d, in term %d, prepares block %d: term %d, height %d, content %d, on block %d\n", name[v],
        term_of[b], b, term_of[b], height_of[b], variant_of[b], parent_of[b]);
    enter(v, term_of[b]);
#ifndef NO_S3_JUSTIFY
    /* S3: the justify of what is voted for is part of the lock; of a repeat, the lowest that allows it. */
    able = rank_of[parent_of[b]];
    if
    :: repeats & BIT(b) ->
        do
        :: REPEATED(b) & ~at_least[able + 1] -> break
        :: else -> able++
        od
    :: else
    fi;
    lock[v] = MAX(lock[v], able);
    able = 0;
#endif
    voted[v] = MAX(voted[v], rank_of[b]);
    prepared[v] = prepared[v] | BIT(b);
    certify()
}

inline commit(v, b)
{
    printf("@ validator %d, in term %d, commits block %d\n", name[v], MAX(term[v], term_of[b]), b);
    enter(v, term_of[b]);
#ifndef NO_S5_LOCK
    /* S5: the certificate is part of the durable lock first. */
    lock[v] = MAX(lock[v], rank_of[b]);
#endif
    commits[v] = commits[v] | BIT(b);
    certify()
}

inline time_out(v, t)
{
    enter(v, t);
    timed[v] = t;
    printf("@ validator %d times out in term %d and lists a lock of rank (%d, %d)\n", name[v], t,
        TERM_OF(lock[v]), lock[v] - (TERM_OF(lock[v]) - (lock[v] > 0)) * HEIGHTS);
    if
    :: LISTED(v, t) == 0 || LISTED(v, t) > lock[v] + 1 ->
        listed[v] = (listed[v] & ~(15 << (4 * (t - 1)))) | ((lock[v] + 1) << (4 * (t - 1)))
    :: else     /* A lower one of epoch 1 counts here (NO_E3_BINDING). */
    fi;
    open_term(t)
}

/* D1: what is promised is durable before it leaves. Else a crash takes it back. */
inline crash(v)
{
#ifdef NO_D1_VOTE
    voted[v] = 0;
#endif
#ifdef NO_D1_LOCK
    lock[v] = 0;
#endif
#ifdef NO_D1_TIMEOUT
    timed[v] = 0;
#endif
    printf("@ validator %d restarts\n", name[v])
}

#if defined(NO_D1_VOTE) || defined(NO_D1_LOCK) || defined(NO_D1_TIMEOUT)
#define CRASHES
#endif

inline learn(v, b)
{
    enter(v, term_of[b]);
    lock[v] = MAX(lock[v], rank_of[b])
}

/* STRATA: nobody does anything in this term any more. What of it matters later is kept. */
inline advance()
{
    for (i : 0 .. HONEST - 1) {
        prepared[i] = 0;
        commits[i] = 0;
#ifndef NO_E3_BINDING
        listed[i] = 0;
#endif
        voted[i] = 0;
        timed[i] = 0
    }
    opened[phase - 1] = SHUT;
    phase++;
}

/* The first epoch ends with block b. Its base block is block 0 of the new epoch. */
inline begin(b)
{
    printf("@ epoch 2 begins after block %d, which is its base block 0\n", b);
    split = (APPLIED & ~ancestors[b]) != 0;
    phase = TERMS;
    advance();
    for (i : 0 .. HONEST - 1) {
        term[i] = 0;
        lock[i] = 0
    }
    for (pick : 1 .. TERMS - 1) {
        open_term(pick)
    }
    certified = 1;
    final = 0;
    phase = 1;
    epoch = 2
}

/* D6: a validator without a record never signs. D8: but after q of the others answered. */
inline forget(v)
{
    printf("@ validator %d forgets everything\n", name[v]);
    term[v] = 0;
    voted[v] = 0;
    timed[v] = 0;
    lock[v] = 0;
    forgotten++;
#ifdef NO_D6
    health[v] = 2
#else
    health[v] = 1
#endif
}

/* D8: it then signs only in terms above the highest term seen + 1, as if it had timed out in that one. The
   faulty validator's answer says nothing, so the last of NEED_STATUS honest ones completes the q. */
inline answer(v)
{
    able = 0;
    for (j : 0 .. HONEST - 1) {
        able = able + answered[j];
        if
        :: health[j] == 1 -> pick = j
        :: else
        fi
    }
#ifndef NO_D8_FLOOR
#ifdef NO_D8_PLUS_ONE
    timed[pick] = MAX(timed[pick], MAX(term[v], 1));
#else
    timed[pick] = MAX(timed[pick], MAX(term[v], 1) + 1);
#endif
#endif
#ifndef NO_D8_LOCK
    lock[pick] = MAX(lock[pick], lock[v]);
#endif
    printf("@ validator %d answers validator %d: term %d, lock of rank number %d\n", name[v], name[pick],
        MAX(term[v], 1), lock[v]);
    if
    :: able + 1 < NEED_STATUS -> answered[v] = true
    :: else ->
        health[pick] = 2;
        for (j : 0 .. HONEST - 1) {
            answered[j] = false
        }
        printf("@ validator %d is back and signs in terms above %d\n", name[pick], timed[pick])
    fi;
}

#define ASKING(v) (health[v] == 1)
#if HONEST == 3
#define SOMEBODY_ASKS (ASKING(0) || ASKING(1) || ASKING(2))
#else
#define SOMEBODY_ASKS false
#endif
#define MAY_FORGET(v) (forgotten < FORGETS && !SOMEBODY_ASKS)
#define MAY_ANSWER(v) (SOMEBODY_ASKS && !ASKING(v) && !answered[v])

/* ---------- symmetry ---------- */

#define FIRST_DIFFERENCE(a, b, x, rest) (x[a] < x[b] || (x[a] == x[b] && rest))
#define LESS(a, b) \
    FIRST_DIFFERENCE(a, b, prepared, \
    FIRST_DIFFERENCE(a, b, commits, \
    FIRST_DIFFERENCE(a, b, listed, \
    FIRST_DIFFERENCE(a, b, lock, \
    FIRST_DIFFERENCE(a, b, voted, \
    FIRST_DIFFERENCE(a, b, timed, \
    FIRST_DIFFERENCE(a, b, term, \
    FIRST_DIFFERENCE(a, b, health, answered[a] < answered[b]))))))))
#define SWAP(x, a, b) able = x[a]; x[a] = x[b]; x[b] = able

inline sort_validators()
{
    for (i : 1 .. HONEST - 1) {
        j = i;
        do
        :: j > 0 ->
            if
            :: LESS(j, j - 1) ->
                SWAP(prepared, j, j - 1); SWAP(commits, j, j - 1); SWAP(listed, j, j - 1);
                SWAP(term, j, j - 1); SWAP(voted, j, j - 1); SWAP(timed, j, j - 1); SWAP(lock, j, j - 1);
                SWAP(health, j, j - 1); SWAP(answered, j, j - 1); SWAP(name, j, j - 1);
                j--
            :: else -> break
            fi
        :: else -> break
        od
    }
    able = 0
}

/* ---------- what must never be ---------- */

/* Agreement: of two blocks that anyone may apply, one descends from the other, across epochs too. */
inline check()
{
    for (j : 1 .. blocks - 1) {
        c_code { if (now.final >> j & 1) {
            if (repeats >> j & 1) times_repeated++;
            else times_final[now.epoch][term_of[j]][height_of[j]]++;
        } };
        if
        :: APPLIED & BIT(j) ->
            if
            :: (APPLIED & rivals[j]) || split ->
                for (i : 1 .. blocks - 1) {
                    if
                    :: APPLIED & BIT(i) ->
                        printf("@ fork: block %d is final in epoch %d: term %d, height %d, content %d, on block %d\n",
                            i, epoch, term_of[i], height_of[i], variant_of[i], parent_of[i])
                    :: else
                    fi
                }
                if
                :: split -> printf("@ fork: and so is a block of epoch 1 that epoch 2 does not build on\n")
                :: else
                fi;
                assert(false)
            :: else
            fi
        :: else
        fi
    }
}

/* ---------- every order of every step ---------- */

inline list_choices()
{
    for (i : 1 .. blocks - 1) {
        if
        :: what == PREPARE && MAY_PREPARE(who, i) -> able = able | BIT(i)
        :: what == COMMIT && MAY_COMMIT(who, i) -> able = able | BIT(i)
        :: what == TIMEOUT && i < TERMS && MAY_TIME_OUT(who, i) -> able = able | BIT(i)
#ifdef EAGER
        :: what == LEARN && MAY_LEARN(who, i) -> able = able | BIT(i)
#endif
#ifdef EPOCH
#ifdef NO_E3_COMMITTED
        :: what == BEGIN && epoch == 1 && (certified & last & BIT(i)) -> able = able | BIT(i)
#else
        /* E3: a new epoch begins with a block that the old one committed. */
        :: what == BEGIN && epoch == 1 && (final & last & BIT(i)) -> able = able | BIT(i)
#endif
#endif
        :: else
        fi
    }
    if
#ifdef STRATA
    :: what == ADVANCE && phase < TERMS && opened[phase] != SHUT -> able = 1
#endif
#ifdef CRASHES
    :: what == CRASH -> able = 1
#endif
#if FORGETS > 0
    :: what == FORGET && MAY_FORGET(who) -> able = 1
    :: what == ANSWER && MAY_ANSWER(who) -> able = 1
#endif
    :: else
    fi;
}

inline do_choice()
{
    c_code { times_done[now.what]++; if (now.what == 1 && now.health[now.who] == 2) times_back++; };
    if
    :: what == PREPARE -> prepare(who, pick)
    :: what == COMMIT -> commit(who, pick)
    :: what == TIMEOUT -> time_out(who, pick)
    :: what == LEARN -> learn(who, pick)
    :: what == ADVANCE -> advance()
    :: what == BEGIN -> begin(pick)
    :: what == CRASH -> crash(who)
    :: what == FORGET -> forget(who)
    :: what == ANSWER -> answer(who)
    fi
}

active proctype explore()
{
    d_step { draw_blocks() };
again:
    atomic {
        do
        :: who < HONEST - 1 -> who++
        :: break
        od;
        /* Guards here only spare a look at what is known to be impossible. */
        if
        :: !ASKING(who) -> what = PREPARE
        :: !ASKING(who) && timed[who] < TERMS - 1 -> what = TIMEOUT
#if NUDGE
        :: !ASKING(who) && certified != 1 -> what = COMMIT
#endif
#ifdef EAGER
        :: !ASKING(who) -> what = LEARN
#endif
#ifdef CRASHES
        :: what = CRASH
#endif
#if FORGETS > 0
        :: !SOMEBODY_ASKS && forgotten < FORGETS -> what = FORGET
        :: SOMEBODY_ASKS -> what = ANSWER
#endif
#ifdef STRATA
        :: who == 0 && phase < TERMS -> what = ADVANCE
#endif
#ifdef EPOCH
        :: who == 0 && epoch == 1 -> what = BEGIN
#endif
        fi;
        d_step { list_choices() };
        if
        :: able == 0 -> who = 0; what = 0
        :: else ->
            do
            :: able & BIT(pick) -> break
            :: (able >> (pick + 1)) != 0 -> pick++
            od;
            skip;
            d_step {
                able = 0;
                do_choice();
                sort_validators();
                check();
                who = 0; what = 0; pick = 0
            }
        fi
    };
    goto again
}
