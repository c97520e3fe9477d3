// SPDX-License-Identifier: Apache-2.0
//
// What the fuzzers of this folder share: one domain for all inputs, whose worker gives back what an
// input made, and the bounds that every input keeps to.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace taskwork::fuzz {

using Bytes = std::span<const std::byte>;

/// One input. Aborts if anything is not as it must be. Defined by each fuzzer.
void run_input(Bytes input);

/// Makes the domain at the first call. Context: task.
void start_host();

/// Aborts, naming it, if `holds` is false.
void require(bool holds, const char* what);

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
