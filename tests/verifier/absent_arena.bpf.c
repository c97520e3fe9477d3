// SPDX-License-Identifier: Apache-2.0
//
// Arena maps, which taskwork does not have: the map is refused before the program is looked at.
#include "verifier.bpf.h"

struct {
    __uint(type, 33);  // BPF_MAP_TYPE_ARENA, in no header of Debian 12
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
} arena SEC(".maps");

REJECTED("map 'arena' (arena): this type of map is not supported")
KERNEL_SAYS("arena's user address must be set via map_extra or mmap()",
            "it has arenas, and the library does not say where this one lies")
PROGRAM(program_with_an_arena, "syscall", "r1 = %[arena] ll; r0 = 0; exit;", MAP(arena))
