// SPDX-License-Identifier: Apache-2.0
//
// Memory whose address a caller of bpf(2) gave us. It is the caller's own process, but the address
// may be wrong, and the answer to a wrong address is -EFAULT, as from the kernel, not a crash.
// Where the machine forbids process_vm_readv (some containers) addresses are trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/errc.hpp"

namespace taskwork::uapi {

/// Errors: bad_address.
/// Context: task.
std::errc copy_from_user(void* to, std::uint64_t from, std::size_t size) noexcept;
/// Errors: bad_address.
/// Context: task.
std::errc copy_to_user(std::uint64_t to, const void* from, std::size_t size) noexcept;
/// Reads a string of less than `size_max` bytes; a longer one is cut. Errors: bad_address.
/// Context: task.
std::errc copy_string_from_user(std::string& to, std::uint64_t from, std::size_t size_max);

/// The address that an attr field or a system call argument means.
/// Context: any.
inline std::uint64_t user_address(const void* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

}  // namespace taskwork::uapi
