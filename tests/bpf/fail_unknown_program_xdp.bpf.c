// SPDX-License-Identifier: Apache-2.0
//
// Refused by taskwork, which has no XDP programs, and says so by name.

#include "check.bpf.h"

SEC("xdp")
int on_packet(struct xdp_md* packet) { return XDP_PASS; }
