// SPDX-License-Identifier: Apache-2.0
//
// The LRU kinds when they are full. Which element is evicted is each side's own, so the two are not
// compared with each other but both with one model of the contract: what a command answers follows
// from what is in the map, and only an update takes anything out that was not asked for. What is
// more, of ours: the kernel evicts before it looks at the key, also for an update that then fails
// or replaces, and long before a map is full if its other lists have room.
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

/// A program that looks up the key that it is given: 1 if it is there.
int make_toucher(Bpf bpf, int map) {
    const bpf_insn insns[] = {
        {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 6, .src_reg = 1},
        {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 6, .off = -8},
        {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10},
        {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -8},
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
        {},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .off = 1},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
        {.code = BPF_JMP | BPF_EXIT},
    };
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_SYSCALL;
    attr.insns = reinterpret_cast<std::uintptr_t>(insns);
    attr.insn_cnt = std::size(insns);
    attr.license = reinterpret_cast<std::uintptr_t>("GPL");
    attr.prog_flags = BPF_F_SLEEPABLE;
    return static_cast<int>(bpf(BPF_PROG_LOAD, attr));
}

long touch(Bpf bpf, int program, std::uint64_t key) {
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.test.prog_fd = static_cast<std::uint32_t>(program);
    attr.test.ctx_in = reinterpret_cast<std::uintptr_t>(&key);
    attr.test.ctx_size_in = sizeof key;
    const long result = bpf(BPF_PROG_TEST_RUN, attr);
    return result < 0 ? result : static_cast<long>(attr.test.retval);
}

Request request_of(int command, std::uint64_t key, const Bytes& value, std::uint64_t flags = 0) {
    Request request;
    request.command = command;
    request.key.resize(sizeof key);
    std::memcpy(request.key.data(), &key, sizeof key);
    request.value = value;
    request.flags = flags;
    return request;
}

/// One side, and what it must hold.
struct Side {
    Bpf bpf;
    int map;
    int toucher;
    std::size_t value_size;  ///< As users have it.
    std::uint32_t keys;
    std::map<std::uint64_t, Bytes> content;
    std::set<std::uint64_t> fresh;   ///< Neither looked up nor replaced since they were put there.
    std::set<std::uint64_t> recent;  ///< Looked up or replaced since the last eviction.
    std::uint64_t evictions = 0;

    /// What the command must answer, and does to what is there; an update has room.
    long specify(const Request& request, std::uint64_t key) {
        const auto found = content.find(key);
        const bool present = found != content.end();
        switch (request.command) {
        case BPF_MAP_LOOKUP_ELEM:
        case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
            if (request.flags != 0) {
                return -EINVAL;
            }
            if (!present) {
                return -ENOENT;
            }
            if (request.command == BPF_MAP_LOOKUP_AND_DELETE_ELEM) {
                drop(key);
            }
            return 0;
        case BPF_MAP_DELETE_ELEM:
            drop(key);
            return present ? 0 : -ENOENT;
        default:
            break;
        }
        if (request.flags > BPF_EXIST) {
            return -EINVAL;
        }
        if (present && request.flags == BPF_NOEXIST) {
            return -EEXIST;
        }
        if (!present && request.flags == BPF_EXIST) {
            return -ENOENT;
        }
        content[key] = request.value;
        if (present) {
            fresh.erase(key);
            recent.insert(key);
        } else {
            fresh.insert(key);
        }
        return 0;
    }
    void drop(std::uint64_t key) {
        content.erase(key);
        fresh.erase(key);
        recent.erase(key);
    }
    /// Asks for everything, as a user, which changes nothing; the keys that have gone.
    std::set<std::uint64_t> look() {
        Request all;
        all.command = BPF_MAP_LOOKUP_BATCH;
        all.count = 2 * keys;
        all.key.resize(all.count * sizeof(std::uint64_t));
        all.value.resize(all.count * value_size);
        const Answer answer = ask(bpf, map, all);
        EXPECT_EQ(answer.result, -ENOENT) << "it ends";
        std::set<std::uint64_t> gone;
        for (const auto& [key, value] : content) {
            gone.insert(key);
        }
        for (std::uint32_t i = 0; i < answer.count; ++i) {
            std::uint64_t key = 0;
            std::memcpy(&key, answer.key.data() + i * sizeof key, sizeof key);
            EXPECT_EQ(gone.erase(key), 1U) << "key " << key << " is there and should not, or twice";
            EXPECT_TRUE(
                std::equal(content[key].begin(), content[key].end(),
                           answer.value.begin() + static_cast<std::ptrdiff_t>(i * value_size)))
                << "key " << key;
        }
        return gone;
    }
};

class FullLru : public MapsOfBoth, public testing::WithParamInterface<Shape> {
protected:
    void SetUp() override {
        MapsOfBoth::SetUp();
        // On one processor: lists of their own are of the one that inserts.
        ::sched_getaffinity(0, sizeof allowed_, &allowed_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(::sched_getcpu(), &one);
        ::sched_setaffinity(0, sizeof one, &one);
    }
    void TearDown() override {
        ::sched_setaffinity(0, sizeof allowed_, &allowed_);
        MapsOfBoth::TearDown();
    }
    void make_sides(const Shape& shape, std::uint32_t keys, Side& ours, Side& kernel) {
        ours = {our_bpf, -1, -1, value_bytes(shape), keys};
        kernel = {kernel_bpf, -1, -1, value_bytes(shape), keys};
        ASSERT_NO_FATAL_FAILURE(make(shape, ours.map, kernel.map));
        ours.toucher = make_toucher(our_bpf, ours.map);
        kernel.toucher = make_toucher(kernel_bpf, kernel.map);
        ASSERT_GE(ours.toucher, 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel.toucher, 0);
        ours_.push_back(ours.toucher);
        kernel_.push_back(kernel.toucher);
    }
    std::uint32_t random(std::uint32_t below) {
        return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random_);
    }
    Request next_request() {
        static constexpr int kCommands[] = {BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM,
                                            BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM,
                                            BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM};
        static constexpr std::uint64_t kFlags[] = {BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK, 8};
        Bytes value(value_bytes(GetParam()));
        for (std::uint8_t& byte : value) {
            byte = static_cast<std::uint8_t>(random(256));
        }
        // Fewer deletions than insertions: mostly full.
        int command = kCommands[random(std::size(kCommands))];
        if (command != BPF_MAP_LOOKUP_ELEM && command != BPF_MAP_UPDATE_ELEM && random(4) != 0) {
            command = BPF_MAP_UPDATE_ELEM;
        }
        return request_of(command, random(kKeys), value,
                          random(4) == 0 ? kFlags[random(std::size(kFlags))] : 0);
    }
    static constexpr std::uint32_t kKeys = 24;
    std::minstd_rand random_;
    cpu_set_t allowed_;
};

void expect_contract(Side& side, const Request& request, std::uint64_t key, bool is_strict) {
    const bool is_update = request.command == BPF_MAP_UPDATE_ELEM;
    const Side before = side;
    const Answer answer = ask(side.bpf, side.map, request);
    long expected = side.specify(request, key);
    if (!is_strict && is_update && answer.result != expected) {
        // It has evicted the very element that it then looked for.
        side = before;
        side.drop(key);
        expected = side.specify(request, key);
    }
    ASSERT_EQ(answer.result, expected)
        << "command " << request.command << ", flags " << request.flags << ", key " << key;
    if (answer.result == 0 && (request.command == BPF_MAP_LOOKUP_ELEM ||
                               request.command == BPF_MAP_LOOKUP_AND_DELETE_ELEM)) {
        ASSERT_EQ(answer.value, before.content.at(key));
    }
    if (!is_update) {
        return;
    }
    const std::set<std::uint64_t> gone = side.look();
    side.evictions += gone.size();
    if (is_strict && !gone.empty()) {
        const auto victim = *gone.begin();
        ASSERT_EQ(gone.size(), 1U);
        ASSERT_EQ(expected, 0);
        ASSERT_NE(victim, key);
        ASSERT_EQ(before.content.count(key), 0U) << "a replacement evicts nothing";
    }
    for (const std::uint64_t victim : gone) {
        if (is_strict && !before.fresh.empty()) {
            ASSERT_EQ(before.recent.count(victim), 0U)
                << victim << " was referenced, and there were others that were not";
        }
        side.drop(victim);
    }
    if (!gone.empty()) {
        side.recent.clear();
    }
}

TEST_P(FullLru, keeps_the_contract_that_the_kernel_keeps) {
    const Scripting scripting = scripts();
    for (unsigned seed = 1; seed <= scripting.count; ++seed) {
        random_.seed(seed);
        close_all();
        Side ours{};
        Side kernel{};
        ASSERT_NO_FATAL_FAILURE(make_sides(GetParam(), kKeys, ours, kernel));
        for (unsigned i = 0; i < (is_long() ? scripting.operations : 2000U); ++i) {
            const testing::ScopedTrace trace(
                __FILE__, __LINE__, testing::Message() << "seed " << seed << ", operation " << i);
            const std::uint64_t key = random(kKeys);
            if (random(3) == 0) {
                for (Side* side : {&ours, &kernel}) {
                    const bool present = side->content.count(key) != 0;
                    ASSERT_EQ(touch(side->bpf, side->toucher, key), present ? 1 : 0);
                    if (present) {
                        side->fresh.erase(key);
                        side->recent.insert(key);
                    }
                }
                continue;
            }
            Request request = next_request();
            std::uint64_t asked = 0;
            std::memcpy(&asked, request.key.data(), sizeof asked);
            const std::size_t before = ours.content.size();
            const bool is_new = ours.content.count(asked) == 0;
            ASSERT_NO_FATAL_FAILURE(expect_contract(kernel, request, asked, false)) << "the kernel";
            ASSERT_NO_FATAL_FAILURE(expect_contract(ours, request, asked, true)) << "here";
            ASSERT_FALSE(HasFailure());
            ASSERT_LE(ours.content.size(), GetParam().max_entries);
            if (before == GetParam().max_entries && is_new) {
                ASSERT_GE(ours.content.size(), before) << "it was full and is not any more";
            }
        }
        EXPECT_GT(ours.evictions, 50U);
        EXPECT_GT(kernel.evictions, 50U);
    }
}

/// Of a skewed choice of keys, put there when they are missing, how many are found?
TEST_P(FullLru, finds_as_many_of_a_skewed_choice_of_keys_as_the_kernel) {
    Shape shape = GetParam();
    shape.max_entries = 256;
    constexpr std::uint32_t kMany = 2048;
    Side ours{};
    Side kernel{};
    ASSERT_NO_FATAL_FAILURE(make_sides(shape, kMany, ours, kernel));
    std::vector<double> weights;
    for (std::uint32_t key = 0; key < kMany; ++key) {
        weights.push_back(1 / std::pow(key + 1.0, 0.9));
    }
    std::discrete_distribution<std::uint32_t> choose(weights.begin(), weights.end());
    unsigned found[2] = {};
    const Bytes value(value_bytes(shape));
    constexpr unsigned kTries = 20'000;
    for (unsigned i = 0; i < kTries; ++i) {
        const std::uint32_t key = choose(random_);
        for (const Side* side : {&ours, &kernel}) {
            const long hit = touch(side->bpf, side->toucher, key);
            ASSERT_GE(hit, 0);
            found[side == &kernel] += static_cast<unsigned>(hit);
            if (hit == 0) {
                ASSERT_EQ(
                    ask(side->bpf, side->map, request_of(BPF_MAP_UPDATE_ELEM, key, value)).result,
                    0);
            }
        }
    }
    RecordProperty("found_here", static_cast<int>(found[0]));
    RecordProperty("found_in_the_kernel", static_cast<int>(found[1]));
    EXPECT_GE(found[0], found[1] - kTries / 50) << "of " << kTries;
}

/// Lists of their own: as many entries each.
TEST_P(FullLru, says_how_many_entries_it_has) {
    for (std::uint32_t entries : {1U, 2U, 3U, 7U, 8U, 101U}) {
        Shape shape = GetParam();
        shape.max_entries = entries;
        int ours = -1;
        int kernel = -1;
        ASSERT_NO_FATAL_FAILURE(make(shape, ours, kernel));
        EXPECT_EQ(info_of<bpf_map_info>(our_bpf, ours).max_entries,
                  info_of<bpf_map_info>(kernel_bpf, kernel).max_entries)
            << entries;
    }
}

const Shape kFull[] = {
    {"lru_hash", BPF_MAP_TYPE_LRU_HASH, 8, 12, 8},
    {"lru_hash_own_lists", BPF_MAP_TYPE_LRU_HASH, 8, 8, 8, BPF_F_NO_COMMON_LRU},
    {"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 8, 8, 8},
    {"lru_percpu_hash_own_lists", BPF_MAP_TYPE_LRU_PERCPU_HASH, 8, 8, 8, BPF_F_NO_COMMON_LRU},
};

INSTANTIATE_TEST_SUITE_P(Kinds, FullLru, testing::ValuesIn(kFull), name_of);

}  // namespace
}  // namespace taskwork::test
