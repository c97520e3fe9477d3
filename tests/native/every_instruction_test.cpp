// SPDX-License-Identifier: Apache-2.0
//
// An event after every instruction of an execution in native code, its own among them: a program of
// the event's runs in native code on top, with helpers and callbacks, and changes nothing. And at
// each of them the stack can be walked.
#include <execinfo.h>

#include <array>
#include <cstdlib>

#include "bpf/jit/code_region.hpp"
#include "task/single_step.hpp"
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr std::uint64_t kNestedResult = 10 + 45;

/// Runs a callback `rounds` times, which adds the number of the round to a word of the caller's
/// frame and counts in a value; returns their number and the sum. `calls_back`: by the helper, of
/// which native code makes a loop where it can.
std::vector<Piece> program_of(BpfDomain& domain, map::Map& map, int rounds, bool calls_back) {
    return linked(
        {{calls_back ? load(BPF_DW, R4, R1, 168) : set(R4, 0), store_imm(BPF_DW, R10, -8, 0),
          set(R6, 1), set(R7, 2), set(R8, 3), set(R9, 4), set(R1, rounds), function(R2, 1),
          copy(R3, R10), add(R3, -8), call(BPF_FUNC_loop), load(BPF_DW, R1, R10, -8),
          alu(BPF_ADD, R0, R1), alu(BPF_ADD, R0, R6), alu(BPF_ADD, R0, R7), alu(BPF_ADD, R0, R8),
          alu(BPF_ADD, R0, R9), add(R0, -10), leave()},
         {load(BPF_DW, R3, R2, 0),
          alu(BPF_ADD, R3, R1),
          store(BPF_DW, R2, 0, R3),
          store_imm(BPF_W, R10, -4, 0),
          copy(R2, R10),
          add(R2, -4),
          domain.wide_map(R1, map),
          call(BPF_FUNC_map_lookup_elem),
          jump_if(BPF_JEQ, R0, 0, 9),
          load(BPF_DW, R1, R0, 8),
          alu(BPF_MUL, R1, 3),
          set(R2, 7),
          alu(BPF_MOD, R1, R2),
          store(BPF_DW, R0, 8, R1),
          set(R1, 1),
          atomic(BPF_DW, R0, 0, R1, BPF_ADD | BPF_FETCH),
          atomic(BPF_DW, R0, 0, R1, BPF_OR | BPF_FETCH),
          call_function(2),
          set(R0, 0),
          leave()},
         {copy(R1, R10), add(R1, -16), set(R2, 16), call(BPF_FUNC_get_current_comm), set(R1, 5),
          alu(BPF_LSH, R1, 3), alu32(BPF_DIV, R1, 3), copy(R0, R1), leave()}});
}

class EveryInstruction : public NativeTest {
protected:
    void SetUp() override {
        NativeTest::SetUp();
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "not under sanitizers";
        }
    }
};

TEST_F(EveryInstruction, may_be_interrupted_by_a_program_in_native_code) {
    map::Map& outer_map = domain.array(16, 1);
    map::Map& nested_map = domain.array(16, 1);
    const std::uint32_t key = 0;
    auto* const counted = static_cast<std::uint64_t*>(map::lookup(outer_map, &key));
    Scene scene;
    scene.nested = &native(program_of(domain, nested_map, 10, true));
    scene.nested_result = kNestedResult;
    Program* const outer[] = {&native(program_of(domain, outer_map, 3, false)),
                              &native(program_of(domain, outer_map, 3, true))};
    for (const std::uint64_t stride : {1, 2, 3, 4, 5, 7}) {
        SCOPED_TRACE(stride);
        scene.outer = outer[stride % 2];
        counted[0] = 0;
        counted[1] = 1;
        Scene::body(&scene);
        EXPECT_EQ(scene.result, 3u + 3u);
        const std::array<std::uint64_t, 2> expected = {counted[0], counted[1]};
        counted[0] = 0;
        counted[1] = 1;
        scene.nested_runs = 0;
        const std::uint64_t steps =
            task::single_step(Scene::body, &scene, Scene::event, &scene, 1, stride);
        EXPECT_GT(steps, 300u);
        // Those in the sections' own code find nothing to interrupt or all is well.
        EXPECT_GT(scene.nested_runs, steps / stride / 2);
        EXPECT_EQ(scene.nested_wrong, 0u);
        EXPECT_EQ(scene.result, 3u + 3u);
        EXPECT_FALSE(scene.faulted);
        EXPECT_EQ(counted[0], expected[0]);
        EXPECT_EQ(counted[1], expected[1]);
    }
}

// ---- Stacks -------------------------------------------------------------------------------------

struct Walks {
    std::uint64_t taken = 0;      ///< With a frame of native code that has called something.
    std::uint64_t too_short = 0;  ///< That did not reach the outermost function.
    void* outermost = nullptr;
};
Walks walks;

void walk(void*) {
    std::array<void*, 128> frames{};
    const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
    // The handler's three come first, then what was interrupted: not what has called, and perhaps
    // in one of the first two instructions of a native function.
    constexpr int kInterrupted = 3;
    bool has_called = false;
    for (int i = kInterrupted + 1; i < count; ++i) {
        has_called |= jit::CodeRegion::contains(
            reinterpret_cast<std::uintptr_t>(frames[static_cast<std::size_t>(i)]));
    }
    if (!has_called ||
        jit::CodeRegion::contains(reinterpret_cast<std::uintptr_t>(frames[kInterrupted]))) {
        return;
    }
    ++walks.taken;
    if (frames[static_cast<std::size_t>(count) - 1] != walks.outermost) {
        ++walks.too_short;
    }
}

struct AsksForUnwinding {
    AsksForUnwinding() { ::setenv("TASKWORK_UNWIND", "1", 1); }
};
/// The environment is read when the region is mapped.
class Stacks : AsksForUnwinding, public EveryInstruction {};

TEST_F(Stacks, can_be_walked_by_libgcc_from_whatever_native_code_has_called) {
    map::Map& map = domain.array(16, 1);
    Scene scene;
    scene.outer = &native(program_of(domain, map, 2, true));
    std::array<void*, 128> frames{};
    const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
    ASSERT_GT(count, 2);
    walks = {};
    walks.outermost = frames[static_cast<std::size_t>(count) - 1];
    task::single_step(Scene::body, &scene, walk, nullptr, 1, 1, false);
    EXPECT_GT(walks.taken, 100u);
    EXPECT_EQ(walks.too_short, 0u);
}

}  // namespace
}  // namespace taskwork::bpf
