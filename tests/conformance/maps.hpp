// SPDX-License-Identifier: Apache-2.0
//
// Two maps of the same shape, one in the kernel and one here, get the same commands of bpf(2):
// every result, error and byte that comes back is compared. Needs a kernel that can be the
// reference; its maps are closed at the end.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/raw_system_call.hpp"
#include "tests/random.hpp"
#include "tests/reference/kernel.hpp"
#include "uapi/test_host.hpp"
#include "uapi/test_types.hpp"

namespace taskwork::test {

using Bytes = std::vector<std::uint8_t>;

/// Neither side's C library is between: the one is answered by the kernel, the other in process.
inline long kernel_bpf(int command, bpf_attr& attr) {
    return raw_system_call(__NR_bpf, command, reinterpret_cast<long>(&attr), sizeof attr);
}
inline long our_bpf(int command, bpf_attr& attr) {
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
    std::uint32_t keys = 0;  ///< How many scripts use; 0: twice as many as there are entries.
    bool has_lock = false;   ///< Its values are { u64; bpf_spin_lock; u32; u64 }.
};

inline void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

inline void fill(bpf_attr& attr, const Shape& shape) {
    std::memset(&attr, 0, sizeof attr);
    attr.map_type = shape.type;
    attr.key_size = shape.key_size;
    attr.value_size = shape.value_size;
    attr.max_entries = shape.max_entries;
    attr.map_flags = shape.flags;
    attr.map_extra = shape.extra;
}

/// Bytes of a value as users give and get it.
inline std::size_t value_bytes(const Shape& shape) {
    switch (shape.type) {
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
        return ((shape.value_size + std::size_t{7}) & ~std::size_t{7}) *
               static_cast<std::size_t>(libbpf_num_possible_cpus());
    default:
        return shape.value_size;
    }
}

/// What a command is given, and what it must give back on both sides.
struct Request {
    int command = 0;
    bool has_key = true;
    Bytes key;
    Bytes value;
    std::uint64_t flags = 0;
    std::uint32_t count = 0;        ///< Of batches;
    std::uint64_t batch_flags = 0;  ///< theirs, where `flags` are the elements';
    Bytes token;                    ///< and where they go on; empty: from the beginning.
};

inline bool is_batch(const Request& request) {
    return request.command >= BPF_MAP_LOOKUP_BATCH && request.command <= BPF_MAP_DELETE_BATCH;
}

struct Answer {
    long result = 0;
    Bytes key;
    Bytes value;
    std::uint32_t count = 0;
    friend bool operator==(const Answer&, const Answer&) = default;
};

inline void PrintTo(const Answer& answer, std::ostream* out) {
    *out << answer.result << ", count " << answer.count << ", key "
         << testing::PrintToString(answer.key) << ", value "
         << testing::PrintToString(answer.value);
}

using Bpf = long (*)(int command, bpf_attr& attr);

/// `token`: where the token of a batch goes.
inline Answer ask(Bpf bpf, int map, const Request& request, Bytes* token = nullptr) {
    Answer answer{0, request.key, request.value, request.count};
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    const auto address = [](Bytes& bytes) {
        return reinterpret_cast<std::uintptr_t>(bytes.data());
    };
    Bytes next(request.key.size() + 8, 0xee);
    Bytes from = request.token;
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
        attr.batch.flags = request.batch_flags;
        attr.batch.in_batch = from.empty() ? 0 : address(from);
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
    if (is_batch(request)) {
        answer.count = attr.batch.count;
    }
    if (token != nullptr) {
        *token = std::move(next);
    }
    return answer;
}

/// What BPF_OBJ_GET_INFO_BY_FD says of a map or program; Info is the kernel's structure.
template <class Info>
Info info_of(Bpf bpf, int descriptor) {
    Info info{};
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.info.bpf_fd = static_cast<std::uint32_t>(descriptor);
    attr.info.info = reinterpret_cast<std::uintptr_t>(&info);
    attr.info.info_len = sizeof info;
    EXPECT_EQ(bpf(BPF_OBJ_GET_INFO_BY_FD, attr), 0);
    return info;
}

/// A command on an entry of an array whose values are descriptors.
inline Request on_entry(int command, std::uint32_t index, int fd = 0, std::uint64_t flags = 0) {
    Request request;
    request.command = command;
    request.key.resize(4);
    std::memcpy(request.key.data(), &index, 4);
    request.value.resize(4);
    std::memcpy(request.value.data(), &fd, 4);
    request.flags = flags;
    return request;
}

/// Descriptor or negative errno. Key and value have types where the shape needs them.
inline long create_map(Bpf bpf, const Shape& shape) {
    bpf_attr attr;
    fill(attr, shape);
    if (!shape.has_lock) {
        return bpf(BPF_MAP_CREATE, attr);
    }
    uapi::TestTypes types;
    const int value = types.structure("value", shape.value_size,
                                      {{"before", types.u64, 0},
                                       {"lock", types.spin_lock, 8},
                                       {"between", types.u32, 12},
                                       {"behind", types.u64, 16}});
    bpf_attr load;
    std::memset(&load, 0, sizeof load);
    load.btf = reinterpret_cast<std::uintptr_t>(btf__raw_data(types.get(), &load.btf_size));
    const long btf = bpf(BPF_BTF_LOAD, load);
    if (btf < 0) {
        return btf;
    }
    attr.btf_fd = static_cast<std::uint32_t>(btf);
    attr.btf_key_type_id = static_cast<std::uint32_t>(types.u32);
    attr.btf_value_type_id = static_cast<std::uint32_t>(value);
    const long map = bpf(BPF_MAP_CREATE, attr);
    if (bpf == our_bpf) {
        close(static_cast<int>(btf));
    } else {
        raw_system_call(SYS_close, btf);
    }
    return map;
}

/// What is found by batches from the beginning to the end. How many batches that takes is each
/// side's own, and so is the order.
struct Walk {
    long result = 0;          ///< Of the last batch.
    long deleting = 0;        ///< Of the first deletion that failed.
    std::uint32_t count = 0;  ///< Elements that came; what comes twice twice.
    std::map<Bytes, Bytes> elements;
    friend bool operator==(const Walk&, const Walk&) = default;
};

inline void PrintTo(const Walk& walk, std::ostream* out) {
    *out << walk.result << ", deleting " << walk.deleting << ", " << walk.count
         << " elements: " << testing::PrintToString(walk.elements);
}

/// `batch` again and again, each where the one before has ended; twice as large if a single bucket
/// does not fit. `deletes`: what has come is deleted behind each of them.
inline Walk walk_in_batches(Bpf bpf, int map, Request batch, std::size_t key_size,
                            std::size_t value_size, bool deletes) {
    constexpr std::uint32_t kCountMax = 1U << 20;
    Walk all;
    while (batch.count <= kCountMax) {
        batch.key.assign(std::max<std::size_t>(batch.count * key_size, 1), 0);
        batch.value.assign(std::max<std::size_t>(batch.count * value_size, 1), 0);
        Bytes token;
        const Answer answer = ask(bpf, map, batch, &token);
        all.result = answer.result;
        if (answer.result == -ENOSPC) {
            EXPECT_EQ(answer.count, 0U);
            batch.count *= 2;
            batch.token = token;
            continue;
        }
        if (answer.result != 0 && answer.result != -ENOENT) {
            break;
        }
        all.count += answer.count;
        for (std::uint32_t i = 0; i < answer.count; ++i) {
            const auto key = answer.key.begin() + static_cast<std::ptrdiff_t>(i * key_size);
            const auto value = answer.value.begin() + static_cast<std::ptrdiff_t>(i * value_size);
            all.elements[Bytes(key, key + static_cast<std::ptrdiff_t>(key_size))] =
                Bytes(value, value + static_cast<std::ptrdiff_t>(value_size));
        }
        if (deletes && answer.count != 0) {
            Request deletion;
            deletion.command = BPF_MAP_DELETE_BATCH;
            deletion.key = answer.key;
            deletion.count = answer.count;
            const long result = ask(bpf, map, deletion).result;
            all.deleting = all.deleting != 0 ? all.deleting : result;
        }
        if (answer.result == -ENOENT || batch.count == 0) {
            break;
        }
        batch.token = token;
    }
    return all;
}

/// By GET_NEXT_KEY; one that comes twice twice, but no more than `most`.
inline std::vector<Bytes> walk_keys(Bpf bpf, int map, std::size_t key_size, std::size_t most) {
    std::vector<Bytes> keys;
    Request walk;
    walk.command = BPF_MAP_GET_NEXT_KEY;
    walk.has_key = false;
    walk.key.resize(key_size);
    for (Answer answer; keys.size() < most && (answer = ask(bpf, map, walk)).result == 0;
         walk.has_key = true) {
        std::copy_n(answer.key.begin(), walk.key.size(), walk.key.begin());
        keys.push_back(walk.key);
    }
    std::sort(keys.begin(), keys.end());
    return keys;
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
    void TearDown() override { close_all(); }
    void close_all() {
        for (const int descriptor : kernel_) {
            raw_system_call(SYS_close, descriptor);
        }
        for (const int descriptor : ours_) {
            close(descriptor);
        }
        kernel_.clear();
        ours_.clear();
    }
    void make(const Shape& shape, int& ours, int& kernel) {
        task::Worker::synchronize();
        ours = static_cast<int>(create_map(our_bpf, shape));
        kernel = static_cast<int>(create_map(kernel_bpf, shape));
        ASSERT_GE(ours, 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel, 0);
        ours_.push_back(ours);
        kernel_.push_back(kernel);
    }

    std::vector<int> ours_;
    std::vector<int> kernel_;
};

/// How many random scripts a kind gets (TASKWORK_SCRIPTS), and of how many commands.
struct Scripting {
    unsigned count;
    unsigned operations;
};
inline Scripting scripts() {
    return {static_cast<unsigned>(setting("TASKWORK_SCRIPTS", is_long() ? 1000 : 4)), 10'000};
}

inline std::string name_of(const testing::TestParamInfo<Shape>& parameter) {
    return parameter.param.name;
}

}  // namespace taskwork::test
