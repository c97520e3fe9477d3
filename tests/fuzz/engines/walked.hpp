// SPDX-License-Identifier: Apache-2.0
//
// Walked: what a walk of our verifier says of whether a program can be held against the kernel.
#pragma once

#include <cstdint>
#include <unordered_set>

#include "bpf/verifier/observer.hpp"
#include "tests/fuzz/soundness/generator.hpp"

namespace taskwork::fuzz {

class Walked final : public bpf::verifier::Observer {
public:
    /// The program outlives it.
    explicit Walked(const Generated& program) : program_(program) {}

    /// What it does may depend on addresses, which are each engine's own: they are compared,
    /// calculated with, stored where numbers are read, or come to lie there in pieces.
    [[nodiscard]] bool tells_addresses() const { return tells_addresses_; }
    /// A function whose address is taken is never called (bpf_loop() of no rounds). Linux 6.18
    /// removes it, and then warns that it is not there.
    [[nodiscard]] bool has_idle_callback() const;

    void begin(std::uint32_t) override {}
    void walk(std::uint32_t insn, const bpf::verifier::State& state) override;
    void put_off() override {}
    void take_up() override {}
    void prune(std::uint32_t, const bpf::verifier::State&, const bpf::verifier::Covered&) override {
    }

private:
    [[nodiscard]] bool tells(std::uint32_t insn, const bpf::verifier::State& state) const;
    [[nodiscard]] bool call_tells(std::uint32_t insn, const bpf::verifier::State& state) const;

    const Generated& program_;
    std::unordered_set<std::uint32_t> walked_;
    bool tells_addresses_ = false;
};

}  // namespace taskwork::fuzz
