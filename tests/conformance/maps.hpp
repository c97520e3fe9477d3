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

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/raw_system_call.hpp"
#include "tests/random.hpp"
#include "tests/reference/kernel.hpp"
#include "uapi/test_host.hpp"

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
