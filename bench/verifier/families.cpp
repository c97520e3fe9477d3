// SPDX-License-Identifier: Apache-2.0
//
// The families. Each is a block that is repeated until about as many instructions are processed as
// are asked for.
#include <cstddef>
#include <functional>

#include "bpf/test_assembler.hpp"
#include "verifier/subjects.hpp"

namespace taskwork::bench {

namespace {

using namespace bpf::test;
using bpf::kOpConditionalPseudo;

class Program {
public:
    Program& operator<<(const Piece& piece) {
        insns_.insert(insns_.end(), piece.insns.begin(),
                      piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
        return *this;
    }
    [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(insns_.size()); }
    std::vector<bpf_insn> insns_;
    std::uint32_t callee = 0;
};

/// r6 to r9 are numbers of which nothing is known.
void begin(Program& program) {
    for (const Register each : {R6, R7, R8, R9}) {
        program << call(BPF_FUNC_ktime_get_ns) << copy(each, R0);
    }
}
void end(Program& program) { program << set(R0, 0) << leave(); }

void straight(Program& program, std::uint32_t processed) {
    begin(program);
    for (std::uint32_t i = 0; program.size() + 10 < processed; ++i) {
        const auto constant = static_cast<std::int64_t>(i % 1000 + 1);
        program << alu(BPF_ADD, R6, R7) << alu(BPF_XOR, R7, constant) << alu(BPF_LSH, R8, 3)
                << alu32(BPF_SUB, R8, R6) << alu(BPF_AND, R7, R9) << alu(BPF_RSH, R9, 1)
                << alu32(BPF_OR, R9, constant) << alu(BPF_MUL, R6, constant);
    }
    end(program);
}

/// Some arithmetic, so that of 100,000 instructions no more than 8,192 branches wait at a time.
void pad(Program& program, int count) {
    for (int i = 0; i < count; ++i) {
        program << alu(i % 2 == 0 ? BPF_XOR : BPF_ADD, R9, R8);
    }
}

/// Both ways meet at once, and the number in which they differ does not matter. What is behind a
/// branch is walked twice before a state is kept that says so.
void branches_that_prune(Program& program, std::uint32_t processed) {
    begin(program);
    for (std::uint32_t i = 0; 2 * program.size() < processed; ++i) {
        program << call(BPF_FUNC_get_prandom_u32) << jump_if(BPF_JGT, R0, i % 1000, 1)
                << alu(BPF_ADD, R6, 1) << alu(BPF_XOR, R7, R6);
        pad(program, 10);
    }
    end(program);
}

/// Every way leads to another number, and all of them matter in the end: as many paths as numbers.
void branches_that_do_not(Program& program, std::uint32_t processed) {
    program << set(R6, 0);
    std::uint32_t levels = 1;
    while ((8U << levels) < processed) {
        ++levels;
    }
    for (std::uint32_t i = 0; i < levels; ++i) {
        program << call(BPF_FUNC_get_prandom_u32) << jump_if(BPF_JGT, R0, 7, 1)
                << alu(BPF_ADD, R6, std::int64_t{1} << i);
    }
    program << jump_if(BPF_JGT, R6, std::int64_t{1} << levels, 0);
    end(program);
}

void bounded_loop(Program& program, std::uint32_t processed) {
    begin(program);
    program << set(R6, 0);
    program << alu(BPF_ADD, R7, R6) << alu(BPF_XOR, R8, R7) << alu(BPF_ADD, R6, 1)
            << jump_if(BPF_JLT, R6, processed / 4, -4);
    end(program);
}

/// Loops by may_goto, one after the other, that count what does not matter: two rounds each.
void may_goto_loops(Program& program, std::uint32_t processed) {
    begin(program);
    while (2 * program.size() < processed) {
        program << make(BPF_JMP | kOpConditionalPseudo, 0, 0, 4, 0) << alu(BPF_ADD, R6, 1)
                << alu(BPF_XOR, R7, R6) << alu(BPF_ADD, R8, R7) << jump(-5);
        pad(program, 5);
    }
    end(program);
}

/// bpf_loop() again and again, with a number on the stack that the callback changes.
void callbacks(Program& program, std::uint32_t processed) {
    constexpr int body = 36;
    constexpr int block = 7;
    constexpr std::uint32_t walked = 2 * (body + 5) + block;
    auto blocks = static_cast<int>(processed / walked + 1);
    program << store_imm(BPF_DW, R10, -8, 0);
    while (blocks-- > 0) {
        program << set(R1, 100) << function(R2, 4 + blocks * block + 2 + 1) << copy(R3, R10)
                << add(R3, -8) << set(R4, 0) << call(BPF_FUNC_loop);
    }
    end(program);
    program.callee = program.size();
    program << load(BPF_DW, R3, R2, 0);
    for (int i = 0; i < body; ++i) {
        program << alu(i % 2 == 0 ? BPF_XOR : BPF_ADD, R3, R1);
    }
    program << store(BPF_DW, R2, 0, R3) << set(R0, 0) << leave();
}

void subprograms(Program& program, std::uint32_t processed) {
    constexpr std::uint32_t walked = 10;
    std::uint32_t blocks = processed / walked + 1;
    program << set(R6, 0);
    for (; blocks-- > 0;) {
        program << copy(R1, R6) << call_function(static_cast<int>(blocks * 3 + 1 + 2))
                << copy(R6, R0);
    }
    end(program);
    program.callee = program.size();
    program << copy(R6, R1) << alu(BPF_AND, R6, 0xff) << store(BPF_DW, R10, -8, R6)
            << alu(BPF_LSH, R6, 2) << load(BPF_DW, R0, R10, -8) << alu(BPF_ADD, R0, R6) << leave();
}

/// All of the stack, over and over.
void spills(Program& program, std::uint32_t processed) {
    begin(program);
    for (int i = 0; program.size() + 10 < processed; ++i) {
        const int to = -8 * (i % 60 + 1);
        const int from = -8 * (i * 7 % (i < 60 ? i + 1 : 60) + 1);
        program << store(BPF_DW, R10, to, R6) << load(BPF_DW, R7, R10, from) << alu(BPF_ADD, R6, R7)
                << store(BPF_DW, R10, to, R10) << store(BPF_DW, R10, to, R7);
    }
    end(program);
}

void lookups(Program& program, std::uint32_t processed) {
    begin(program);
    while (program.size() + 10 < processed) {
        program << store(BPF_W, R10, -4, R6) << copy(R2, R10) << add(R2, -4)
                << wide(R1, kMap, BPF_PSEUDO_MAP_FD) << call(BPF_FUNC_map_lookup_elem)
                << jump_if(BPF_JEQ, R0, 0, 3) << load(BPF_DW, R7, R0, 8) << alu(BPF_ADD, R7, R8)
                << store(BPF_DW, R0, 16, R7);
        pad(program, 6);
    }
    end(program);
}

/// A number comes from the far end of a stretch with branches in it, through copies, and is an
/// offset in the end. Ten such stretches, in a short program one.
void precise(Program& program, std::uint32_t processed) {
    begin(program);
    const std::uint32_t stretches = processed < 1'000 ? 1 : 10;
    const std::uint32_t stretch = processed / stretches / 2;  // walked twice, as above
    for (std::uint32_t i = 0; i < stretches; ++i) {
        const std::uint32_t until = program.size() + stretch;
        program << call(BPF_FUNC_get_prandom_u32) << copy(R6, R0) << alu(BPF_AND, R6, 31);
        while (program.size() + 20 < until) {
            program << call(BPF_FUNC_get_prandom_u32) << jump_if(BPF_JGT, R0, 7, 1)
                    << alu(BPF_ADD, R7, 1) << copy(R8, R6) << alu(BPF_ADD, R8, 1)
                    << alu(BPF_AND, R8, 31) << copy(R6, R8);
            pad(program, 8);
        }
        program << wide(R1, kMap, BPF_PSEUDO_MAP_VALUE) << alu(BPF_ADD, R1, R6)
                << load(BPF_B, R9, R1, 0);
    }
    end(program);
}

/// One number, from the beginning, is an offset again and again, without a branch between.
void offsets(Program& program, std::uint32_t processed) {
    begin(program);
    program << alu(BPF_AND, R6, 31);
    while (program.size() + 10 < processed) {
        program << wide(R1, kMap, BPF_PSEUDO_MAP_VALUE) << alu(BPF_ADD, R1, R6)
                << load(BPF_B, R9, R1, 0) << alu(BPF_ADD, R7, R9);
    }
    end(program);
}

}  // namespace

std::vector<Subject> families(std::uint32_t processed) {
    struct Family {
        const char* name;
        void (*write)(Program& program, std::uint32_t processed);
    };
    constexpr Family all[] = {
        {"straight arithmetic", straight},
        {"branches that prune", branches_that_prune},
        {"branches that do not", branches_that_do_not},
        {"bounded loop", bounded_loop},
        {"may_goto loops", may_goto_loops},
        {"bpf_loop callbacks", callbacks},
        {"subprogram calls", subprograms},
        {"stack spills", spills},
        {"map lookups", lookups},
        {"precise numbers from afar", precise},
        {"one number, many offsets", offsets},
    };
    std::vector<Subject> made;
    for (const Family& family : all) {
        Program program;
        family.write(program, processed);
        Subject subject;
        subject.name = std::string(family.name) + ", " + std::to_string(processed);
        subject.insns = std::move(program.insns_);
        subject.callee = program.callee;
        subject.processed = processed;
        made.push_back(std::move(subject));
    }
    return made;
}

}  // namespace taskwork::bench
