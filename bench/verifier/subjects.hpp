// SPDX-License-Identifier: Apache-2.0
//
// What is verified: the example objects, and generated families of programs by the number of
// instructions that the walk has to process. The same bytes for whoever answers bpf(2), but for the
// numbers of descriptors.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

namespace taskwork::bench {

/// One program.
struct Subject {
    std::string name;
    // Of an object:
    std::string path;     ///< Empty: generated.
    std::string program;  ///< Its name in the object.
    // Generated:
    std::vector<bpf_insn> insns;  ///< kMap stands for the map's descriptor.
    std::uint32_t callee = 0;     ///< Where its second function begins; 0: it has one only.
    std::uint32_t processed = 0;  ///< About as many as this.
};

/// In BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE: the one map there is, an array of one value of
/// kValueBytes.
inline constexpr std::int32_t kMap = 0;
inline constexpr std::uint32_t kValueBytes = 64;

/// The generated ones that process about `processed` instructions, a program a family.
/// Context: task.
std::vector<Subject> families(std::uint32_t processed);
/// The programs of the example objects. Exits with a message if one cannot be read. Context: task.
std::vector<Subject> examples();
/// All of both; `is_short`: the generated ones up to 1,000 instructions. Context: task.
std::vector<Subject> subjects(bool is_short);

}  // namespace taskwork::bench
