// SPDX-License-Identifier: Apache-2.0
//
// What the fuzzers of this folder share: one domain for all inputs, whose worker gives back what an
// input made, and the bounds that every input keeps to.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace taskwork::fuzz {

using Bytes = std::span<const std::byte>;

/// One input. Aborts if anything is not as it must be. Whether others should be made of it: not of
/// those that end before what the fuzzer is for. Defined by each fuzzer.
bool run_input(Bytes input);

/// Makes the domain at the first call. Context: task.
void start_host();

/// Aborts, naming it, if `holds` is false.
void require(bool holds, const char* what);

/// Types of our kfuncs in what stands for the kernel's BTF. Context: task.
const std::vector<std::uint32_t>& kfunc_ids();

/// bpf(2), ours. A descriptor or 0, or a negative errno.
long call(int command, union bpf_attr& attr);
/// Closes a descriptor of ours.
void drop(long descriptor);
/// Lets the worker free what was dropped, now and then: each `dropped` counts. Waits for it when it
/// has to, or the tables would fill.
void released(unsigned dropped);

/// Processor time of one input, and what is left behind at the end, are held to bounds.
class Bounds {
public:
    /// `cpu_ns`: of an input, under sanitizers.
    explicit Bounds(std::uint64_t cpu_ns);
    ~Bounds();
    Bounds(const Bounds&) = delete;
    Bounds& operator=(const Bounds&) = delete;
    /// Of what takes long there is more than enough in what is made of the others.
    [[nodiscard]] bool is_quick() const;

private:
    std::uint64_t begin_ns_;
    std::uint64_t cpu_ns_;
};

/// Requires that maps, programs and types are as many as they were after start_host().
void require_nothing_left();

/// A buffer for logs, and the text in it.
class Log {
public:
    static constexpr std::uint32_t kBytes = 1 << 16;
    Log();
    [[nodiscard]] std::uint64_t address() const;
    [[nodiscard]] const char* text() const;
};

}  // namespace taskwork::fuzz
