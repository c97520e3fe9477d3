// SPDX-License-Identifier: Apache-2.0
//
// Random scripts of commands for the kinds whose answers are determined: every command of elements
// and batches with flags that exist and that do not, on maps that never fill up, that are just full
// and that are too small for the keys, of which some hash tables have all in one bucket. They are
// seeded; the seed is in the failure.
//
//   TASKWORK_SCRIPTS  scripts a kind (4; 1,000 with TASKWORK_PROVE)

#include <algorithm>
#include <array>
#include <vector>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

class Scripts : public MapsOfBoth, public testing::WithParamInterface<Shape> {
protected:
    static constexpr std::uint32_t kBatch = 5;

    void start(unsigned seed) {
        random_.start(seed);
        const std::uint32_t entries = GetParam().max_entries;
        keys_ = GetParam().keys != 0 ? GetParam().keys
                                     : std::array{entries * 2, entries + 1, entries}[seed % 3];
    }
    std::uint32_t random(std::uint32_t below) {
        return static_cast<std::uint32_t>(random_.below(below));
    }
    void draw_bytes(std::uint8_t* bytes, std::size_t size) {
        for (std::size_t at = 0; at < size; at += 8) {
            const std::uint64_t drawn = random_.draw();
            std::memcpy(bytes + at, &drawn, std::min<std::size_t>(8, size - at));
        }
    }
    /// The number at the beginning and, of a key that is longer, at the end.
    static void write_key(std::uint8_t* key, std::uint32_t number) {
        const std::size_t size = GetParam().key_size;
        std::memset(key, 0, size);
        std::memcpy(key, &number, std::min(size, sizeof number));
        if (size > sizeof number && GetParam().type != BPF_MAP_TYPE_LPM_TRIE) {
            key[size - 1] = static_cast<std::uint8_t>(number);
        }
    }
    void draw_key(std::uint8_t* key) {
        const std::size_t size = GetParam().key_size;
        if (GetParam().type != BPF_MAP_TYPE_LPM_TRIE) {
            write_key(key, random(keys_));
            return;
        }
        // Prefixes that have much in common; some are longer than the key.
        write_key(key, random(static_cast<std::uint32_t>(size - 4) * 8 + 2));
        for (std::size_t i = 4; i < size; ++i) {
            key[i] = random(3) == 0 ? static_cast<std::uint8_t>(1U << random(8)) : 0;
        }
    }
    void draw_value(std::uint8_t* value) {
        const std::size_t size = value_bytes(GetParam());
        if (GetParam().type == BPF_MAP_TYPE_BLOOM_FILTER) {
            // Few: neither side is to meet one that it takes for another.
            std::memset(value, static_cast<int>(random(64)), size);
        } else {
            draw_bytes(value, size);
        }
    }
    /// With room for `count` keys and values, of which `drawn` are drawn.
    void draw_elements(Request& request, std::uint32_t count, std::uint32_t drawn) {
        const std::size_t key_size = GetParam().key_size;
        const std::size_t value_size = value_bytes(GetParam());
        request.key.resize(std::max<std::size_t>(count * key_size, 1));
        request.value.resize(count * value_size);
        for (std::uint32_t i = 0; i < drawn; ++i) {
            if (key_size != 0) {
                draw_key(request.key.data() + i * key_size);
            }
            draw_value(request.value.data() + i * value_size);
        }
    }
    Request next_request() {
        static constexpr int kCommands[] = {
            BPF_MAP_LOOKUP_ELEM,  BPF_MAP_LOOKUP_ELEM,  BPF_MAP_UPDATE_ELEM,
            BPF_MAP_UPDATE_ELEM,  BPF_MAP_UPDATE_ELEM,  BPF_MAP_UPDATE_ELEM,
            BPF_MAP_DELETE_ELEM,  BPF_MAP_GET_NEXT_KEY, BPF_MAP_UPDATE_BATCH,
            BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
        };
        static constexpr std::uint64_t kFlags[] = {
            BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK, BPF_F_LOCK | BPF_EXIST, 8, 16, 1ULL << 32};
        Request request;
        request.command = kCommands[random(std::size(kCommands))];
        if (request.command == BPF_MAP_LOOKUP_BATCH && random(4) == 0) {
            request.command = BPF_MAP_LOOKUP_AND_DELETE_BATCH;
        }
        // Mostly as the kind has it, sometimes a key too many or too few.
        request.has_key = (GetParam().key_size != 0) == (random(64) != 0);
        if (random(3) == 0) {
            request.flags = kFlags[random(std::size(kFlags))];
        }
        if (!is_batch(request)) {
            draw_elements(request, 1, 1);
            return request;
        }
        draw_elements(request, kBatch, kBatch);
        request.count = random(kBatch + 1);
        request.batch_flags = random(32) == 0 ? 1 : 0;
        return request;
    }

    /// The same command to both.
    void compare(const Request& request, int ours, int kernel) {
        if (!is_walk(request.command)) {
            ASSERT_EQ(ask(our_bpf, ours, request), ask(kernel_bpf, kernel, request));
        } else if (walks_in_order()) {
            compare_in_order(request, ours, kernel);
        } else {
            compare_unordered(request, ours, kernel);
        }
    }
    static bool is_walk(int command) {
        return command == BPF_MAP_GET_NEXT_KEY || command == BPF_MAP_LOOKUP_BATCH ||
               command == BPF_MAP_LOOKUP_AND_DELETE_BATCH;
    }
    /// Whether a walk goes in an order that both must have.
    [[nodiscard]] static bool walks_in_order() {
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
    /// A batch goes on where the last one ended, every other time. What a token says is each
    /// side's own.
    void compare_in_order(Request request, int ours, int kernel) {
        const bool goes_on =
            request.command != BPF_MAP_GET_NEXT_KEY && !our_token_.empty() && random(2) == 0;
        Request same = request;
        if (goes_on) {
            request.token = our_token_;
            same.token = kernel_token_;
        }
        Bytes our_token;
        Bytes kernel_token;
        const Answer answer = ask(our_bpf, ours, request, &our_token);
        const Answer expected = ask(kernel_bpf, kernel, same, &kernel_token);
        ASSERT_EQ(answer, expected) << (goes_on ? "from a token" : "");
        if (request.command == BPF_MAP_LOOKUP_BATCH && expected.result == 0 && request.count != 0) {
            our_token_ = our_token;
            kernel_token_ = kernel_token;
        }
    }
    /// Of the next key it is determined only whether there is one, when the walk begins; of batches
    /// what comes in all, however small they are and whatever is deleted behind them. Walks of
    /// everything are made now and then.
    void compare_unordered(Request request, int ours, int kernel) {
        const std::size_t key_size = GetParam().key_size;
        if (request.command != BPF_MAP_GET_NEXT_KEY) {
            if (random(1 + keys_ / 8) != 0) {
                return;
            }
            if (random(4) == 0) {
                request.count = 2 * keys_ + kBatch;
            }
            const bool deletes = request.command == BPF_MAP_LOOKUP_BATCH && random(4) == 0;
            const std::size_t value_size = value_bytes(GetParam());
            ASSERT_EQ(walk_in_batches(our_bpf, ours, request, key_size, value_size, deletes),
                      walk_in_batches(kernel_bpf, kernel, request, key_size, value_size, deletes))
                << "walked in batches" << (deletes ? ", deleting" : "");
            return;
        }
        request.has_key = false;
        ASSERT_EQ(ask(our_bpf, ours, request).result, ask(kernel_bpf, kernel, request).result);
        if (random(1 + keys_ / 2) == 0) {
            const std::size_t most = std::size_t{GetParam().max_entries} + 1;
            ASSERT_EQ(walk_keys(our_bpf, ours, key_size, most),
                      walk_keys(kernel_bpf, kernel, key_size, most));
        }
    }
    /// All elements by lookups of all keys that scripts use, and in the order of a walk.
    void expect_equal_contents(int ours, int kernel) {
        for (std::uint32_t number = 0; number < keys_; ++number) {
            Request request;
            request.command = BPF_MAP_LOOKUP_ELEM;
            request.key.resize(std::max<std::size_t>(GetParam().key_size, 1));
            write_key(request.key.data(), number);
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

    Random random_;
    std::uint32_t keys_ = 0;  ///< That the script uses.
    Bytes our_token_;
    Bytes kernel_token_;
};

TEST_P(Scripts, give_the_same_answers) {
    std::uint64_t operations = 0;
    for (unsigned seed = 1; seed <= scripts().count; ++seed) {
        start(seed);
        close_all();
        our_token_.clear();
        kernel_token_.clear();
        int ours = -1;
        int kernel = -1;
        ASSERT_NO_FATAL_FAILURE(make(GetParam(), ours, kernel));
        for (unsigned i = 0; i < scripts().operations; ++i, ++operations) {
            const Request request = next_request();
            compare(request, ours, kernel);
            ASSERT_FALSE(HasFatalFailure())
                << "seed " << seed << ", operation " << i << ": command " << request.command
                << ", flags " << request.flags << ", count " << request.count << ", key "
                << (request.has_key ? testing::PrintToString(request.key) : "none");
        }
        ASSERT_NO_FATAL_FAILURE(expect_equal_contents(ours, kernel)) << "seed " << seed;
        Request freeze;
        freeze.command = BPF_MAP_FREEZE;
        ASSERT_EQ(ask(our_bpf, ours, freeze), ask(kernel_bpf, kernel, freeze));
        for (unsigned i = 0; i < 100; ++i) {
            const Request request = next_request();
            compare(request, ours, kernel);
            ASSERT_FALSE(HasFatalFailure())
                << "seed " << seed << ", frozen; command " << request.command;
        }
    }
    RecordProperty("operations", std::to_string(operations));
}

const Shape kShapes[] = {
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 12, 7},
    {"queue_of_one", BPF_MAP_TYPE_QUEUE, 0, 1, 1},
    {"stack", BPF_MAP_TYPE_STACK, 0, 12, 7},
    {"stack_of_one", BPF_MAP_TYPE_STACK, 0, 8, 1},
    {"queue_of_large_values", BPF_MAP_TYPE_QUEUE, 0, 300, 64},
    {"queue_read_only", BPF_MAP_TYPE_QUEUE, 0, 8, 7, BPF_F_RDONLY},
    {"array", BPF_MAP_TYPE_ARRAY, 4, 12, 7},
    {"array_of_one", BPF_MAP_TYPE_ARRAY, 4, 1, 1},
    {"array_of_large_values", BPF_MAP_TYPE_ARRAY, 4, 1000, 3},
    {"array_mappable", BPF_MAP_TYPE_ARRAY, 4, 12, 7, BPF_F_MMAPABLE},
    {"array_read_only", BPF_MAP_TYPE_ARRAY, 4, 12, 7, BPF_F_RDONLY},
    {"hash", BPF_MAP_TYPE_HASH, 5, 12, 7},
    {"hash_of_one", BPF_MAP_TYPE_HASH, 4, 8, 1},  // all keys in one bucket
    {"hash_crowded", BPF_MAP_TYPE_HASH, 100, 300, 2, 0, 0, 40},
    {"hash_of_bytes", BPF_MAP_TYPE_HASH, 1, 1, 16},
    {"hash_of_many", BPF_MAP_TYPE_HASH, 8, 8, 256},
    {"hash_unseeded", BPF_MAP_TYPE_HASH, 8, 8, 7, BPF_F_ZERO_SEED | BPF_F_NUMA_NODE},
    {"hash_read_only", BPF_MAP_TYPE_HASH, 4, 8, 7, BPF_F_RDONLY},
    {"hash_write_only", BPF_MAP_TYPE_HASH, 4, 8, 7, BPF_F_WRONLY},
    {"hash_read_only_to_programs", BPF_MAP_TYPE_HASH, 4, 8, 7, BPF_F_RDONLY_PROG},
    {"hash_on_demand", BPF_MAP_TYPE_HASH, 8, 8, 7, BPF_F_NO_PREALLOC},
    {"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 12, 7},
    {"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 5, 12, 7},
    {"percpu_hash_of_one", BPF_MAP_TYPE_PERCPU_HASH, 4, 1, 1},
    {"percpu_hash_on_demand", BPF_MAP_TYPE_PERCPU_HASH, 8, 8, 7, BPF_F_NO_PREALLOC},
    {"array_locked", BPF_MAP_TYPE_ARRAY, 4, 24, 7, 0, 0, 0, true},
    {"hash_locked", BPF_MAP_TYPE_HASH, 4, 24, 7, 0, 0, 0, true},
    {"hash_locked_on_demand", BPF_MAP_TYPE_HASH, 4, 24, 7, BPF_F_NO_PREALLOC, 0, 0, true},
    // Never full: what they evict is the subject of lru_test.cpp.
    {"lru_hash", BPF_MAP_TYPE_LRU_HASH, 5, 12, 1000, 0, 0, 14},
    {"lru_hash_own_lists", BPF_MAP_TYPE_LRU_HASH, 8, 8, 1000, BPF_F_NO_COMMON_LRU, 0, 14},
    {"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 5, 12, 1000, 0, 0, 14},
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 16, 7},  // empty: users put nothing in
    {"ring", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, 0, 1},  // nor here, and no command is taken
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 7},     // no number here is of a program
    {"perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 7},  // nor of an event
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 12, 1000, 0, 0, 1},
    {"bloom_filter_of_two", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 10000, 0, 2, 1},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 12, 20, BPF_F_NO_PREALLOC},
    {"lpm_trie_of_bytes", BPF_MAP_TYPE_LPM_TRIE, 5, 1, 100, BPF_F_NO_PREALLOC},
    {"lpm_trie_of_long_keys", BPF_MAP_TYPE_LPM_TRIE, 68, 8, 50, BPF_F_NO_PREALLOC},
};

INSTANTIATE_TEST_SUITE_P(Kinds, Scripts, testing::ValuesIn(kShapes), name_of);

}  // namespace
}  // namespace taskwork::test
