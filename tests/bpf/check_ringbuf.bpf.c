// SPDX-License-Identifier: Apache-2.0
//
// Ring buffer: output, reserve and submit, reserve and discard. Each run of the checks in a context
// leaves exactly two records for the consumer, in this order: `number` 1 (output) and 2
// (submitted), each with the context; the discarded one is not seen.

#include "check.bpf.h"

#define RING_BYTES 4096

struct check_record {
    __u32 context;
    __u32 number;
    __u64 time_ns;
    char text[8];
};

/// Keeps the type in the object's BTF, for consumers that print records.
const struct check_record* unused_record __attribute__((unused));

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, RING_BYTES);
} ring SEC(".maps");

static __always_inline void check(enum check_context context) {
    struct check_record record = {
        .context = context, .number = 1, .time_ns = bpf_ktime_get_ns(), .text = "output"};
    CHECK_EQUAL(bpf_ringbuf_output(&ring, &record, sizeof(record), 0), 0);

    struct check_record* discarded = bpf_ringbuf_reserve(&ring, sizeof(*discarded), 0);
    CHECK(discarded != NULL);
    if (discarded) {
        discarded->number = 99;
        bpf_ringbuf_discard(discarded, BPF_RB_NO_WAKEUP);
    }

    struct check_record* submitted = bpf_ringbuf_reserve(&ring, sizeof(*submitted), 0);
    CHECK(submitted != NULL);
    if (submitted) {
        submitted->context = context;
        submitted->number = 2;
        submitted->time_ns = bpf_ktime_get_ns();
        __builtin_memcpy(submitted->text, "submit", 7);
        submitted->text[7] = 0;
        bpf_ringbuf_submit(submitted, 0);
    }

    // No room: a record and its header must fit into the ring.
    void* too_large = bpf_ringbuf_reserve(&ring, RING_BYTES, 0);
    CHECK(too_large == NULL);
    if (too_large) {
        bpf_ringbuf_discard(too_large, 0);
    }
    CHECK_EQUAL(bpf_ringbuf_output(&ring, &record, sizeof(record), 1ull << 5), -EINVAL);
    void* bad_flags = bpf_ringbuf_reserve(&ring, 8, 1);
    CHECK(bad_flags == NULL);
    if (bad_flags) {
        bpf_ringbuf_discard(bad_flags, 0);
    }
}

CHECK_IN_EVERY_CONTEXT(check)
