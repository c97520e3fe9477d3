// SPDX-License-Identifier: Apache-2.0
//
// What BPF_PROG_LOAD says of a program's functions and source lines (func_info, line_info), in the
// verifier's terms.
#pragma once

#include <linux/bpf.h>

#include "bpf/program.hpp"
#include "uapi/btf_object.hpp"

namespace taskwork::uapi {

/// Fills in functions and lines of `spec`. 0, or a negative errno as the kernel's: -EFAULT, -EINVAL
/// (records of an unknown form, or that are not in order).
/// Context: task.
int describe_program(const union bpf_attr& attr, const BtfObject& types, bpf::LoadSpec& spec);

}  // namespace taskwork::uapi
