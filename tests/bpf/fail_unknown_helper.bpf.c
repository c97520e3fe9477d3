// SPDX-License-Identifier: Apache-2.0
//
// Refused by taskwork, which has no bpf_send_signal (helper 109), and says so by name.

#include "check.bpf.h"

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) { return bpf_send_signal(0) != 0; }
