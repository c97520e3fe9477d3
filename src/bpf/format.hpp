// SPDX-License-Identifier: Apache-2.0
//
// The kernel's format language for BPF programs, as bpf_trace_printk(), bpf_trace_vprintk() and
// bpf_snprintf() know it:
//
//   %d %i %u %x %X   32 bits; with `l` or `ll` 64       %c   a character
//   %p %px %pK       an address, 16 hexadecimal digits  %s   a string of kernel or user memory
//   %pks %pus        a string of kernel / user memory   %%   a percent sign
//
// with an optional width and the flags '0', '-', '+', ' ' in front. Everything else is -EINVAL, as
// are characters that are not printable ASCII or white space.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bpf/interpreter.hpp"

namespace taskwork::bpf {

/// Writes into `out` (size bytes, always NUL terminated unless size is 0). `format` is
/// `format_size` bytes with a NUL at the end. Strings that cannot be read are empty. Returns the
/// length of the whole text without its NUL, also if it did not fit; -EINVAL (format, or more
/// directives than `count` arguments). Context: any.
long format_text(Machine& machine, char* out, std::size_t size, const char* format,
                 std::size_t format_size, const std::uint64_t* arguments,
                 std::size_t count) noexcept;

/// Whether format_text() would take it with so many arguments.
/// Context: any.
bool is_format(const char* format, std::size_t format_size, std::size_t count) noexcept;

}  // namespace taskwork::bpf
