// SPDX-License-Identifier: Apache-2.0
//
// What is done, for the compiler of BPF and for that of C++ alike: the includer says before what
// the calls and maps are that stand for themselves here.
//
//     BODY(name, operations)   a function `name`, which does it and counts what went well
//     LOOKUP, UPDATE, DELETE   of a map by name
#ifndef TASKWORK_BENCH_BODIES_H
#define TASKWORK_BENCH_BODIES_H

/// Keeps the compiler from knowing a value.
#define OPAQUE(value) __asm__ volatile("" : "+r"(value))
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable) vectorize(disable)")
#else
#define ONE_BY_ONE _Pragma("GCC unroll 1")
#endif

/// Keys of a thread in the hashes: those that are there, and behind them those that come and go.
#define KEYS 256
#define FIRST_KEY(run) ((u64)((run)->thread & 3) * 4 * KEYS)

#define ROUNDS(n) ONE_BY_ONE for (u32 i = 0; i < (n); ++i)

BODY(independent_arithmetic, 1000) {
    u64 a = run->thread, b = a + 1, c = a + 2, d = a + 3;
    ROUNDS(1000) {
        OPAQUE(a);
        OPAQUE(b);
        OPAQUE(c);
        OPAQUE(d);
        a += i;
        b ^= i;
        c *= 7;
        d -= i;
        OPAQUE(a);
        OPAQUE(b);
        OPAQUE(c);
        OPAQUE(d);
        a ^= 11;
        b += 13;
        c -= 17;
        d |= 19;
    }
    OPAQUE(a);
    OPAQUE(b);
    OPAQUE(c);
    OPAQUE(d);
    return 1000;
}

BODY(dependent_arithmetic, 1000) {
    u64 a = run->thread;
    ROUNDS(1000) {
        OPAQUE(a);
        a += i;
        OPAQUE(a);
        a ^= 11;
        OPAQUE(a);
        a *= 7;
        OPAQUE(a);
        a -= 13;
        OPAQUE(a);
        a <<= 3;
        OPAQUE(a);
        a |= 17;
        OPAQUE(a);
        a >>= 1;
        OPAQUE(a);
        a += 19;
    }
    OPAQUE(a);
    return 1000;
}

BODY(stack_words, 1600) {
    u64 words[16];
    u64 sum = 0;
    ROUNDS(100) {
        u64 value = i;
        OPAQUE(value);
#define WORD(n) *(volatile u64*)&words[n]
#define STORE4(n)                                                                                  \
    WORD(n) = value;                                                                               \
    WORD((n) + 1) = value;                                                                         \
    WORD((n) + 2) = value;                                                                         \
    WORD((n) + 3) = value
#define SUM4(n) sum += WORD(n) + WORD((n) + 1) + WORD((n) + 2) + WORD((n) + 3)
        STORE4(0);
        STORE4(4);
        STORE4(8);
        STORE4(12);
        SUM4(0);
        SUM4(4);
        SUM4(8);
        SUM4(12);
#undef SUM4
#undef STORE4
#undef WORD
    }
    return sum == (u64)16 * 4950 ? 1600 : 0;
}

BODY(helper_calls, 1000) {
    u64 sum = 0;
    ROUNDS(1000) { sum |= PID_TGID(); }
    return sum != 0 ? 1000 : 0;
}
BODY(user_ids, 1000) {
    u64 sum = 0;
    ROUNDS(1000) { sum += UID_GID() + 1; }
    return sum != 0 ? 1000 : 0;
}
BODY(processor_ids, 1000) {
    u64 sum = 0;
    ROUNDS(1000) {
        u64 id = PROCESSOR();
        OPAQUE(id);
        sum |= id;
    }
    return sum < 4096 ? 1000 : 0;
}
BODY(current_tasks, 1000) {
    u64 sum = 0;
    ROUNDS(1000) {
        u64 task = TASK();
        OPAQUE(task);
        sum |= task;
    }
    return sum != 0 ? 1000 : 0;
}

BODY(array_lookup, 1000) {
    u32 done = 0;
    ROUNDS(1000) {
        u32 key = i & (KEYS - 1);
        OPAQUE(key);
        u64* value = LOOKUP(array, &key);
        if (value) {
            done += *value == key;
        }
    }
    return done;
}
BODY(array_lookup_outside, 1000) {
    u32 done = 0;
    ROUNDS(1000) {
        u32 key = KEYS + i;
        OPAQUE(key);
        u64* value = LOOKUP(array, &key);
        done += value == 0;
    }
    return done;
}
BODY(array_update, 1000) {
    u32 done = 0;
    u32 begin = (run->thread & 3) * (KEYS / 4);
    ROUNDS(1000) {
        u32 key = begin + (i & (KEYS / 4 - 1));
        u64 value = key;
        OPAQUE(key);
        done += UPDATE(array, &key, &value) == 0;
    }
    return done;
}

#define HASH_LOOKUP(map, first, there)                                                             \
    u32 done = 0;                                                                                  \
    u64 begin = (first);                                                                           \
    ROUNDS(1000) {                                                                                 \
        u64 key = begin + (i & (KEYS - 1));                                                        \
        OPAQUE(key);                                                                               \
        u64* value = LOOKUP(map, &key);                                                            \
        done += (value != 0) == (there);                                                           \
    }                                                                                              \
    return done
#define HASH_UPDATE(map, first)                                                                    \
    u32 done = 0;                                                                                  \
    u64 begin = (first);                                                                           \
    ROUNDS(KEYS) {                                                                                 \
        u64 key = begin + i;                                                                       \
        u64 value = i;                                                                             \
        OPAQUE(key);                                                                               \
        done += UPDATE(map, &key, &value) == 0;                                                    \
    }                                                                                              \
    return done
#define HASH_DELETE(map, first, there)                                                             \
    u32 done = 0;                                                                                  \
    u64 begin = (first);                                                                           \
    ROUNDS(KEYS) {                                                                                 \
        u64 key = begin + i;                                                                       \
        OPAQUE(key);                                                                               \
        done += (DELETE(map, &key) == 0) == (there);                                               \
    }                                                                                              \
    return done

BODY(hash_lookup, 1000) { HASH_LOOKUP(hash, FIRST_KEY(run), 1); }
BODY(hash_lookup_absent, 1000) { HASH_LOOKUP(hash, FIRST_KEY(run) + 2 * KEYS, 0); }
BODY(hash_update, KEYS) { HASH_UPDATE(hash, FIRST_KEY(run)); }
BODY(hash_insert, KEYS) { HASH_UPDATE(hash, FIRST_KEY(run) + KEYS); }
BODY(hash_delete, KEYS) { HASH_DELETE(hash, FIRST_KEY(run) + KEYS, 1); }
BODY(hash_delete_absent, KEYS) { HASH_DELETE(hash, FIRST_KEY(run) + 2 * KEYS, 0); }
BODY(lru_lookup, 1000) { HASH_LOOKUP(lru, FIRST_KEY(run), 1); }
BODY(lru_lookup_absent, 1000) { HASH_LOOKUP(lru, FIRST_KEY(run) + 2 * KEYS, 0); }
BODY(lru_update, KEYS) { HASH_UPDATE(lru, FIRST_KEY(run)); }
/// Keys that never were: each takes the place of another once the map is full.
BODY(lru_evict, KEYS) {
    u32 counter = KEYS - 1 - (run->thread & 3) * 8;
    u64* next = LOOKUP(counters, &counter);
    if (!next) {
        return 0;
    }
    u64 first = ((u64)(run->thread + 1) << 32) + *next;
    *next += KEYS;
    HASH_UPDATE(small_lru, first);
}

BODY(ring_submit, 256) {
    u32 done = 0;
    ROUNDS(256) {
        u64* record = RESERVE(16);
        if (record) {
            record[0] = i;
            record[1] = done;
            ++done;
            SUBMIT(record);
        }
    }
    return done;
}

BODY(string_copy, 200) {
    u32 done = 0;
    u32 key = 0;
    char* from = LOOKUP(strings, &key);
    key = 1;
    char* to = LOOKUP(strings, &key);
    if (from && to) {
        ROUNDS(200) { done += COPY_STRING(to, 64, from) == 41; }
    }
    return done;
}

/// `sum` counts; the result says whether to go on.
static long one_round(u32 i, u64* sum) {
    *sum += i & 1;
    return 0;
}
BODY(loop_rounds, 1000) {
    u64 sum = 0;
    LOOP(1000, one_round, &sum);
    return sum == 500 ? 1000 : 0;
}

static __attribute__((noinline)) u64 function(u64 a, u64 b) {
    OPAQUE(a);
    return a + b;
}
BODY(function_calls, 1000) {
    u64 sum = 0;
    ROUNDS(1000) { sum = function(sum, i); }
    return sum == (u64)499500 ? 1000 : 0;
}

BODY(atomic_add, 1000) {
    u32 key = run->thread & (KEYS - 1);
    key = key * 8 & (KEYS - 1);
    u64* value = LOOKUP(counters, &key);
    u64 last = 0;
    if (!value) {
        return 0;
    }
    ROUNDS(1000) {
        last = __sync_fetch_and_add(value, 1);
        OPAQUE(last);
    }
    return 1000;
}
BODY(atomic_exchange, 1000) {
    u32 key = 1;
    u32 done = 0;
    u64* value = LOOKUP(counters, &key);
    if (!value) {
        return 0;
    }
    *value = 0;
    ROUNDS(1000) { done += __sync_val_compare_and_swap(value, (u64)i, (u64)i + 1) == i; }
    return done;
}

#endif  // TASKWORK_BENCH_BODIES_H
