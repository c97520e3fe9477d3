// SPDX-License-Identifier: Apache-2.0
//
// bpf(2), perf_event_open(2) and what belongs to them, answered in process with Linux's own
// numbers, layouts and errors, so that libbpf and whatever is written on it run unchanged. Nothing
// here ever reaches the kernel's bpf(2): a command we do not have is an error.
//
//   uapi.hpp, command.*    entry: attr in, command out
//   map_commands, batch_commands, program_commands, object_commands   the commands
//   object.hpp, descriptors.*      what is behind a descriptor
//   btf_object.*                   types: special fields, kfunc names
//   btf_check.*, btf_layout.*, btf_types.*, btf_resolve.*   whether BTF is what it must be
//   perf_event.*                   perf events, their ioctls, links
//   mapping.*, ring_poll.*         mmap and epoll of maps
//   wrap.cpp                       the libc calls of a program linked with --wrap: leads here
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "uapi/diagnosis.hpp"

struct btf;

namespace taskwork::map {
struct Map;
}
namespace taskwork::bpf {
struct Program;
}

namespace taskwork::uapi {

/// Makes this process answer bpf(2), and its threads tasks that programs may schedule onto. The
/// caller has created the arena and started the worker; tables of the layers above (works, maps,
/// programs, events) that are not there yet are created with their default sizes. Errors:
/// not_enough_memory; no_such_process (no arena, or not its host). Context: task.
Result<void> start();

/// bpf(2). Returns a descriptor or 0, or a negative errno. Why a refused call was refused is in
/// last_diagnosis() where the number does not tell.
/// Context: task.
long bpf(int command, union bpf_attr* attr, unsigned size);

/// For fuzzers, whose time is better spent on other programs: BPF_PROG_LOAD refuses those of which
/// more instructions would be walked. Not while programs are loaded.
/// Context: task.
void set_insns_processed_max(std::uint32_t count);

/// The map behind a descriptor, nullptr if it is none. Valid while the descriptor is open.
/// Context: task.
map::Map* map_of(int descriptor);
/// The program behind a descriptor, nullptr if it is none. Valid while the descriptor is open.
/// Context: task.
taskwork::bpf::Program* program_of(int descriptor);

/// The types that a map was created with; nullptr if none. Its btf_key_type_id and
/// btf_value_type_id are ids in it. Valid while the map lives.
/// Context: task.
const struct btf* btf_of(const map::Map& map);

}  // namespace taskwork::uapi
