// SPDX-License-Identifier: Apache-2.0
//
// Tail calls: random programs that call each other, here and in the kernel: the result, and what
// each of them wrote down on its way, must be the same.
//
// Ours are of the type of perf events, and the kernel's raw tracepoints, which it runs on demand.
// From their functions programs call only programs behind them, so that frames never run out here.

#include <algorithm>
#include <array>
#include <vector>

#include "bpf/program.hpp"
#include "bpf/test_assembler.hpp"
#include "task/run_point.hpp"
#include "tests/conformance/maps.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/test_types.hpp"

namespace taskwork::test {
namespace {

using namespace bpf::test;

constexpr unsigned kPrograms = 6;
constexpr std::uint32_t kNotesMax = 256;
struct Notes {
    std::uint64_t count;
    std::uint64_t note[kNotesMax];
    friend bool operator==(const Notes&, const Notes&) = default;
};

/// A program of these: notes, calls of its function, tail calls; the function has the latter two.
class Body {
public:
    Body(Random& random, unsigned number) : random_(random), number_(number) {
        emit(copy(R6, R1));
        emit(set(R7, static_cast<std::int32_t>(number)));
        const std::uint64_t steps = 1 + random_.below(4);
        for (std::uint64_t i = 0; i < steps; ++i) {
            switch (random_.below(3)) {
            case 0:
                note();
                break;
            case 1:
                call_program(number_);
                break;
            default:
                emit(copy(R1, R6));
                calls_.push_back(insns.size());
                emit(call_function(0));
                emit(alu(BPF_MUL, R7, 31));
                emit(alu(BPF_ADD, R7, R0));
            }
        }
        emit(copy(R0, R7));
        emit(leave());
        if (calls_.empty()) {
            return;
        }
        function = insns.size();
        for (const std::size_t call : calls_) {
            insns[call].imm = static_cast<std::int32_t>(function - call - 1);
        }
        emit(copy(R6, R1));
        for (std::uint64_t i = random_.below(3); i-- > 0;) {
            note();
            call_program(number_ + 1);
        }
        emit(set(R0, static_cast<std::int32_t>(100 + number)));
        emit(leave());
    }

    /// Descriptors are put in where a map is named: by its `imm`.
    enum Name : std::uint8_t { programs, notes };
    std::vector<bpf_insn> insns;
    std::size_t function = 0;  ///< 0: there is none.

private:
    void emit(const Piece& piece) {
        insns.insert(insns.end(), piece.insns.begin(),
                     piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
    }
    void note() {
        emit(wide(R1, notes, BPF_PSEUDO_MAP_VALUE));
        emit(load(BPF_DW, R2, R1, 0));
        emit(jump_if(BPF_JGE, R2, kNotesMax, 6));
        emit(copy(R3, R2));
        emit(alu(BPF_LSH, R3, 3));
        emit(alu(BPF_ADD, R3, R1));
        emit(store_imm(BPF_DW, R3, 8, static_cast<std::int32_t>(number_ * 1000 + ++notes_)));
        emit(add(R2, 1));
        emit(store(BPF_DW, R1, 0, R2));
    }
    /// One from `first` on, or none.
    void call_program(unsigned first) {
        emit(copy(R1, R6));
        emit(wide(R2, programs, BPF_PSEUDO_MAP_FD));
        emit(set(R3, static_cast<std::int32_t>(first + random_.below(kPrograms + 2 - first))));
        emit(call(BPF_FUNC_tail_call));
    }

    Random& random_;
    unsigned number_;
    unsigned notes_ = 0;
    std::vector<std::size_t> calls_;
};

class TailCalls : public MapsOfBoth {
protected:
    TailCalls() {
        const int result = btf__add_func_proto(types_.get(), types_.u32);
        main_ = btf__add_func(types_.get(), "main", BTF_FUNC_STATIC, result);
        function_ = btf__add_func(types_.get(), "function", BTF_FUNC_STATIC, result);
    }

    struct Side {
        Bpf bpf;
        bpf_prog_type type;
        int types = -1;
        int programs = -1;
        int notes = -1;
        std::array<int, kPrograms> loaded{};
    };
    int load_types(Bpf bpf) {
        std::uint32_t size = 0;
        const void* const data = btf__raw_data(types_.get(), &size);
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.btf = reinterpret_cast<std::uintptr_t>(data);
        attr.btf_size = size;
        return static_cast<int>(bpf(BPF_BTF_LOAD, attr));
    }
    int load_program(const Side& side, const Body& body) const {
        std::vector<bpf_insn> insns = body.insns;
        for (std::size_t i = 0; i < insns.size(); ++i) {
            if (insns[i].code == bpf::kLoadImmediate64) {
                insns[i].imm = insns[i].imm == Body::programs ? side.programs : side.notes;
                ++i;
            }
        }
        const bpf_func_info functions[] = {
            {0, static_cast<std::uint32_t>(main_)},
            {static_cast<std::uint32_t>(body.function), static_cast<std::uint32_t>(function_)}};
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.prog_type = side.type;
        attr.insns = reinterpret_cast<std::uintptr_t>(insns.data());
        attr.insn_cnt = static_cast<std::uint32_t>(insns.size());
        attr.license = reinterpret_cast<std::uintptr_t>("GPL");
        attr.prog_btf_fd = static_cast<std::uint32_t>(side.types);
        attr.func_info = reinterpret_cast<std::uintptr_t>(functions);
        attr.func_info_cnt = body.function == 0 ? 1 : 2;
        attr.func_info_rec_size = sizeof(bpf_func_info);
        return static_cast<int>(side.bpf(BPF_PROG_LOAD, attr));
    }
    static std::uint32_t run_in_kernel(int program) {
        std::uint64_t context[8] = {};
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.test.prog_fd = static_cast<std::uint32_t>(program);
        attr.test.ctx_in = reinterpret_cast<std::uintptr_t>(context);
        attr.test.ctx_size_in = sizeof context;
        EXPECT_EQ(kernel_bpf(BPF_PROG_TEST_RUN, attr), 0);
        return attr.test.retval;
    }
    static std::uint32_t run_here(int program, bool interpret) {
        int error = 0;
        const auto object = uapi::object_as<uapi::ProgramObject>(program, error);
        EXPECT_NE(object, nullptr);
        std::uint64_t context[23] = {};
        bpf::Execution execution;
        execution.task = task::current();
        execution.program = &object->program();
        execution.context = context;
        execution.context_size = sizeof context;
        execution.interpret = interpret;
        const task::Section section(execution.task);
        const auto result = static_cast<std::uint32_t>(bpf::run(execution));
        EXPECT_FALSE(execution.faulted);
        return result;
    }
    static Notes take_notes(const Side& side) {
        Request request = on_entry(BPF_MAP_LOOKUP_ELEM, 0);
        request.value.resize(sizeof(Notes));
        const Answer answer = ask(side.bpf, side.notes, request);
        EXPECT_EQ(answer.result, 0);
        Notes notes;
        std::memcpy(&notes, answer.value.data(), sizeof notes);
        request.command = BPF_MAP_UPDATE_ELEM;
        std::fill(request.value.begin(), request.value.end(), 0);
        EXPECT_EQ(ask(side.bpf, side.notes, request).result, 0);
        return notes;
    }

    uapi::TestTypes types_;
    int main_;
    int function_;
};

TEST_F(TailCalls, lead_where_they_lead_in_the_kernel) {
    std::uint64_t longest = 0;
    const std::uint64_t seeds = setting("TASKWORK_SCRIPTS", is_long() ? 2000 : 60);
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        Random random(seed);
        std::vector<Body> bodies;
        for (unsigned i = 0; i < kPrograms; ++i) {
            bodies.emplace_back(random, i);
        }
        Side ours{.bpf = our_bpf, .type = BPF_PROG_TYPE_PERF_EVENT};
        Side kernel{.bpf = kernel_bpf, .type = BPF_PROG_TYPE_RAW_TRACEPOINT};
        ASSERT_NO_FATAL_FAILURE(
            make({"", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, kPrograms}, ours.programs, kernel.programs));
        ASSERT_NO_FATAL_FAILURE(
            make({"", BPF_MAP_TYPE_ARRAY, 4, sizeof(Notes), 1}, ours.notes, kernel.notes));
        for (Side* side : {&ours, &kernel}) {
            auto& descriptors = side == &ours ? ours_ : kernel_;
            side->types = load_types(side->bpf);
            ASSERT_GE(side->types, 0);
            descriptors.push_back(side->types);
            for (unsigned i = 0; i < kPrograms; ++i) {
                side->loaded[i] = load_program(*side, bodies[i]);
                ASSERT_GE(side->loaded[i], 0)
                    << "seed " << seed << ", program " << i << ": " << uapi::last_diagnosis();
                descriptors.push_back(side->loaded[i]);
            }
        }
        // One of them is not in the array.
        const std::uint64_t absent = random.below(kPrograms);
        for (unsigned i = 0; i < kPrograms; ++i) {
            if (i != absent) {
                for (const Side* side : {&ours, &kernel}) {
                    ASSERT_EQ(ask(side->bpf, side->programs,
                                  on_entry(BPF_MAP_UPDATE_ELEM, i, side->loaded[i]))
                                  .result,
                              0);
                }
            }
        }
        for (unsigned i = 0; i < kPrograms; ++i) {
            const std::uint32_t expected = run_in_kernel(kernel.loaded[i]);
            const Notes notes = take_notes(kernel);
            longest = std::max(longest, notes.count);
            for (const bool interpret : {false, true}) {
                EXPECT_EQ(run_here(ours.loaded[i], interpret), expected)
                    << "seed " << seed << ", program " << i << ", interpreted: " << interpret;
                EXPECT_TRUE(take_notes(ours) == notes)
                    << "seed " << seed << ", program " << i << ", interpreted: " << interpret;
            }
        }
        close_all();
        if (HasFailure()) {
            return;
        }
    }
    EXPECT_GE(longest, 34u);
}

}  // namespace
}  // namespace taskwork::test
