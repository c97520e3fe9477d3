// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the helpers have in common.
#pragma once

#include <initializer_list>
#include <vector>

#include "bpf/helpers.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf::test {

class HelperTest : public ::testing::Test {
protected:
    /// Runs `R0 = helper(values...)`.
    std::uint64_t call_with(int id, std::initializer_list<std::uint64_t> values) {
        std::vector<Piece> pieces;
        int reg = R1;
        for (const std::uint64_t value : values) {
            pieces.push_back(wide(static_cast<Register>(reg++), value));
        }
        pieces.push_back(call(id));
        pieces.push_back(leave());
        return domain.run(domain.load_sleepable(pieces));
    }
    void expect_bad_argument(std::initializer_list<Piece> pieces, std::uint64_t insn) {
        domain.expect_fault(domain.load_sleepable(pieces), FaultKind::bad_argument, insn);
    }

    BpfDomain domain;
};

}  // namespace taskwork::bpf::test
