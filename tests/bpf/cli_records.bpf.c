// SPDX-License-Identifier: Apache-2.0
//
// Each of the first three events leaves a record {number, name of the thread} in a ring buffer and
// a line "event N of NAME" in the trace.

#include "check.bpf.h"

struct samples_record {
    __u64 number;
    char name[16];
};

/// Keeps the type in the object's BTF, for consumers that print records.
const struct samples_record* unused_record __attribute__((unused));

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} samples SEC(".maps");

__u64 events;

SEC("perf_event")
int on_event(struct bpf_perf_event_data* event) {
    __u64 number = __sync_fetch_and_add(&events, 1) + 1;
    if (number > 3) {
        return 0;
    }
    struct samples_record* record = bpf_ringbuf_reserve(&samples, sizeof(*record), 0);
    if (!record) {
        return 0;
    }
    record->number = number;
    bpf_get_current_comm(record->name, sizeof(record->name));
    bpf_printk("event %d of %s", (int)number, record->name);
    bpf_ringbuf_submit(record, 0);
    return 0;
}
