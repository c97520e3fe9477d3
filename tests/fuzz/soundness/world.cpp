// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/world.hpp"

#include <cstdlib>
#include <cstring>
#include <thread>

#include "bpf/verifier/log.hpp"
#include "map/program_array.hpp"
#include "map/ring_buffer.hpp"
#include "tests/fuzz/soundness/instructions.hpp"

namespace taskwork::fuzz {

map::Map& World::special_array(std::int32_t map::SpecialFields::* field) {
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_ARRAY;
    spec.key_size = 4;
    spec.value_size = MapFds::kSpecialAt + sizeof(std::uint64_t);
    spec.max_entries = 2;
    spec.btf_value_type_id = 1;
    spec.fields.*field = MapFds::kSpecialAt;
    return domain.add_map(spec);
}

namespace {

map::Map& program_array(bpf::test::BpfDomain& domain) {
    map::set_program_release(
        [](void* program) noexcept { bpf::put_program(*static_cast<bpf::Program*>(program)); });
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_PROG_ARRAY;
    spec.key_size = 4;
    spec.value_size = 4;
    spec.max_entries = 2;
    return domain.add_map(spec);
}

constexpr std::uint32_t kProgramIndex = 0;

}  // namespace

World::World()
    : values(&domain.array(64, 2)), hash(&domain.hash(4, 48, kHashKeys)), ring(&domain.ring(4096)),
      direct(&domain.array(128, 1)), constants(&domain.array(128, 1, BPF_F_RDONLY_PROG)),
      spin(&special_array(&map::SpecialFields::spin_lock)),
      resilient(&special_array(&map::SpecialFields::res_spin_lock)),
      works(&special_array(&map::SpecialFields::task_work)), programs(&program_array(domain)),
      context(kSyscallBytes / sizeof(std::uint64_t)) {
    const auto fd = [this](const map::Map& map) {
        return domain.wide_map(bpf::test::R1, map).insns[0].imm;
    };
    fds = {fd(*values), fd(*hash),      fd(*ring),  fd(*direct),  fd(*constants),
           fd(*spin),   fd(*resilient), fd(*works), fd(*programs)};
    std::uint64_t drawn[16];
    for (std::uint64_t& each : drawn) {
        each = word();
    }
    const std::uint32_t key = 0;
    EXPECT_EQ(map::update_by_user(*constants, &key, drawn, BPF_ANY), no_error);
    EXPECT_EQ(map::freeze(*constants), no_error);
}

std::uint64_t World::word() {
    const std::uint64_t bits = random.draw();
    const std::uint64_t drawn = random.draw() >> (bits % 64);
    return (bits & 64) != 0 ? drawn : 0 - drawn;
}

void World::fill(void* to, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
        const std::uint64_t drawn = word();
        std::memcpy(static_cast<char*>(to) + i, &drawn, sizeof(drawn));
    }
}

void World::empty_ring() {
    map::ring_consume(*ring, [](void*, void*, std::size_t) { return 0L; }, nullptr);
}

void World::fill_ring(const std::function<void(void* bytes, std::size_t size)>& fill) {
    empty_ring();
    // By records, whose headers the ring relies on; the next one's takes the place of the first's.
    for (int half = 0; half < 2; ++half) {
        const std::size_t size = ring->max_entries / 2 - BPF_RINGBUF_HDR_SZ;
        void* const record = map::ring_reserve(*ring, size, 0, task::current()->process);
        if (record == nullptr) {
            std::abort();
        }
        fill(record, size);
        map::ring_discard(record, BPF_RB_NO_WAKEUP);
        empty_ring();
    }
}

void World::fill_arrays() {
    for (map::Map* map : {values, direct}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            fill(map::lookup(*map, &key), map->value_size);
        }
    }
    for (map::Map* map : {spin, resilient, works}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            fill(map::lookup(*map, &key), MapFds::kSpecialAt);
        }
    }
}

void World::fill_element(std::uint32_t key) {
    std::uint64_t value[6];
    void* const found = map::lookup(*hash, &key);
    fill(found == nullptr ? value : found, sizeof(value));
    if (found == nullptr) {
        static_cast<void>(map::update_by_user(*hash, &key, value, BPF_ANY));
    }
}

void World::fill_maps() {
    fill_arrays();
    for (std::uint32_t key = 0; key < kHashKeys; ++key) {
        if (key < kHashKeys / 2) {
            fill_element(key);
        } else {
            static_cast<void>(map::remove(*hash, &key));
        }
    }
}

bpf::LoadSpec World::spec_of(const Generated& program) {
    bpf::LoadSpec spec = domain.spec();
    spec.unverified = false;
    spec.type = program.type;
    spec.flags = program.type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
    spec.insns = program.insns.data();
    spec.insn_count = static_cast<std::uint32_t>(program.insns.size());
    spec.functions = program.functions;
    return spec;
}

Result<bpf::Program*> World::load(const bpf::LoadSpec& spec, std::string& log,
                                  const std::function<void()>& before) {
    for (;;) {
        before();
        log.clear();
        auto loaded = bpf::load_program(spec, log);
        if (loaded || loaded.error().code != std::errc::not_enough_memory) {
            return loaded;
        }
        std::this_thread::yield();  // The worker gives back those that were put.
    }
}

void World::put_in_reach(bpf::Program& program) {
    if (program.type != BPF_PROG_TYPE_PERF_EVENT) {
        return;
    }
    bpf::get_program(program);
    EXPECT_EQ(map::put_entry(*programs, &kProgramIndex,
                             {&program, program.id, {program.type, 0}, nullptr}),
              no_error);
}

void World::no_program_in_reach() { static_cast<void>(map::remove(*programs, &kProgramIndex)); }

World::Run World::run(bpf::Program& program, bool interpret, std::int64_t budget) {
    bpf::Execution execution;
    execution.task = task::current();
    execution.program = &program;
    execution.context = context.data();
    execution.context_size = context_bytes(program);
    execution.context_writable = program.type == BPF_PROG_TYPE_SYSCALL;
    execution.interpret = interpret;
    execution.budget = budget;
    const std::uint64_t result = bpf::run(execution);
    return {result, execution.faulted ? program.last_fault_kind.load(std::memory_order_relaxed) : 0,
            execution.budget};
}

std::uint64_t seed_of(std::span<const std::uint8_t> bytes) {
    std::uint64_t seed = 0xcbf29ce484222325U;
    for (const std::uint8_t byte : bytes) {
        seed = (seed ^ byte) * 0x100000001b3U;
    }
    return seed;
}

std::string listing(const std::string& what, const Generated& program) {
    std::vector<bpf_insn> insns = program.insns;
    const std::int32_t first_kfunc = bpf::test::BpfDomain::call_kfunc(bpf::kfunc(0).name).imm;
    std::string text = what + "\n";
    for (std::uint32_t i = 0; i < insns.size(); ++i) {
        if (calls(insns[i], CallKind::kfunc)) {
            const auto number = static_cast<std::uint32_t>(insns[i].imm - first_kfunc);
            insns[i].imm = static_cast<std::int32_t>(number < bpf::kKfuncs ? number : 0);
        }
        text += std::to_string(i) + ": " + bpf::verifier::describe(insns, i) + "\n";
        i += insns[i].code == bpf::kLoadImmediate64 ? 1 : 0;
    }
    return text;
}

}  // namespace taskwork::fuzz
