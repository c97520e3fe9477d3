// SPDX-License-Identifier: Apache-2.0
//
// Between the loader and the verifier: what the verifier asks of maps, and its verdict as an error.
#pragma once

#include <linux/bpf.h>

#include <string>
#include <vector>

#include "base/result.hpp"
#include "bpf/program.hpp"

namespace taskwork::bpf {

/// `insns` as verifier::Input has them, `maps` by the indices in them. Errors: what the verifier
/// says, its reason in the text and, with the path that led to it, in `log`.
/// Context: task.
Result<verifier::Verdict> verify_program(const LoadSpec& spec, const std::vector<bpf_insn>& insns,
                                         const std::vector<map::Map*>& maps, std::string& log);

}  // namespace taskwork::bpf
