// SPDX-License-Identifier: Apache-2.0
//
// The number that a program was attached with. Reads cookie.

#include "check.bpf.h"

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    enum check_context context = CHECK_NMI;

    __sync_fetch_and_add(&result.events, 1);
    CHECK_EQUAL(bpf_get_attach_cookie(event), input.cookie);
    __sync_fetch_and_add(&result.nmi_runs, 1);
    return 0;
}
