// SPDX-License-Identifier: Apache-2.0
#include "bpf/helpers.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "bpf/task_view.hpp"
#include "bpf/test_program.hpp"
#include "map/ring_buffer.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr std::size_t kPage = 4096;

std::uint64_t negative(int error) { return static_cast<std::uint64_t>(-std::int64_t{error}); }

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
        return domain.run(load_pieces(pieces));
    }
    Program& load_pieces(const std::vector<Piece>& pieces) {
        std::vector<bpf_insn> insns;
        for (const Piece& piece : pieces) {
            insns.insert(insns.end(), piece.insns.begin(),
                         piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
        }
        LoadSpec spec = domain.spec();
        spec.flags = BPF_F_SLEEPABLE;
        spec.insns = insns.data();
        spec.insn_count = static_cast<std::uint32_t>(insns.size());
        auto loaded = load_program(spec, domain.log);
        EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : loaded.error().text);
        return **loaded;
    }
    /// `id`(buffer on the BPF stack of `size` bytes at R10-64, size, R3): result and buffer. The
    /// buffer, 64 bytes, starts as 'x'.
    struct ReadResult {
        std::int64_t result;
        std::string bytes;
    };
    ReadResult read_with(int id, std::uint64_t size, std::uint64_t from) {
        std::vector<Piece> pieces;
        pieces.push_back(wide(R1, 0x7878787878787878));
        for (int i = 1; i <= 8; ++i) {
            pieces.push_back(store(BPF_DW, R10, -8 * i, R1));
        }
        pieces.insert(pieces.end(), {copy(R1, R10), add(R1, -64), wide(R2, size), wide(R3, from),
                                     call(id), leave()});
        const std::uint64_t result = domain.run(load_pieces(pieces));
        const auto* top =
            reinterpret_cast<const char*>(task::current()->bpf_stack[0]) + kFrameBytes;
        return {static_cast<std::int64_t>(result), std::string(top - 64, 64)};
    }
    void expect_bad_argument(std::initializer_list<Piece> pieces, std::uint64_t insn) {
        domain.expect_fault(domain.load_sleepable(pieces), FaultKind::bad_argument, insn);
    }

    BpfDomain domain;
};

// ---- Maps ---------------------------------------------------------------------------------------

TEST_F(HelperTest, looks_up_updates_and_deletes_with_the_kernels_results) {
    map::Map& map = domain.hash(8, 8, 2);
    const auto with_key = [&](int id, std::uint64_t key, std::uint64_t flags) {
        return domain.run(
            domain.load({wide(R1, key), store(BPF_DW, R10, -8, R1), store_imm(BPF_DW, R10, -16, 7),
                         domain.wide_map(R1, map), copy(R2, R10), add(R2, -8), copy(R3, R10),
                         add(R3, -16), wide(R4, flags), call(id), leave()}));
    };
    EXPECT_EQ(with_key(BPF_FUNC_map_lookup_elem, 1, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, BPF_EXIST), negative(ENOENT));
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, BPF_NOEXIST), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, BPF_NOEXIST), negative(EEXIST));
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, 1000), negative(EINVAL));
    EXPECT_NE(with_key(BPF_FUNC_map_lookup_elem, 1, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 2, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 3, 0), negative(E2BIG));
    EXPECT_EQ(with_key(BPF_FUNC_map_delete_elem, 1, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_delete_elem, 1, 0), negative(ENOENT));
}

TEST_F(HelperTest, faults_on_map_arguments_that_the_verifier_would_refuse) {
    map::Map& map = domain.hash(8, 8, 2);
    map::Map& other = domain.hash(8, 8, 2);
    // Not a map, a map of somebody else, a key that is partly outside of the frame.
    expect_bad_argument(
        {set(R1, 0), copy(R2, R10), add(R2, -8), call(BPF_FUNC_map_lookup_elem), leave()}, 3);
    expect_bad_argument({wide(R1, reinterpret_cast<std::uint64_t>(&other)), copy(R2, R10),
                         add(R2, -8), call(BPF_FUNC_map_lookup_elem), leave()},
                        4);
    expect_bad_argument({domain.wide_map(R1, map), copy(R2, R10), add(R2, -7),
                         call(BPF_FUNC_map_lookup_elem), leave()},
                        4);
    expect_bad_argument({domain.wide_map(R1, map), copy(R2, R10), add(R2, -8), copy(R3, R10),
                         add(R3, -7), set(R4, 0), call(BPF_FUNC_map_update_elem), leave()},
                        7);
    map::Map& ring = domain.ring(4096);
    expect_bad_argument({domain.wide_map(R1, ring), copy(R2, R10), add(R2, -8),
                         call(BPF_FUNC_map_lookup_elem), leave()},
                        4);
    map::Map& constant = domain.array(8, 1, BPF_F_RDONLY_PROG);
    expect_bad_argument({domain.wide_map(R1, constant), copy(R2, R10), add(R2, -8), copy(R3, R2),
                         set(R4, 0), call(BPF_FUNC_map_update_elem), leave()},
                        6);
}

TEST_F(HelperTest, takes_no_value_with_a_slot_as_the_source_of_an_update) {
    map::Map& map = domain.array(16, 1, 0, 8);
    expect_bad_argument({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, map), copy(R2, R10),
                         add(R2, -4), call(BPF_FUNC_map_lookup_elem), copy(R3, R0),
                         domain.wide_map(R1, map), copy(R2, R10), add(R2, -4), set(R4, 0),
                         call(BPF_FUNC_map_update_elem), leave()},
                        12);
}

// ---- Callbacks in place -------------------------------------------------------------------------

TEST_F(HelperTest, loops_until_the_callback_says_stop) {
    const auto loop_with = [&](std::uint64_t count, std::int64_t stop_at, std::uint64_t flags) {
        // context at R10-16: {sum, stop_at}
        return domain.run(domain.load({
            store_imm(BPF_DW, R10, -16, 0),
            store_imm(BPF_DW, R10, -8, stop_at),  // 0
            wide(R1, count),
            function(R2, 7),
            copy(R3, R10),
            add(R3, -16),  // 2
            wide(R4, flags),
            call(BPF_FUNC_loop),
            leave(),  // 8
            set(R0, 0),
            load(BPF_DW, R3, R2, 8),
            jump_if(BPF_JNE, R3, R1, 1),  // 12
            set(R0, 1),
            leave(),
        }));
    };
    EXPECT_EQ(loop_with(0, -1, 0), 0u);
    EXPECT_EQ(loop_with(10, -1, 0), 10u);
    EXPECT_EQ(loop_with(10, 4, 0), 5u);
    EXPECT_EQ(loop_with((1 << 23) + 1, -1, 0), negative(E2BIG));
    EXPECT_EQ(loop_with(10, -1, 1), negative(EINVAL));
}

TEST_F(HelperTest, gives_loop_callbacks_the_index_and_their_context) {
    Program& program = domain.load({
        store_imm(BPF_DW, R10, -8, 0),
        set(R1, 100),
        function(R2, 7),
        copy(R3, R10),  // 0
        add(R3, -8),
        set(R4, 0),
        call(BPF_FUNC_loop),
        load(BPF_DW, R0, R10, -8),
        leave(),
        load(BPF_DW, R3, R2, 0),
        alu(BPF_ADD, R3, R1),
        store(BPF_DW, R2, 0, R3),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 4950u);
}

TEST_F(HelperTest, ends_the_execution_when_a_callback_faults_or_is_no_function) {
    domain.expect_fault(
        domain.load({set(R1, 5), function(R2, 5), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop),
                     leave(), load(BPF_B, R0, R2, 0), leave()}),
        FaultKind::bad_load, 7);
    expect_bad_argument(
        {set(R1, 5), set(R2, 1), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop), leave()}, 4);
    // A value that looks like a function, of another program or in the middle of one.
    Program& other = domain.load({set(R0, 0), leave()});
    expect_bad_argument({set(R1, 5), wide(R2, function_value(other.id, 0)), set(R3, 0), set(R4, 0),
                         call(BPF_FUNC_loop), leave()},
                        5);
    const std::uint32_t next = ProgramTable::get().next_id.load(std::memory_order_relaxed);
    expect_bad_argument({set(R1, 5), wide(R2, function_value(next, 1)), set(R3, 0), set(R4, 0),
                         call(BPF_FUNC_loop), leave()},
                        5);
}

TEST_F(HelperTest, bounds_nested_loops_by_frames_and_instructions) {
    // A callback that loops over itself.
    domain.expect_fault(domain.load({set(R1, 1), function(R2, 5), set(R3, 0), set(R4, 0),
                                     call(BPF_FUNC_loop), leave(),                          // 5
                                     set(R1, 1), function(R2, -2), set(R3, 0), set(R4, 0),  // 7
                                     call(BPF_FUNC_loop), leave()}),
                        FaultKind::too_deep, 12);
    Program& endless = domain.load({set(R1, 1 << 23), function(R2, 5), set(R3, 0), set(R4, 0),
                                    call(BPF_FUNC_loop), leave(), set(R0, 0), leave()});
    domain.run_in_nmi(endless);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(endless.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::too_long));
}

TEST_F(HelperTest, walks_the_elements_of_arrays_and_hash_maps) {
    map::Map& array = domain.array(8, 4);
    map::Map& hash = domain.hash(4, 8, 4);
    for (map::Map* map : {&array, &hash}) {
        for (std::uint32_t key = 0; key < 4; ++key) {
            const std::uint64_t value = 100 * key;
            const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
            ASSERT_EQ(map::update(*map, &key, &value, 0), no_error);
        }
        // Sums keys and values, doubles the values.
        Program& program = domain.load({
            store_imm(BPF_DW, R10, -8, 0),
            store_imm(BPF_DW, R10, -16, 0),  // 0
            domain.wide_map(R1, *map),
            function(R2, 12),
            copy(R3, R10),
            add(R3, -16),  // 2
            set(R4, 0),
            call(BPF_FUNC_for_each_map_elem),  // 8
            load(BPF_DW, R1, R10, -8),
            alu(BPF_MUL, R1, 1000),
            alu(BPF_MUL, R0, 1000000),
            alu(BPF_ADD, R0, R1),
            load(BPF_DW, R1, R10, -16),
            alu(BPF_ADD, R0, R1),
            leave(),
            // 17: callback(map, key, value, context)
            load(BPF_DW, R5, R4, 8),
            load(BPF_W, R0, R2, 0),
            alu(BPF_ADD, R5, R0),
            store(BPF_DW, R4, 8, R5),
            load(BPF_DW, R5, R4, 0),
            load(BPF_DW, R0, R3, 0),
            alu(BPF_ADD, R5, R0),
            store(BPF_DW, R4, 0, R5),
            alu(BPF_ADD, R0, R0),
            store(BPF_DW, R3, 0, R0),
            set(R0, 0),
            leave(),
        });
        EXPECT_EQ(domain.run(program), 4u * 1000000 + 6 * 1000 + 600);
        EXPECT_EQ(domain.run(program), 4u * 1000000 + 6 * 1000 + 1200);
    }
}

TEST_F(HelperTest, stops_a_walk_when_the_callback_says_so_and_lets_it_not_write_keys) {
    map::Map& map = domain.hash(4, 8, 4);
    for (std::uint32_t key = 0; key < 4; ++key) {
        const std::uint64_t value = key;
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        ASSERT_EQ(map::update(map, &key, &value, 0), no_error);
    }
    const auto with = [&](std::uint64_t flags, std::initializer_list<Piece> callback) -> Program& {
        std::vector<Piece> pieces{
            domain.wide_map(R1, map),         function(R2, 6), set(R3, 0), wide(R4, flags),
            call(BPF_FUNC_for_each_map_elem), leave()};
        pieces.insert(pieces.end(), callback.begin(), callback.end());
        return load_pieces(pieces);
    };
    EXPECT_EQ(domain.run(with(0, {set(R0, 1), leave()})), 1u);
    EXPECT_EQ(domain.run(with(1, {set(R0, 1), leave()})), negative(EINVAL));
    domain.expect_fault(with(0, {store_imm(BPF_W, R2, 0, 9), leave()}), FaultKind::bad_store, 9);
    domain.expect_fault(with(0, {load(BPF_DW, R0, R2, 0), leave()}), FaultKind::bad_load, 9);
}

// ---- Ring buffer --------------------------------------------------------------------------------

std::vector<std::string> consume(map::Map& ring) {
    std::vector<std::string> records;
    const long consumed = map::ring_consume(
        ring,
        [](void* argument, void* data, std::size_t size) -> long {
            static_cast<std::vector<std::string>*>(argument)->emplace_back(
                static_cast<const char*>(data), size);
            return 0;
        },
        &records);
    EXPECT_EQ(consumed, static_cast<long>(records.size()));
    return records;
}

TEST_F(HelperTest, outputs_reserves_submits_and_discards_ring_records) {
    map::Map& ring = domain.ring(4096);
    Program& program = domain.load({
        store_imm(BPF_DW, R10, -8, 0x41414141),
        domain.wide_map(R1, ring),
        copy(R2, R10),
        add(R2, -8),
        set(R3, 4),
        set(R4, 0),
        call(BPF_FUNC_ringbuf_output),
        copy(R8, R0),
        // Discarded.
        domain.wide_map(R1, ring),
        set(R2, 8),
        set(R3, 0),
        call(BPF_FUNC_ringbuf_reserve),
        jump_if(BPF_JEQ, R0, std::int64_t{0}, 14),
        store_imm(BPF_DW, R0, 0, 0x42424242),
        copy(R1, R0),
        set(R2, 0),
        call(BPF_FUNC_ringbuf_discard),
        // Submitted.
        domain.wide_map(R1, ring),
        set(R2, 4),
        set(R3, 0),
        call(BPF_FUNC_ringbuf_reserve),
        jump_if(BPF_JEQ, R0, std::int64_t{0}, 4),
        store_imm(BPF_W, R0, 0, 0x43434343),
        copy(R1, R0),
        set(R2, 0),
        call(BPF_FUNC_ringbuf_submit),
        copy(R0, R8),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(consume(ring), (std::vector<std::string>{"AAAA", "CCCC"}));
}

TEST_F(HelperTest, keeps_a_program_inside_the_records_it_holds) {
    map::Map& ring = domain.ring(4096);
    const auto with_record = [&](bpf_insn insn, bool submit_first) -> Program& {
        std::vector<Piece> pieces{domain.wide_map(R1, ring), set(R2, 16), set(R3, 0),
                                  call(BPF_FUNC_ringbuf_reserve), copy(R6, R0)};
        const std::vector<Piece> submit{copy(R1, R6), set(R2, 0), call(BPF_FUNC_ringbuf_submit)};
        if (submit_first) {
            pieces.insert(pieces.end(), submit.begin(), submit.end());
        }
        pieces.push_back(insn);
        if (!submit_first) {
            pieces.insert(pieces.end(), submit.begin(), submit.end());
        }
        pieces.insert(pieces.end(), {set(R0, 1), leave()});
        return load_pieces(pieces);
    };
    EXPECT_EQ(domain.run(with_record(store_imm(BPF_DW, R6, 8, 1), false)), 1u);
    domain.expect_fault(with_record(store_imm(BPF_DW, R6, 9, 1), false), FaultKind::bad_store, 6);
    domain.expect_fault(with_record(store_imm(BPF_DW, R6, -8, 1), false), FaultKind::bad_store, 6);
    domain.expect_fault(with_record(load(BPF_B, R0, R6, 0), true), FaultKind::bad_load, 9);
    // The faulting ones left nothing behind that would stop the others.
    EXPECT_EQ(consume(ring).size(), 2u);
}

TEST_F(HelperTest, counts_a_record_that_is_never_submitted_as_a_fault_and_discards_it) {
    map::Map& ring = domain.ring(4096);
    Program& leaks = domain.load({domain.wide_map(R1, ring), set(R2, 8), set(R3, 0),
                                  call(BPF_FUNC_ringbuf_reserve), set(R0, 1), leave()});
    EXPECT_EQ(domain.run(leaks), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(leaks.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::record_leaked));
    EXPECT_TRUE(consume(ring).empty());
    // A record that it does not hold, or no more.
    expect_bad_argument({copy(R1, R10), set(R2, 0), call(BPF_FUNC_ringbuf_submit), leave()}, 2);
    expect_bad_argument({domain.wide_map(R1, ring), set(R2, 8), set(R3, 0),
                         call(BPF_FUNC_ringbuf_reserve), copy(R6, R0), copy(R1, R6), set(R2, 0),
                         call(BPF_FUNC_ringbuf_submit), copy(R1, R6), set(R2, 0),
                         call(BPF_FUNC_ringbuf_discard), leave()},
                        11);
}

TEST_F(HelperTest, reports_ring_errors_as_the_kernel_does) {
    map::Map& ring = domain.ring(4096);
    const auto reserve = [&](std::uint64_t size, std::uint64_t flags) {
        return domain.run(domain.load({domain.wide_map(R1, ring), wide(R2, size), wide(R3, flags),
                                       call(BPF_FUNC_ringbuf_reserve), leave()}));
    };
    EXPECT_EQ(reserve(4096, 0), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(reserve(8, 1), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    Program& query = domain.load({domain.wide_map(R1, ring), set(R2, BPF_RB_RING_SIZE),
                                  call(BPF_FUNC_ringbuf_query), leave()});
    EXPECT_EQ(domain.run(query), 4096u);
    map::Map& hash = domain.hash(4, 4, 1);
    expect_bad_argument({domain.wide_map(R1, hash), set(R2, 8), set(R3, 0),
                         call(BPF_FUNC_ringbuf_reserve), leave()},
                        4);
}

// ---- Memory -------------------------------------------------------------------------------------

class UserPages {
public:
    UserPages() {
        pages_ = static_cast<char*>(
            mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        munmap(pages_ + kPage, kPage);
        std::memcpy(pages_ + kPage - 4, "edge", 4);
        std::strcpy(pages_, "a string");
    }
    ~UserPages() { munmap(pages_, kPage); }
    UserPages(const UserPages&) = delete;
    UserPages& operator=(const UserPages&) = delete;
    [[nodiscard]] std::uint64_t at(std::size_t offset) const {
        return reinterpret_cast<std::uint64_t>(pages_) + offset;
    }

private:
    char* pages_;
};

TEST_F(HelperTest, reads_user_memory_and_leaves_zeros_where_it_cannot) {
    const UserPages user;
    for (const int id : {BPF_FUNC_probe_read_user, BPF_FUNC_copy_from_user, BPF_FUNC_probe_read}) {
        SCOPED_TRACE(helper_name(id));
        ReadResult read = read_with(id, 8, user.at(0));
        EXPECT_EQ(read.result, 0);
        EXPECT_EQ(read.bytes.substr(0, 10), "a stringxx");
        read = read_with(id, 8, user.at(kPage - 4));
        EXPECT_EQ(read.result, -EFAULT);
        EXPECT_EQ(read.bytes.substr(0, 10), std::string("\0\0\0\0\0\0\0\0xx", 10));
        EXPECT_EQ(read_with(id, 4, user.at(kPage - 4)).bytes.substr(0, 5), "edgex");
        EXPECT_EQ(read_with(id, 8, 0).result, -EFAULT);
        EXPECT_EQ(read_with(id, 8, 0xffffffff81000000).result, -EFAULT);
        EXPECT_EQ(read_with(id, 0, user.at(kPage)).result, 0);
    }
}

TEST_F(HelperTest, reads_user_strings) {
    const UserPages user;
    for (const int id : {BPF_FUNC_probe_read_user_str, BPF_FUNC_probe_read_str}) {
        SCOPED_TRACE(helper_name(id));
        ReadResult read = read_with(id, 64, user.at(0));
        EXPECT_EQ(read.result, 9);
        EXPECT_EQ(read.bytes.substr(0, 11), std::string("a string\0xx", 11));
        read = read_with(id, 4, user.at(0));
        EXPECT_EQ(read.result, 4);
        EXPECT_EQ(read.bytes.substr(0, 5), std::string("a s\0x", 5));
        read = read_with(id, 8, user.at(kPage - 4));
        EXPECT_EQ(read.result, -EFAULT);
        EXPECT_EQ(read.bytes.substr(0, 9), std::string("\0\0\0\0\0\0\0\0x", 9));
    }
}

TEST_F(HelperTest, takes_what_the_program_may_read_for_kernel_memory_and_nothing_else) {
    const UserPages user;
    const std::uint64_t task = reinterpret_cast<std::uint64_t>(task::current()->view);
    const ReadResult pid =
        read_with(BPF_FUNC_probe_read_kernel, 4, task + offsetof(task_struct, pid));
    EXPECT_EQ(pid.result, 0);
    std::int32_t tid = 0;
    std::memcpy(&tid, pid.bytes.data(), sizeof(tid));
    EXPECT_EQ(tid, task::current()->tid);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_kernel, 8, user.at(0)).result, -ERANGE);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_kernel, 8, 0).result, -ERANGE);
    EXPECT_EQ(
        read_with(BPF_FUNC_probe_read_kernel, 8, reinterpret_cast<std::uint64_t>(task::current()))
            .result,
        -EFAULT);
    const ReadResult name =
        read_with(BPF_FUNC_probe_read_kernel_str, 16, task + offsetof(task_struct, comm));
    EXPECT_EQ(name.result,
              static_cast<std::int64_t>(std::strlen(task_view(*task::current()).comm) + 1));
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_kernel_str, 8, user.at(0)).result, -ERANGE);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_user, 4, task).result, -EFAULT);
    // bpf_probe_read finds both.
    EXPECT_EQ(read_with(BPF_FUNC_probe_read, 4, task).result, 0);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_str, 16, task + offsetof(task_struct, comm)).result,
              name.result);
}

TEST_F(HelperTest, faults_when_a_destination_is_not_the_programs) {
    for (const int id : {BPF_FUNC_probe_read_user, BPF_FUNC_probe_read_user_str,
                         BPF_FUNC_probe_read_kernel, BPF_FUNC_probe_read_kernel_str,
                         BPF_FUNC_probe_read, BPF_FUNC_probe_read_str, BPF_FUNC_copy_from_user}) {
        SCOPED_TRACE(helper_name(id));
        expect_bad_argument({copy(R1, R10), add(R1, -8), set(R2, 9), set(R3, 0), call(id), leave()},
                            4);
        expect_bad_argument(
            {copy(R1, R10), add(R1, -8), set(R2, -1), set(R3, 0), call(id), leave()}, 4);
        expect_bad_argument({set(R1, 0), set(R2, 8), set(R3, 0), call(id), leave()}, 3);
    }
}

TEST_F(HelperTest, refuses_helpers_that_sleep_in_nmi) {
    // Reached through a callback in place, which the loader lets through.
    Program& program = domain.load({
        set(R1, 1),
        function(R2, 5),
        set(R3, 0),
        set(R4, 0),
        call(BPF_FUNC_loop),
        leave(),
        copy(R1, R10),
        add(R1, -8),
        set(R2, 8),
        set(R3, 0),
        call(BPF_FUNC_copy_from_user),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 1u);
    domain.run_in_nmi(program);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(program.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::bad_call));
    EXPECT_EQ(program.last_fault_insn.load(std::memory_order_relaxed), 12u);
}

TEST_F(HelperTest, compares_strings) {
    map::Map& map = domain.array(16, 1, BPF_F_RDONLY_PROG);
    const std::uint32_t key = 0;
    std::strcpy(static_cast<char*>(map::lookup(map, &key)), "abc");
    const auto compare = [&](std::uint64_t left, std::int64_t size) {
        return static_cast<std::int64_t>(domain.run(domain.load(
            {wide(R1, left), store(BPF_DW, R10, -8, R1), copy(R1, R10), add(R1, -8), set(R2, size),
             domain.wide_value(R3, map, 0), call(BPF_FUNC_strncmp), leave()})));
    };
    EXPECT_EQ(compare(0x636261, 8), 0);
    EXPECT_LT(compare(0x626261, 8), 0);
    EXPECT_GT(compare(0x646261, 8), 0);
    EXPECT_EQ(compare(0x646261, 2), 0);
}

// ---- Stacks -------------------------------------------------------------------------------------

class StackTest : public HelperTest {
protected:
    void SetUp() override {
        // Four frames: 0x1000 called by 0x2000 called by 0x3000 called by 0x4000.
        registers_.uc_mcontext.gregs[REG_RIP] = 0x1000;
        registers_.uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(&frames_[0]);
        registers_.uc_mcontext.gregs[REG_RBP] = reinterpret_cast<greg_t>(&frames_[2]);
        link(2, 4, 0x2000);
        link(4, 8, 0x3000);
        frames_[8] = 0;
        frames_[9] = 0x4000;
    }
    void link(std::size_t at, std::size_t next, std::uint64_t address) {
        frames_[at] = reinterpret_cast<std::uint64_t>(&frames_[next]);
        frames_[at + 1] = address;
    }
    /// bpf_get_stack(ctx, buffer of 8 words that start as ~0, size, flags) in nmi.
    std::int64_t get_stack(std::int64_t size, std::uint64_t flags) {
        std::vector<Piece> pieces{copy(R6, R1), set(R1, -1)};
        for (int i = 1; i <= 8; ++i) {
            pieces.push_back(store(BPF_DW, R10, -8 * i, R1));
        }
        pieces.insert(pieces.end(), {copy(R1, R6), copy(R2, R10), add(R2, -64), set(R3, size),
                                     wide(R4, flags), call(BPF_FUNC_get_stack), leave()});
        const auto result = static_cast<std::int64_t>(
            domain.run_in_nmi(load_pieces(pieces), &context_, sizeof(context_), &registers_));
        EXPECT_FALSE(domain.execution.faulted);
        std::memcpy(stack_,
                    task::current()->bpf_stack[static_cast<unsigned>(Level::nmi)] + kFrameBytes -
                        64,
                    sizeof(stack_));
        return result;
    }
    std::vector<std::uint64_t> stack(std::size_t count) const { return {stack_, stack_ + count}; }

    ucontext_t registers_{};
    std::uint64_t frames_[16] = {};
    std::uint64_t context_ = 0;
    std::uint64_t stack_[8] = {};
};

TEST_F(StackTest, follows_frame_pointers_and_clears_the_rest_of_the_buffer) {
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 32);
    EXPECT_EQ(stack(8), (std::vector<std::uint64_t>{0x1000, 0x2000, 0x3000, 0x4000, 0, 0, 0, 0}));
}

TEST_F(StackTest, keeps_the_innermost_frames_of_a_deep_stack) {
    EXPECT_EQ(get_stack(16, BPF_F_USER_STACK), 16);
    EXPECT_EQ(stack(3), (std::vector<std::uint64_t>{0x1000, 0x2000, ~std::uint64_t{0}}));
    EXPECT_EQ(get_stack(0, BPF_F_USER_STACK), 0);
    EXPECT_EQ(stack_[0], ~std::uint64_t{0});
}

TEST_F(StackTest, skips_frames) {
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | 1), 24);
    EXPECT_EQ(stack(3), (std::vector<std::uint64_t>{0x2000, 0x3000, 0x4000}));
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | 4), 0);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | 5), -EFAULT);
    EXPECT_EQ(stack_[0], 0u);
}

TEST_F(StackTest, stops_at_frames_that_do_not_lie_above_the_one_before) {
    link(4, 2, 0x3000);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 24);
    link(4, 4, 0x3000);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 24);
    frames_[4] = 12345;  // unreadable, and odd
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 24);
    registers_.uc_mcontext.gregs[REG_RBP] = 0;  // used for something else
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 8);
    registers_.uc_mcontext.gregs[REG_RBP] = std::int64_t{1} << 46;
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 8);
}

TEST_F(StackTest, refuses_bad_sizes_and_flags_and_finds_the_kernels_part_empty) {
    EXPECT_EQ(get_stack(12, BPF_F_USER_STACK), -EINVAL);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | BPF_F_USER_BUILD_ID), -EINVAL);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | std::uint64_t{1} << 20), -EINVAL);
    EXPECT_EQ(stack_[0], 0u);
    EXPECT_EQ(get_stack(64, 0), 0);
    EXPECT_EQ(stack_[0], 0u);
}

TEST_F(StackTest, wants_the_context_of_the_program) {
    std::uint64_t context = 0;
    domain.expect_fault(domain.load({copy(R1, R10), copy(R2, R10), add(R2, -8), set(R3, 8),
                                     set(R4, BPF_F_USER_STACK), call(BPF_FUNC_get_stack), leave()}),
                        FaultKind::bad_argument, 5, &context, sizeof(context));
}

// ---- Who and when -------------------------------------------------------------------------------

TEST_F(HelperTest, tells_who_runs) {
    const std::uint64_t ids = call_with(BPF_FUNC_get_current_pid_tgid, {});
    EXPECT_EQ(ids >> 32, static_cast<std::uint64_t>(getpid()));
    EXPECT_EQ(ids & 0xffffffff, static_cast<std::uint64_t>(gettid()));
    const std::uint64_t owner = call_with(BPF_FUNC_get_current_uid_gid, {});
    EXPECT_EQ(owner >> 32, getgid());
    EXPECT_EQ(owner & 0xffffffff, getuid());
    EXPECT_EQ(call_with(BPF_FUNC_get_current_task, {}),
              reinterpret_cast<std::uint64_t>(task::current()->view));
    EXPECT_EQ(call_with(BPF_FUNC_get_current_task_btf, {}),
              call_with(BPF_FUNC_get_current_task, {}));
    EXPECT_LT(call_with(BPF_FUNC_get_smp_processor_id, {}),
              static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF)));
    EXPECT_LT(call_with(BPF_FUNC_get_numa_node_id, {}), 1024u);
}

TEST_F(HelperTest, tells_the_name_of_the_thread_cut_and_padded) {
    prctl(PR_SET_NAME, "name-of-thread");
    const auto name = [&](std::int64_t size) {
        domain.run(
            domain.load({set(R1, -1), store(BPF_DW, R10, -8, R1), store(BPF_DW, R10, -16, R1),
                         store(BPF_DW, R10, -24, R1), copy(R1, R10), add(R1, -24), set(R2, size),
                         call(BPF_FUNC_get_current_comm), leave()}));
        return std::string(
            reinterpret_cast<const char*>(task::current()->bpf_stack[0]) + kFrameBytes - 24, 24);
    };
    EXPECT_EQ(name(16), std::string("name-of-thread\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 24));
    EXPECT_EQ(name(5).substr(0, 6), std::string("name\0\xff", 6));
    EXPECT_EQ(name(20).substr(0, 21), std::string("name-of-thread\0\0\0\0\0\0\xff", 21));
    expect_bad_argument(
        {copy(R1, R10), add(R1, -8), set(R2, 0), call(BPF_FUNC_get_current_comm), leave()}, 3);
}

TEST_F(HelperTest, tells_the_time_by_the_clock_asked_for) {
    const auto near = [&](int id, clockid_t clock, std::uint64_t tolerance_ns) {
        timespec now{};
        clock_gettime(clock, &now);
        const auto before = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
                            static_cast<std::uint64_t>(now.tv_nsec);
        const std::uint64_t told = call_with(id, {});
        EXPECT_GE(told + tolerance_ns, before) << helper_name(id);
        EXPECT_LT(told, before + 60'000'000'000U) << helper_name(id);
    };
    near(BPF_FUNC_ktime_get_ns, CLOCK_MONOTONIC, 0);
    near(BPF_FUNC_ktime_get_boot_ns, CLOCK_BOOTTIME, 0);
    near(BPF_FUNC_ktime_get_coarse_ns, CLOCK_MONOTONIC, 20'000'000);
    near(BPF_FUNC_ktime_get_tai_ns, CLOCK_TAI, 0);
}

TEST_F(HelperTest, draws_random_numbers_of_32_bits) {
    std::uint64_t ones = 0;
    std::uint64_t zeros = 0;
    for (int i = 0; i < 64; ++i) {
        const std::uint64_t draw = call_with(BPF_FUNC_get_prandom_u32, {});
        EXPECT_EQ(draw >> 32, 0u);
        ones |= draw;
        zeros |= ~draw;
    }
    // Each bit was 0 and 1: the chance of the contrary is 1 in 2^58.
    EXPECT_EQ(ones & 0xffffffff, 0xffffffffu);
    EXPECT_EQ(zeros & 0xffffffff, 0xffffffffu);
}

TEST_F(HelperTest, tells_the_attach_cookie) {
    Program& program = domain.load({call(BPF_FUNC_get_attach_cookie), leave()});
    std::uint64_t context = 0;
    Execution execution;
    execution.task = task::current();
    execution.program = &program;
    execution.context = &context;
    execution.context_size = sizeof(context);
    execution.cookie = 0x1234567890;
    EXPECT_EQ(bpf::run(execution), 0x1234567890u);
    expect_bad_argument({set(R1, 0), call(BPF_FUNC_get_attach_cookie), leave()}, 1);
}

}  // namespace
}  // namespace taskwork::bpf
