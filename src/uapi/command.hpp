// SPDX-License-Identifier: Apache-2.0
//
// One call of bpf(2): its attr, copied in, and where results go. The commands are functions of it,
// one file an object: map_commands.cpp, batch_commands.cpp, program_commands.cpp,
// object_commands.cpp. Each returns a descriptor, 0, or a negative errno, in the order of checks of
// kernel/bpf/syscall.c.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/errc.hpp"
#include "uapi/user_memory.hpp"

/// Offset of the first byte behind a field of union bpf_attr: a command takes fields up to its last
/// one, and the rest must be zero.
#define TW_ATTR_END(field) (offsetof(union bpf_attr, field) + sizeof(bpf_attr{}.field))

namespace taskwork::uapi {

struct Command {
    union bpf_attr attr;
    std::uint64_t user;  ///< The caller's attr, for results.

    /// Whether all bytes from `end` on are zero.
    /// Context: any.
    [[nodiscard]] bool ends_at(std::size_t end) const noexcept;
    /// Writes a result into the caller's attr. 0 or -EFAULT.
    /// Context: task.
    [[nodiscard]] long put(std::size_t offset, std::uint32_t value) const noexcept;
};

/// -errno with a reason for last_diagnosis().
/// Context: task.
long refuse(int negative_error, std::string reason);

/// The name of a descriptor's object as attr gives it: at most 15 of [A-Za-z0-9_.]. False if not.
/// Context: any.
bool is_object_name(const char (&name)[BPF_OBJ_NAME_LEN]) noexcept;

long map_create(const Command& command);
long map_lookup_elem(const Command& command);
long map_update_elem(const Command& command);
long map_delete_elem(const Command& command);
long map_get_next_key(const Command& command);
long map_lookup_and_delete_elem(const Command& command);
long map_freeze(const Command& command);

long map_lookup_batch(const Command& command);
long map_lookup_and_delete_batch(const Command& command);
long map_update_batch(const Command& command);
long map_delete_batch(const Command& command);

long prog_load(const Command& command);
long prog_test_run(const Command& command);
long prog_bind_map(const Command& command);
long link_create(const Command& command);
long link_update(const Command& command);
long link_detach(const Command& command);

long btf_load(const Command& command);
long get_info_by_fd(const Command& command);
long get_next_id(int bpf_command, const Command& command);
long get_fd_by_id(int bpf_command, const Command& command);
long enable_stats(const Command& command);

}  // namespace taskwork::uapi
