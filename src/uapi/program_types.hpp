// SPDX-License-Identifier: Apache-2.0
//
// What BPF_PROG_LOAD says of a program's functions and source lines (func_info, line_info), in the
// verifier's terms.
#pragma once

#include <string>

#include "bpf/program.hpp"
#include "uapi/btf_object.hpp"
#include "uapi/command.hpp"

namespace taskwork::uapi {

/// Fills in functions and lines of `spec`, whose instructions are there already. 0, or a negative
/// errno as the kernel's, with its words at the end of `log`: -EINVAL (records of an unknown size,
/// not in order, of no instruction, or with types and names that there are not), -E2BIG (records
/// with something in them that is not known: the size that is goes into the caller's attr),
/// -EFAULT. Of more records than instructions the rest is not looked at; the loader refuses their
/// number. Context: task.
int describe_program(const Command& command, const BtfObject& types, bpf::LoadSpec& spec,
                     std::string& log);

}  // namespace taskwork::uapi
