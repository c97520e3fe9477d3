// SPDX-License-Identifier: Apache-2.0
//
// Two maps of the same shape, one in the kernel and one here, get the same commands of bpf(2):
// every result, error and byte that comes back is compared. The scripts are random and seeded; the
// seed is in the failure. Needs a kernel that can be the reference; its maps are closed at the end.

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "base/raw_system_call.hpp"
#include "tests/reference/kernel.hpp"
#include "uapi/test_host.hpp"

namespace taskwork::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// Neither side's C library is between: the one is answered by the kernel, the other in process.
long kernel_bpf(int command, bpf_attr& attr) {
    return raw_system_call(__NR_bpf, command, reinterpret_cast<long>(&attr), sizeof attr);
}
long our_bpf(int command, bpf_attr& attr) {
    const long result = syscall(__NR_bpf, command, &attr, sizeof attr);
    return result < 0 ? -errno : result;
}

struct Shape {
    const char* name;
    bpf_map_type type;
    std::uint32_t key_size;
    std::uint32_t value_size;
    std::uint32_t max_entries;
    std::uint32_t flags = 0;
    std::uint64_t extra = 0;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

void fill(bpf_attr& attr, const Shape& shape) {
    std::memset(&attr, 0, sizeof attr);
    attr.map_type = shape.type;
    attr.key_size = shape.key_size;
    attr.value_size = shape.value_size;
    attr.max_entries = shape.max_entries;
    attr.map_flags = shape.flags;
    attr.map_extra = shape.extra;
}

/// What a command is given, and what it must give back on both sides.
struct Request {
    int command = 0;
    bool has_key = true;
    Bytes key;
    Bytes value;
    std::uint64_t flags = 0;
    std::uint32_t count = 0;  ///< Of batches.
};

struct Answer {
    long result = 0;
    Bytes key;
    Bytes value;
    std::uint32_t count = 0;
    friend bool operator==(const Answer&, const Answer&) = default;
};

void PrintTo(const Answer& answer, std::ostream* out) {
    *out << answer.result << ", count " << answer.count << ", key "
         << testing::PrintToString(answer.key) << ", value "
         << testing::PrintToString(answer.value);
}

using Bpf = long (*)(int command, bpf_attr& attr);

Answer ask(Bpf bpf, int map, const Request& request) {
    Answer answer{0, request.key, request.value, request.count};
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    const auto address = [](Bytes& bytes) {
        return reinterpret_cast<std::uintptr_t>(bytes.data());
    };
    Bytes next(request.key.size() + 8, 0xee);
    switch (request.command) {
    case BPF_MAP_LOOKUP_BATCH:
    case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
    case BPF_MAP_UPDATE_BATCH:
    case BPF_MAP_DELETE_BATCH:
        attr.batch.map_fd = static_cast<std::uint32_t>(map);
        attr.batch.keys = address(answer.key);
        attr.batch.values = address(answer.value);
        attr.batch.count = request.count;
        attr.batch.elem_flags = request.flags;
        attr.batch.out_batch = address(next);
        break;
    case BPF_MAP_GET_NEXT_KEY:
        attr.map_fd = static_cast<std::uint32_t>(map);
        attr.key = request.has_key ? address(answer.key) : 0;
        attr.next_key = address(next);
        break;
    case BPF_MAP_FREEZE:
        attr.map_fd = static_cast<std::uint32_t>(map);
        break;
    default:
        attr.map_fd = static_cast<std::uint32_t>(map);
        attr.key = request.has_key ? address(answer.key) : 0;
        if (request.command != BPF_MAP_DELETE_ELEM) {
            attr.value = address(answer.value);
            attr.flags = request.flags;
        }
    }
    answer.result = bpf(request.command, attr);
    if (request.command == BPF_MAP_GET_NEXT_KEY) {
        answer.key = answer.result == 0 ? next : Bytes();
    }
    if (request.command >= BPF_MAP_LOOKUP_BATCH && request.command <= BPF_MAP_DELETE_BATCH &&
        request.command != BPF_MAP_FREEZE) {
        answer.count = attr.batch.count;
    }
    return answer;
}

class MapsOfBoth : public uapi::HostTest {
protected:
    void SetUp() override {
        HostTest::SetUp();
        const std::string reason = no_reference_because();
        if (!reason.empty()) {
            GTEST_SKIP() << reason;
        }
    }
    void TearDown() override {
        for (const int descriptor : kernel_) {
            close(descriptor);
        }
        for (const int descriptor : ours_) {
            close(descriptor);
        }
    }
    void make(const Shape& shape, int& ours, int& kernel) {
        task::Worker::synchronize();
        bpf_attr attr;
        fill(attr, shape);
        ours = static_cast<int>(our_bpf(BPF_MAP_CREATE, attr));
        fill(attr, shape);
        kernel = static_cast<int>(kernel_bpf(BPF_MAP_CREATE, attr));
        ASSERT_GE(ours, 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel, 0);
        ours_.push_back(ours);
        kernel_.push_back(kernel);
    }

    std::vector<int> ours_;
    std::vector<int> kernel_;
};

// ---- Creation
// ------------------------------------------------------------------------------------

class Creation : public MapsOfBoth, public testing::WithParamInterface<Shape> {};

/// Each argument is put wrong in every way that matters, one and two at a time.
TEST_P(Creation, accepts_and_refuses_what_the_kernel_does) {
    const Shape base = GetParam();
    std::vector<std::function<void(Shape&)>> changes = {[](Shape&) {}};
    for (const std::uint32_t size : {0U, 1U, 4U, 5U, 8U, 12U, 260U, 261U}) {
        changes.push_back([size](Shape& shape) { shape.key_size = size; });
    }
    for (const std::uint32_t size :
         {0U, 1U, 4U, 8U, 12U, 32U << 10, (32U << 10) + 1, (4U << 20) + 1, 0x80000000U}) {
        changes.push_back([size](Shape& shape) { shape.value_size = size; });
    }
    for (const std::uint32_t entries : {0U, 1U, 7U}) {
        changes.push_back([entries](Shape& shape) { shape.max_entries = entries; });
    }
    for (unsigned bit = 0; bit < 20; ++bit) {
        if (base.type == BPF_MAP_TYPE_STACK_TRACE && 1U << bit == BPF_F_STACK_BUILD_ID) {
            continue;  // not here
        }
        changes.push_back([bit](Shape& shape) { shape.flags ^= 1U << bit; });
    }
    changes.push_back([](Shape& shape) { shape.flags |= BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG; });
    changes.push_back([](Shape& shape) { shape.flags |= BPF_F_RDONLY | BPF_F_WRONLY; });
    for (const std::uint64_t extra : {1ULL, 15ULL, 16ULL}) {
        changes.push_back([extra](Shape& shape) { shape.extra = extra; });
    }
    unsigned made = 0;
    for (const auto& first : changes) {
        for (const auto& second : changes) {
            if (++made % 32 == 0) {
                task::Worker::synchronize();  // Memory of maps that were closed comes back.
            }
            Shape shape = base;
            first(shape);
            second(shape);
            bpf_attr attr;
            fill(attr, shape);
            const long kernel = kernel_bpf(BPF_MAP_CREATE, attr);
            fill(attr, shape);
            const long ours = our_bpf(BPF_MAP_CREATE, attr);
            EXPECT_EQ(std::min(ours, 0L), std::min(kernel, 0L))
                << "key " << shape.key_size << ", value " << shape.value_size << ", entries "
                << shape.max_entries << ", flags " << std::hex << shape.flags << ", extra "
                << shape.extra << ": " << uapi::last_diagnosis();
            if (kernel >= 0) {
                raw_system_call(SYS_close, kernel);
            }
            if (ours >= 0) {
                close(static_cast<int>(ours));
            }
        }
    }
}

// ---- Scripts
// -------------------------------------------------------------------------------------

class Scripts : public MapsOfBoth, public testing::WithParamInterface<Shape> {
protected:
    static constexpr unsigned kSeeds = 4;
    static constexpr unsigned kOperations = 10'000;
    static constexpr std::uint32_t kBatch = 5;

    [[nodiscard]] std::size_t value_bytes() const {
        const Shape& shape = GetParam();
        const bool per_cpu =
            shape.type == BPF_MAP_TYPE_PERCPU_ARRAY || shape.type == BPF_MAP_TYPE_PERCPU_HASH;
        return per_cpu ? ((shape.value_size + std::size_t{7}) & ~std::size_t{7}) *
                             static_cast<std::size_t>(libbpf_num_possible_cpus())
                       : shape.value_size;
    }
    std::uint32_t random(std::uint32_t below) {
        return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random_);
    }
    Bytes random_key() {
        const Shape& shape = GetParam();
        Bytes key(shape.key_size);
        std::uint32_t number = random(shape.max_entries * 2);
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
        Bytes value(value_bytes());
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
        for (std::uint32_t number = 0; number < GetParam().max_entries * 2; ++number) {
            Request request;
            request.command = BPF_MAP_LOOKUP_ELEM;
            request.key.resize(std::max<std::size_t>(GetParam().key_size, 4));
            std::memcpy(request.key.data(), &number, 4);
            request.has_key = GetParam().key_size != 0;
            request.value.resize(value_bytes());
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
        return GetParam().type != BPF_MAP_TYPE_HASH && GetParam().type != BPF_MAP_TYPE_PERCPU_HASH;
    }

    std::minstd_rand random_;
};

TEST_P(Scripts, give_the_same_answers) {
    for (unsigned seed = 1; seed <= kSeeds; ++seed) {
        random_.seed(seed);
        int ours = -1;
        int kernel = -1;
        ASSERT_NO_FATAL_FAILURE(make(GetParam(), ours, kernel));
        for (unsigned i = 0; i < kOperations; ++i) {
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

// ---- Maps of maps
// --------------------------------------------------------------------------------

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
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 8, 4},
    {"queue_of_more", BPF_MAP_TYPE_QUEUE, 0, 8, 9},
    {"stack", BPF_MAP_TYPE_STACK, 0, 8, 4},
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 4},
    {"bloom_filter_of_more", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 9000},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, 4, BPF_F_NO_PREALLOC},
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 8, 4},
    {"stack_trace_of_more", BPF_MAP_TYPE_STACK_TRACE, 4, 8, 9},
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4},
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
    static Answer ask_with(Bpf bpf, int outer, const std::vector<int>& inner, Request request,
                           const std::vector<std::size_t>& numbers) {
        request.value.clear();
        for (const std::size_t number : numbers) {
            const int fd = descriptor(inner, number);
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(&fd);
            request.value.insert(request.value.end(), bytes, bytes + sizeof fd);
        }
        Answer answer = ask(bpf, outer, request);
        // Ids as numbers that both sides have; what was given in is each side's own.
        std::size_t found = 0;
        if (request.command == BPF_MAP_LOOKUP_BATCH &&
            (answer.result == 0 || answer.result == -ENOENT)) {
            found = answer.count;
        } else if (request.command == BPF_MAP_LOOKUP_ELEM && answer.result == 0) {
            found = 1;
        }
        Bytes translated(numbers.size());
        for (std::size_t i = 0; i < found; ++i) {
            std::uint32_t id = 0;
            std::memcpy(&id, answer.value.data() + i * 4, 4);
            for (std::size_t number = 0; number < kInnerCount; ++number) {
                if (id == id_of(bpf, inner[number])) {
                    translated[i] = static_cast<std::uint8_t>(100 + number);
                }
            }
        }
        answer.value = translated;
        return answer;
    }
    static std::uint32_t id_of(Bpf bpf, int map) {
        bpf_map_info info{};
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.info.bpf_fd = static_cast<std::uint32_t>(map);
        attr.info.info = reinterpret_cast<std::uintptr_t>(&info);
        attr.info.info_len = sizeof info;
        EXPECT_EQ(bpf(BPF_OBJ_GET_INFO_BY_FD, attr), 0);
        return info.id;
    }
    void keep(long ours, long kernel) {
        ours_.push_back(static_cast<int>(ours));
        kernel_.push_back(static_cast<int>(kernel));
    }
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

TEST_P(MapsInMaps, give_the_same_answers) {
    std::minstd_rand random(3);
    const auto below = [&random](std::uint32_t count) {
        return std::uniform_int_distribution<std::uint32_t>(0, count - 1)(random);
    };
    const long ours = make_outer(our_bpf, ours_, 7);
    const long kernel = make_outer(kernel_bpf, kernel_, 7);
    ASSERT_GE(ours, 0);
    ASSERT_GE(kernel, 0);
    keep(ours, kernel);
    static constexpr int kCommands[] = {BPF_MAP_LOOKUP_ELEM,  BPF_MAP_LOOKUP_ELEM,
                                        BPF_MAP_UPDATE_ELEM,  BPF_MAP_UPDATE_ELEM,
                                        BPF_MAP_DELETE_ELEM,  BPF_MAP_GET_NEXT_KEY,
                                        BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH,
                                        BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_ELEM};
    // What fits, what does not, what is none.
    static constexpr std::size_t kNumbers[] = {7, 7, 7, 8, 8, 8, 0, kInnerCount, kInnerCount + 1};
    for (unsigned i = 0; i < 1000; ++i) {
        Request request;
        request.command = kCommands[below(std::size(kCommands))];
        if (GetParam() == BPF_MAP_TYPE_HASH_OF_MAPS &&
            (request.command == BPF_MAP_GET_NEXT_KEY || request.command == BPF_MAP_LOOKUP_BATCH)) {
            continue;  // in an order of each side's own
        }
        request.count = request.command >= BPF_MAP_LOOKUP_BATCH ? below(4) : 0;
        std::vector<std::size_t> numbers;
        for (unsigned element = 0; element < 4; ++element) {
            const std::uint32_t key = below(7);
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(&key);
            request.key.insert(request.key.end(), bytes, bytes + 4);
            numbers.push_back(kNumbers[below(std::size(kNumbers))]);
        }
        request.flags = below(4) == 0 ? below(5) : 0;
        Answer expected = ask_with(kernel_bpf, static_cast<int>(kernel), kernel_, request, numbers);
        const Answer answer = ask_with(our_bpf, static_cast<int>(ours), ours_, request, numbers);
        ASSERT_EQ(answer, expected)
            << "operation " << i << ": command " << request.command << ", flags " << request.flags;
    }
}

INSTANTIATE_TEST_SUITE_P(Kinds, MapsInMaps,
                         testing::Values(BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS),
                         [](const auto& parameter) {
                             return parameter.param == BPF_MAP_TYPE_ARRAY_OF_MAPS ? "array"
                                                                                  : "hash";
                         });

// ---- Programs in an array
// ------------------------------------------------------------------------

class ProgramArrays : public MapsOfBoth {
protected:
    /// Descriptor of a program that does nothing.
    static int program(Bpf bpf, bpf_prog_type type) {
        const bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0},
                                  {.code = BPF_JMP | BPF_EXIT}};
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.prog_type = type;
        attr.insns = reinterpret_cast<std::uintptr_t>(insns);
        attr.insn_cnt = std::size(insns);
        attr.license = reinterpret_cast<std::uintptr_t>("GPL");
        attr.prog_flags = type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
        return static_cast<int>(bpf(BPF_PROG_LOAD, attr));
    }
    static std::uint32_t id_of(Bpf bpf, int program) {
        bpf_prog_info info{};
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.info.bpf_fd = static_cast<std::uint32_t>(program);
        attr.info.info = reinterpret_cast<std::uintptr_t>(&info);
        attr.info.info_len = sizeof info;
        EXPECT_EQ(bpf(BPF_OBJ_GET_INFO_BY_FD, attr), 0);
        return info.id;
    }
    static Request with(int command, std::uint32_t index, int fd = 0, std::uint64_t flags = 0) {
        Request request;
        request.command = command;
        request.key.resize(4);
        std::memcpy(request.key.data(), &index, 4);
        request.value.resize(4);
        std::memcpy(request.value.data(), &fd, 4);
        request.flags = flags;
        return request;
    }
};

/// Results, and for lookups the number of the program that has the id: the same on both sides.
TEST_F(ProgramArrays, give_the_same_answers) {
    int ours = -1;
    int kernel = -1;
    ASSERT_NO_FATAL_FAILURE(make({"", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4}, ours, kernel));
    std::vector<int> our_fds;
    std::vector<int> kernel_fds;
    for (const bpf_prog_type type :
         {BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_SYSCALL}) {
        our_fds.push_back(program(our_bpf, type));
        kernel_fds.push_back(program(kernel_bpf, type));
        ASSERT_GE(our_fds.back(), 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel_fds.back(), 0);
    }
    // What is no program.
    our_fds.insert(our_fds.end(), {ours, 9999});
    kernel_fds.insert(kernel_fds.end(), {kernel, 9999});
    std::minstd_rand random(11);
    const auto numbered = [](Bpf bpf, const std::vector<int>& fds, const Answer& answer) {
        std::uint32_t id = 0;
        std::memcpy(&id, answer.value.data(), 4);
        for (long number = 0; answer.result == 0 && number < 3; ++number) {
            if (id == id_of(bpf, fds[static_cast<std::size_t>(number)])) {
                return 100 + number;
            }
        }
        return answer.result;
    };
    for (unsigned i = 0; i < 1000; ++i) {
        const int command =
            std::array{BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM,
                       BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM}[random() % 5];
        const std::uint32_t index = static_cast<std::uint32_t>(random() % 5);
        const std::size_t number = i == 0 ? 0 : random() % our_fds.size();
        const std::uint64_t flags = random() % 8 == 0 ? random() % 4 : 0;
        const Answer expected =
            ask(kernel_bpf, kernel, with(command, index, kernel_fds[number], flags));
        const Answer answer = ask(our_bpf, ours, with(command, index, our_fds[number], flags));
        if (command == BPF_MAP_LOOKUP_ELEM) {
            ASSERT_EQ(numbered(our_bpf, our_fds, answer),
                      numbered(kernel_bpf, kernel_fds, expected));
        } else {
            ASSERT_EQ(answer.result, expected.result)
                << "operation " << i << ": command " << command << ", index " << index
                << ", program " << number << ", flags " << flags;
        }
    }
    for (std::size_t i = 0; i < 3; ++i) {
        close(our_fds[i]);
        raw_system_call(SYS_close, kernel_fds[i]);
    }
}

/// The map has a reference of the program, and gives it back with its last user (K100).
TEST_F(ProgramArrays, keep_their_programs_until_the_last_user_leaves) {
    const auto by_id = [](std::uint32_t id) {
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.prog_id = id;
        const long fd = our_bpf(BPF_PROG_GET_FD_BY_ID, attr);
        if (fd >= 0) {
            close(static_cast<int>(fd));
        }
        return std::min(fd, 0L);
    };
    int ours = -1;
    int kernel = -1;
    ASSERT_NO_FATAL_FAILURE(make({"", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4}, ours, kernel));
    const int fd = program(our_bpf, BPF_PROG_TYPE_PERF_EVENT);
    const std::uint32_t id = id_of(our_bpf, fd);
    ASSERT_EQ(ask(our_bpf, ours, with(BPF_MAP_UPDATE_ELEM, 1, fd)).result, 0);
    close(fd);
    task::Worker::synchronize();
    EXPECT_EQ(by_id(id), 0);
    close(ours);
    ours_.clear();
    EXPECT_EQ(by_id(id), -ENOENT);
}

std::string name_of(const testing::TestParamInfo<Shape>& parameter) { return parameter.param.name; }

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
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 16, 7},  // empty: users put nothing in
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 7},     // no number here is of a program
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 12, 1000},
    {"bloom_filter_of_two", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 10000, 0, 2},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 12, 20, BPF_F_NO_PREALLOC},
    {"lpm_trie_of_bytes", BPF_MAP_TYPE_LPM_TRIE, 5, 1, 100, BPF_F_NO_PREALLOC},
    {"lpm_trie_of_long_keys", BPF_MAP_TYPE_LPM_TRIE, 68, 8, 50, BPF_F_NO_PREALLOC},
};

INSTANTIATE_TEST_SUITE_P(Kinds, Scripts, testing::ValuesIn(kShapes), name_of);

const Shape kBases[] = {
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 8, 4},
    {"stack", BPF_MAP_TYPE_STACK, 0, 8, 4},
    {"array", BPF_MAP_TYPE_ARRAY, 4, 8, 4},
    {"hash", BPF_MAP_TYPE_HASH, 4, 8, 4},
    {"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4},
    {"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 4},
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 8, 4},
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4},
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 4},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, 4, BPF_F_NO_PREALLOC},
};

INSTANTIATE_TEST_SUITE_P(Kinds, Creation, testing::ValuesIn(kBases), name_of);

}  // namespace
}  // namespace taskwork::test
