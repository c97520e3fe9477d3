// SPDX-License-Identifier: Apache-2.0
//
// Random scripts of commands for the kinds whose answers are determined. They are seeded; the seed
// is in the failure.

#include <algorithm>
#include <random>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

class Scripts : public MapsOfBoth, public testing::WithParamInterface<Shape> {
protected:
    static constexpr std::uint32_t kBatch = 5;

    [[nodiscard]] static std::uint32_t key_count() {
        return GetParam().keys != 0 ? GetParam().keys : GetParam().max_entries * 2;
    }
    std::uint32_t random(std::uint32_t below) {
        return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random_);
    }
    Bytes random_key() {
        const Shape& shape = GetParam();
        Bytes key(shape.key_size);
        std::uint32_t number = random(key_count());
        if (shape.type == BPF_MAP_TYPE_LPM_TRIE) {
            // Prefixes that have much in common; some are longer than the key.
            number = random(static_cast<std::uint32_t>(shape.key_size - 4) * 8 + 2);
            for (std::size_t i = 4; i < key.size(); ++i) {
                key[i] = random(3) == 0 ? static_cast<std::uint8_t>(1U << random(8)) : 0;
            }
        }
        std::memcpy(key.data(), &number, std::min(key.size(), sizeof number));
        return key;
    }
    Bytes random_value() {
        Bytes value(value_bytes(GetParam()));
        for (std::uint8_t& byte : value) {
            byte = static_cast<std::uint8_t>(random(256));
        }
        if (GetParam().type == BPF_MAP_TYPE_BLOOM_FILTER) {
            // Few: neither side is to meet one that it takes for another.
            std::fill(value.begin(), value.end(), value.front() % 64);
        }
        return value;
    }
    Request next_request() {
        static constexpr int kCommands[] = {
            BPF_MAP_LOOKUP_ELEM,  BPF_MAP_LOOKUP_ELEM,  BPF_MAP_UPDATE_ELEM,
            BPF_MAP_UPDATE_ELEM,  BPF_MAP_UPDATE_ELEM,  BPF_MAP_UPDATE_ELEM,
            BPF_MAP_DELETE_ELEM,  BPF_MAP_GET_NEXT_KEY, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
            BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_BATCH,
        };
        static constexpr std::uint64_t kFlags[] = {
            BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK, BPF_F_LOCK | BPF_EXIST, 8, 16, 1ULL << 32};
        Request request;
        request.command = kCommands[random(std::size(kCommands))];
        // Mostly as the kind has it, sometimes a key too many or too few.
        request.has_key = (GetParam().key_size != 0) == (random(64) != 0);
        request.key = random_key();
        if (request.key.empty()) {
            request.key.resize(1);
        }
        request.value = random_value();
        if (random(3) == 0) {
            request.flags = kFlags[random(std::size(kFlags))];
        }
        if (request.command >= BPF_MAP_LOOKUP_BATCH && request.command <= BPF_MAP_DELETE_BATCH) {
            request.count = random(kBatch + 1);
            for (std::uint32_t i = 1; i < kBatch; ++i) {
                const Bytes key = random_key();
                request.key.insert(request.key.end(), key.begin(), key.end());
                const Bytes value = random_value();
                request.value.insert(request.value.end(), value.begin(), value.end());
            }
        }
        return request;
    }
    /// All elements by lookups of all keys that scripts use.
    void expect_equal_contents(int ours, int kernel) {
        for (std::uint32_t number = 0; number < key_count(); ++number) {
            Request request;
            request.command = BPF_MAP_LOOKUP_ELEM;
            request.key.resize(std::max<std::size_t>(GetParam().key_size, 4));
            std::memcpy(request.key.data(), &number, 4);
            request.has_key = GetParam().key_size != 0;
            request.value.resize(value_bytes(GetParam()));
            ASSERT_EQ(ask(our_bpf, ours, request), ask(kernel_bpf, kernel, request));
        }
        Request walk;
        walk.command = BPF_MAP_GET_NEXT_KEY;
        walk.has_key = false;
        walk.key.resize(std::max(GetParam().key_size, 1U));
        while (walks_in_order()) {
            const Answer expected = ask(kernel_bpf, kernel, walk);
            ASSERT_EQ(ask(our_bpf, ours, walk), expected);
            if (expected.result != 0) {
                break;
            }
            walk.has_key = true;
            std::copy_n(expected.key.begin(), walk.key.size(), walk.key.begin());
        }
    }
    /// Whether what a request answers is said by the order of a walk that each side has for itself.
    [[nodiscard]] bool is_unordered(const Request& request) const {
        return !walks_in_order() &&
               (request.command == BPF_MAP_GET_NEXT_KEY || request.command == BPF_MAP_LOOKUP_BATCH);
    }
    /// Whether get_next_key goes in an order that both must have.
    [[nodiscard]] bool walks_in_order() const {
        switch (GetParam().type) {
        case BPF_MAP_TYPE_HASH:
        case BPF_MAP_TYPE_PERCPU_HASH:
        case BPF_MAP_TYPE_LRU_HASH:
        case BPF_MAP_TYPE_LRU_PERCPU_HASH:
            return false;
        default:
            return true;
        }
    }

    std::minstd_rand random_;
};

TEST_P(Scripts, give_the_same_answers) {
    for (unsigned seed = 1; seed <= scripts().count; ++seed) {
        random_.seed(seed);
        close_all();
        int ours = -1;
        int kernel = -1;
        ASSERT_NO_FATAL_FAILURE(make(GetParam(), ours, kernel));
        for (unsigned i = 0; i < scripts().operations; ++i) {
            const Request request = next_request();
            if (is_unordered(request)) {
                continue;
            }
            const Answer expected = ask(kernel_bpf, kernel, request);
            const Answer answer = ask(our_bpf, ours, request);
            ASSERT_EQ(answer, expected)
                << "seed " << seed << ", operation " << i << ": command " << request.command
                << ", flags " << request.flags << ", key "
                << (request.has_key ? testing::PrintToString(request.key) : "none");
        }
        ASSERT_NO_FATAL_FAILURE(expect_equal_contents(ours, kernel)) << "seed " << seed;
        Request freeze;
        freeze.command = BPF_MAP_FREEZE;
        ASSERT_EQ(ask(our_bpf, ours, freeze), ask(kernel_bpf, kernel, freeze));
        for (unsigned i = 0; i < 100; ++i) {
            const Request request = next_request();
            if (is_unordered(request)) {
                continue;
            }
            ASSERT_EQ(ask(our_bpf, ours, request), ask(kernel_bpf, kernel, request))
                << "frozen; command " << request.command;
        }
    }
}

const Shape kShapes[] = {
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 12, 7},
    {"queue_of_one", BPF_MAP_TYPE_QUEUE, 0, 1, 1},
    {"stack", BPF_MAP_TYPE_STACK, 0, 12, 7},
    {"stack_of_one", BPF_MAP_TYPE_STACK, 0, 8, 1},
    {"array", BPF_MAP_TYPE_ARRAY, 4, 12, 7},
    {"hash", BPF_MAP_TYPE_HASH, 5, 12, 7},
    {"hash_on_demand", BPF_MAP_TYPE_HASH, 8, 8, 7, BPF_F_NO_PREALLOC},
    {"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 12, 7},
    {"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 5, 12, 7},
    {"percpu_hash_on_demand", BPF_MAP_TYPE_PERCPU_HASH, 8, 8, 7, BPF_F_NO_PREALLOC},
    // Never full: what they evict is the subject of lru_test.cpp.
    {"lru_hash", BPF_MAP_TYPE_LRU_HASH, 5, 12, 1000, 0, 0, 14},
    {"lru_hash_own_lists", BPF_MAP_TYPE_LRU_HASH, 8, 8, 1000, BPF_F_NO_COMMON_LRU, 0, 14},
    {"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 5, 12, 1000, 0, 0, 14},
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 16, 7},           // empty: users put nothing in
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 7},              // no number here is of a program
    {"perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 7},  // nor of an event
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 12, 1000},
    {"bloom_filter_of_two", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 10000, 0, 2},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 12, 20, BPF_F_NO_PREALLOC},
    {"lpm_trie_of_bytes", BPF_MAP_TYPE_LPM_TRIE, 5, 1, 100, BPF_F_NO_PREALLOC},
    {"lpm_trie_of_long_keys", BPF_MAP_TYPE_LPM_TRIE, 68, 8, 50, BPF_F_NO_PREALLOC},
};

INSTANTIATE_TEST_SUITE_P(Kinds, Scripts, testing::ValuesIn(kShapes), name_of);

}  // namespace
}  // namespace taskwork::test
