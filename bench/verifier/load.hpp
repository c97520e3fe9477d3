// SPDX-License-Identifier: Apache-2.0
//
// One load of a subject, and what it has cost. By libbpf only: what answers bpf(2) is the linker's
// choice, so that ours and the kernel's are asked by the same code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "verifier/subjects.hpp"

namespace taskwork::bench {

struct Cost {
    std::uint64_t verified_us = 0;  ///< As the verifier itself says.
    std::uint64_t load_ns = 0;      ///< BPF_PROG_LOAD; of an object, all of bpf_object__load().
    std::uint64_t insns = 0;        ///< Processed.
    std::uint64_t states = 0;       ///< In all.
    std::string error;              ///< Empty: it was loaded.
};

/// Loads it once and lets go of it. Context: task.
Cost load(const Subject& subject);

class Respondent;
/// The same of subjects()[number] in the process that asks the kernel (kernel_main.cpp). Context:
/// task.
Cost load(Respondent& kernel, std::size_t number);

}  // namespace taskwork::bench
