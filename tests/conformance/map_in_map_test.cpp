// SPDX-License-Identifier: Apache-2.0
//
// Maps of maps: which inner maps they take, and random scripts of commands. The kernel waits for a
// grace period of its own behind each change of such a map, 3 ms of each command on the average, so
// there are fewer and shorter ones than of other kinds. Many processes wait for one grace period
// together, each with scripts of its own (`make prove-scripts`).
//
//   TASKWORK_SCRIPTS  scripts a kind (2, of 500 commands; 10, of 10,000, with TASKWORK_PROVE)
//   TASKWORK_SEED     of the first one (1)

#include <algorithm>
#include <vector>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

const Shape kInner[] = {
    {"array", BPF_MAP_TYPE_ARRAY, 4, 8, 4},
    {"array_again", BPF_MAP_TYPE_ARRAY, 4, 8, 4},
    {"array_of_more", BPF_MAP_TYPE_ARRAY, 4, 8, 9},
    {"array_of_larger", BPF_MAP_TYPE_ARRAY, 4, 16, 4},
    {"array_mappable", BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE},
    {"array_inner", BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_INNER_MAP},
    {"array_inner_of_more", BPF_MAP_TYPE_ARRAY, 4, 8, 9, BPF_F_INNER_MAP},
    {"hash", BPF_MAP_TYPE_HASH, 4, 8, 4},
    {"hash_of_more", BPF_MAP_TYPE_HASH, 4, 8, 9},
    {"hash_on_demand", BPF_MAP_TYPE_HASH, 4, 8, 4, BPF_F_NO_PREALLOC},
    {"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4},
    {"percpu_array_of_more", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 9},
    {"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 4},
    {"lru_hash", BPF_MAP_TYPE_LRU_HASH, 4, 8, 4},
    {"lru_hash_of_more", BPF_MAP_TYPE_LRU_HASH, 4, 8, 9},
    {"lru_hash_own_lists", BPF_MAP_TYPE_LRU_HASH, 4, 8, 4, BPF_F_NO_COMMON_LRU},
    {"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 4},
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 8, 4},
    {"queue_of_more", BPF_MAP_TYPE_QUEUE, 0, 8, 9},
    {"stack", BPF_MAP_TYPE_STACK, 0, 8, 4},
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 4},
    {"bloom_filter_of_more", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 9000},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, 4, BPF_F_NO_PREALLOC},
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 8, 4},
    {"stack_trace_of_more", BPF_MAP_TYPE_STACK_TRACE, 4, 8, 9},
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4},
    {"perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4},
    {"perf_event_array_of_more", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 9},
    {"ring", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096},
    {"ring_of_more", BPF_MAP_TYPE_RINGBUF, 0, 0, 8192},
};
constexpr std::size_t kInnerCount = std::size(kInner);

class MapsInMaps : public MapsOfBoth, public testing::WithParamInterface<bpf_map_type> {
protected:
    void SetUp() override {
        MapsOfBoth::SetUp();
        if (IsSkipped()) {
            return;
        }
        for (const Shape& shape : kInner) {
            int ours = -1;
            int kernel = -1;
            ASSERT_NO_FATAL_FAILURE(make(shape, ours, kernel)) << shape.name;
            our_ids_.push_back(info_of<bpf_map_info>(our_bpf, ours).id);
            kernel_ids_.push_back(info_of<bpf_map_info>(kernel_bpf, kernel).id);
        }
    }
    /// Descriptor or negative errno of an outer map that is made with map `like` of kInner.
    long make_outer(Bpf bpf, const std::vector<int>& inner, std::size_t like,
                    std::uint32_t entries = 5) {
        bpf_attr attr;
        fill(attr, {"outer", GetParam(), 4, 4, entries});
        attr.inner_map_fd = static_cast<std::uint32_t>(descriptor(inner, like));
        return bpf(BPF_MAP_CREATE, attr);
    }
    /// Two numbers behind the maps: a descriptor of something else, and none.
    static int descriptor(const std::vector<int>& inner, std::size_t number) {
        return number < kInnerCount ? inner[number] : number == kInnerCount ? STDERR_FILENO : 9999;
    }
    Answer ask_with(Bpf bpf, int outer, const std::vector<int>& inner, Request request,
                    const std::vector<std::size_t>& numbers) {
        request.value.clear();
        for (const std::size_t number : numbers) {
            const int fd = descriptor(inner, number);
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(&fd);
            request.value.insert(request.value.end(), bytes, bytes + sizeof fd);
        }
        Answer answer = ask(bpf, outer, request);
        // What was given in is each side's own.
        std::size_t found = 0;
        if (request.command == BPF_MAP_LOOKUP_BATCH &&
            (answer.result == 0 || answer.result == -ENOENT)) {
            found = answer.count;
        } else if (request.command == BPF_MAP_LOOKUP_ELEM && answer.result == 0) {
            found = 1;
        }
        answer.value.resize(found * 4);
        answer.value = translated(bpf, answer.value);
        return answer;
    }
    /// Ids as numbers that both sides have; 0 of a map that is none of kInner.
    [[nodiscard]] Bytes translated(Bpf bpf, const Bytes& ids_found) const {
        const std::vector<std::uint32_t>& ids = bpf == our_bpf ? our_ids_ : kernel_ids_;
        Bytes numbers;
        for (std::size_t at = 0; at + 4 <= ids_found.size(); at += 4) {
            std::uint32_t id = 0;
            std::memcpy(&id, ids_found.data() + at, 4);
            const auto known = std::find(ids.begin(), ids.end(), id);
            numbers.push_back(known == ids.end()
                                  ? std::uint8_t{0}
                                  : static_cast<std::uint8_t>(100 + (known - ids.begin())));
        }
        return numbers;
    }
    /// A walk in small batches, of ids as numbers.
    [[nodiscard]] Walk walk(Bpf bpf, int outer, const Request& batch, bool deletes) const {
        Walk all = walk_in_batches(bpf, outer, batch, 4, 4, deletes);
        for (auto& [key, value] : all.elements) {
            value = translated(bpf, value);
        }
        return all;
    }
    /// Whole ones. Those of a hash are each in an order of its own; what they find is not.
    void compare_walks(Request request, int ours, int kernel, bool deletes) {
        if (request.command != BPF_MAP_GET_NEXT_KEY) {
            ASSERT_EQ(walk(our_bpf, ours, request, deletes),
                      walk(kernel_bpf, kernel, request, deletes));
            return;
        }
        request.has_key = false;
        ASSERT_EQ(ask(our_bpf, ours, request).result, ask(kernel_bpf, kernel, request).result);
        ASSERT_EQ(walk_keys(our_bpf, ours, 4, kKeys + 1),
                  walk_keys(kernel_bpf, kernel, 4, kKeys + 1));
    }
    void run_script(std::uint64_t seed, unsigned operations);

    static constexpr std::uint32_t kKeys = 7;
    void keep(long ours, long kernel) {
        ours_.push_back(static_cast<int>(ours));
        kernel_.push_back(static_cast<int>(kernel));
    }
    std::vector<std::uint32_t> our_ids_;
    std::vector<std::uint32_t> kernel_ids_;
};

TEST_P(MapsInMaps, take_and_refuse_the_maps_that_the_kernel_does) {
    for (std::size_t like = 0; like < kInnerCount + 2; ++like) {
        const long ours = make_outer(our_bpf, ours_, like);
        const long kernel = make_outer(kernel_bpf, kernel_, like);
        ASSERT_EQ(std::min(ours, 0L), std::min(kernel, 0L)) << like << uapi::last_diagnosis();
        if (kernel < 0) {
            continue;
        }
        keep(ours, kernel);
        for (std::size_t number = 0; number < kInnerCount + 2; ++number) {
            Request request;
            request.command = BPF_MAP_UPDATE_ELEM;
            request.key.assign(4, 0);
            EXPECT_EQ(
                ask_with(our_bpf, static_cast<int>(ours), ours_, request, {number}).result,
                ask_with(kernel_bpf, static_cast<int>(kernel), kernel_, request, {number}).result)
                << "like " << like << ", " << number;
        }
    }
    // Not of maps that hold maps themselves.
    bpf_attr attr;
    fill(attr, {"outer", GetParam(), 4, 4, 5});
    attr.inner_map_fd = static_cast<std::uint32_t>(ours_.back());
    const long ours = our_bpf(BPF_MAP_CREATE, attr);
    attr.inner_map_fd = static_cast<std::uint32_t>(kernel_.back());
    EXPECT_EQ(ours, kernel_bpf(BPF_MAP_CREATE, attr));
}

void MapsInMaps::run_script(std::uint64_t seed, unsigned operations) {
    Random random;
    random.start(seed);
    const auto below = [&random](std::uint32_t count) {
        return static_cast<std::uint32_t>(random.below(count));
    };
    // Too small for the keys, or just full.
    const std::uint32_t entries = below(2) == 0 ? 5 : kKeys;
    const long ours = make_outer(our_bpf, ours_, 7, entries);
    const long kernel = make_outer(kernel_bpf, kernel_, 7, entries);
    ASSERT_GE(ours, 0);
    ASSERT_GE(kernel, 0);
    keep(ours, kernel);
    static constexpr int kCommands[] = {
        BPF_MAP_LOOKUP_ELEM,  BPF_MAP_LOOKUP_ELEM,  BPF_MAP_UPDATE_ELEM,
        BPF_MAP_UPDATE_ELEM,  BPF_MAP_DELETE_ELEM,  BPF_MAP_GET_NEXT_KEY,
        BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_BATCH,
        BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_ELEM,  BPF_MAP_LOOKUP_AND_DELETE_ELEM};
    // What fits, what does not, what is none.
    static constexpr std::size_t kNumbers[] = {7, 7, 7, 8, 8, 8, 0, kInnerCount, kInnerCount + 1};
    for (unsigned i = 0; i < operations; ++i) {
        Request request;
        request.command = kCommands[below(std::size(kCommands))];
        if (request.command == BPF_MAP_LOOKUP_BATCH && below(8) == 0) {
            request.command = BPF_MAP_LOOKUP_AND_DELETE_BATCH;
        }
        request.count = is_batch(request) ? below(4) : 0;
        std::vector<std::size_t> numbers;
        for (unsigned element = 0; element < 4; ++element) {
            const std::uint32_t key = below(kKeys);
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(&key);
            request.key.insert(request.key.end(), bytes, bytes + 4);
            numbers.push_back(kNumbers[below(std::size(kNumbers))]);
        }
        request.flags = below(4) == 0 ? below(5) : 0;
        const bool is_walk = request.command == BPF_MAP_GET_NEXT_KEY ||
                             request.command == BPF_MAP_LOOKUP_BATCH ||
                             request.command == BPF_MAP_LOOKUP_AND_DELETE_BATCH;
        if (is_walk && (GetParam() == BPF_MAP_TYPE_HASH_OF_MAPS || below(2) == 0)) {
            const bool deletes = request.command == BPF_MAP_LOOKUP_BATCH && below(8) == 0;
            compare_walks(request, static_cast<int>(ours), static_cast<int>(kernel), deletes);
        } else {
            const Answer expected =
                ask_with(kernel_bpf, static_cast<int>(kernel), kernel_, request, numbers);
            ASSERT_EQ(ask_with(our_bpf, static_cast<int>(ours), ours_, request, numbers), expected)
                << "operation " << i << ": command " << request.command << ", flags "
                << request.flags;
        }
        ASSERT_FALSE(HasFatalFailure())
            << "operation " << i << ": command " << request.command << ", flags " << request.flags;
    }
}

TEST_P(MapsInMaps, give_the_same_answers) {
    const std::uint64_t count = setting("TASKWORK_SCRIPTS", is_long() ? 10 : 2);
    const std::uint64_t first = setting("TASKWORK_SEED", 1);
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        ASSERT_NO_FATAL_FAILURE(run_script(seed, is_long() ? 10'000 : 500)) << "seed " << seed;
    }
}

INSTANTIATE_TEST_SUITE_P(Kinds, MapsInMaps,
                         testing::Values(BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS),
                         [](const auto& parameter) {
                             return parameter.param == BPF_MAP_TYPE_ARRAY_OF_MAPS ? "array"
                                                                                  : "hash";
                         });

}  // namespace
}  // namespace taskwork::test
