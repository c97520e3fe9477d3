// SPDX-License-Identifier: Apache-2.0
//
// Maps as their users see them, through libbpf's thin wrappers of bpf(2). What is expected is what
// Linux 6.18 answers; the tests say nothing that could not be said to it, but for the last few.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <future>
#include <numeric>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "task/test_domain.hpp"
#include "task/worker.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/map_access.hpp"
#include "uapi/test_host.hpp"
#include "uapi/test_types.hpp"
#include "uapi/thread.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -524;

class Maps : public HostTest {
protected:
    ~Maps() override {
        for (const int descriptor : open_) {
            close(descriptor);
        }
    }

    /// Descriptor, or negative errno.
    int create(bpf_map_type type, std::uint32_t key, std::uint32_t value, std::uint32_t entries,
               std::uint32_t flags = 0) {
        LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
        return keep(bpf_map_create(type, "map", key, value, entries, &options));
    }
    /// With a value type of `types_`.
    int create_typed(bpf_map_type type, int value_type, std::uint32_t value_size,
                     std::uint32_t flags = 0) {
        LIBBPF_OPTS(
            bpf_map_create_opts, options, .btf_fd = static_cast<std::uint32_t>(types_.descriptor()),
            .btf_key_type_id = static_cast<std::uint32_t>(types_.u32),
            .btf_value_type_id = static_cast<std::uint32_t>(value_type), .map_flags = flags);
        return keep(bpf_map_create(type, "typed", 4, value_size, 8, &options));
    }
    /// An array of 8-byte values that can be mapped; the test closes it.
    static int create_mappable(std::uint32_t bytes) {
        LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
        return bpf_map_create(BPF_MAP_TYPE_ARRAY, "mapped", 4, 8, bytes / 8, &options);
    }
    int keep(int descriptor) {
        if (descriptor >= 0) {
            open_.push_back(descriptor);
        }
        return descriptor;
    }
    /// Whether the kernel found a special field: such a map cannot be frozen.
    static bool has_special_field(int map) { return bpf_map_freeze(map) == kNotSupported; }

    static bpf_map_info info_of(int map) {
        bpf_map_info info{};
        std::uint32_t size = sizeof info;
        EXPECT_EQ(bpf_obj_get_info_by_fd(map, &info, &size), 0);
        EXPECT_EQ(size, sizeof info);
        return info;
    }

    TestTypes types_;

private:
    std::vector<int> open_;
};

TEST_F(Maps, elements_are_inserted_found_replaced_and_deleted_with_the_errors_of_linux) {
    const int map = create(BPF_MAP_TYPE_HASH, 4, 8, 4);
    ASSERT_GE(map, 0);
    std::uint32_t key = 1;
    std::uint64_t value = 11;
    std::uint64_t found = 0;
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &found), -ENOENT);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_EXIST), -ENOENT);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_NOEXIST), 0);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_NOEXIST), -EEXIST);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, 64), -EINVAL);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_F_LOCK), -EINVAL);  // has no lock
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &found), 0);
    EXPECT_EQ(found, 11u);
    EXPECT_EQ(bpf_map_lookup_elem_flags(map, &key, &found, 1), -EINVAL);
    EXPECT_EQ(bpf_map_lookup_elem_flags(map, &key, &found, BPF_F_LOCK), -EINVAL);
    value = 12;
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    EXPECT_EQ(bpf_map_lookup_and_delete_elem(map, &key, &found), 0);
    EXPECT_EQ(found, 12u);
    EXPECT_EQ(bpf_map_lookup_and_delete_elem(map, &key, &found), -ENOENT);
    EXPECT_EQ(bpf_map_delete_elem(map, &key), -ENOENT);
    for (key = 0; key < 4; ++key) {
        EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    }
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), -E2BIG);
}

TEST_F(Maps, arrays_have_all_their_elements_and_keep_them) {
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 3);
    ASSERT_GE(map, 0);
    std::uint32_t key = 2;
    std::uint64_t value = 5;
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_NOEXIST), -EEXIST);
    EXPECT_EQ(bpf_map_delete_elem(map, &key), -EINVAL);
    EXPECT_EQ(bpf_map_lookup_and_delete_elem(map, &key, &value), kNotSupported);
    EXPECT_EQ(bpf_map_lookup_and_delete_elem_flags(map, &key, &value, BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(bpf_map_lookup_and_delete_elem(map, nullptr, &value), -EFAULT);
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &value), 0);
    EXPECT_EQ(value, 5u);
    key = 3;
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &value), -ENOENT);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), -E2BIG);
}

TEST_F(Maps, a_walk_by_next_key_meets_every_key_once) {
    for (const bpf_map_type type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY}) {
        const int map = create(type, 4, 8, 50);
        ASSERT_GE(map, 0);
        for (std::uint32_t key = 0; key < 50; ++key) {
            const std::uint64_t value = key;
            ASSERT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
        }
        std::multiset<std::uint32_t> keys;
        std::uint32_t key = 0;
        int error = bpf_map_get_next_key(map, nullptr, &key);
        while (error == 0) {
            keys.insert(key);
            ASSERT_LE(keys.size(), 50u);
            error = bpf_map_get_next_key(map, &key, &key);
        }
        EXPECT_EQ(error, -ENOENT);
        EXPECT_EQ(keys.size(), 50u);
        EXPECT_EQ(std::set<std::uint32_t>(keys.begin(), keys.end()).size(), 50u);
    }
}

/// A reader elsewhere that holds back what replacements leave, until told to go.
class Reader {
public:
    explicit Reader(int map_descriptor) {
        int error = 0;
        object_ = object_as<MapObject>(map_descriptor, error);
        std::promise<void> inside;
        thread_ = std::thread([this, &inside] {
            const ElementSection section;
            EXPECT_TRUE(section.entered());
            inside.set_value();
            leave_.get_future().wait();
        });
        inside.get_future().wait();
    }
    ~Reader() { leave(); }
    void leave() {
        if (thread_.joinable()) {
            leave_.set_value();
            thread_.join();
        }
    }
    [[nodiscard]] map::Usage usage() const { return map::usage(object_->map()); }

private:
    std::shared_ptr<MapObject> object_;
    std::promise<void> leave_;
    std::thread thread_;
};

/// What a small map has (docs/maps.md).
constexpr std::uint64_t kSpares = 832;

/// Replaces the one element until no memory is left for the next time.
void use_up_spares(int map, const Reader& reader) {
    const std::uint32_t key = 1;
    for (std::uint32_t value = 0; reader.usage().waiting < kSpares; ++value) {
        ASSERT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0) << value;
    }
}

TEST_F(Maps, an_update_waits_for_memory_that_a_reader_holds_back) {
    const int map = create(BPF_MAP_TYPE_HASH, 4, 4, 1);
    const std::uint32_t key = 1;
    std::uint32_t value = 77;
    Reader reader(map);
    ASSERT_NO_FATAL_FAILURE(use_up_spares(map, reader));
    auto update = std::async(std::launch::async,
                             [&] { return bpf_map_update_elem(map, &key, &value, BPF_ANY); });
    task::wait_until([&] { return reader.usage().refused_no_memory != 0; });
    reader.leave();
    EXPECT_EQ(update.get(), 0);
    std::uint32_t found = 0;
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &found), 0);
    EXPECT_EQ(found, value);
}

/// A machine with much else to do: all spares wait, and nobody has the processor who could say that
/// no reader holds them back.
TEST_F(Maps, an_update_waits_for_a_worker_that_is_held_up_for_longer_than_readers_are_waited_for) {
    const int map = create(BPF_MAP_TYPE_HASH, 4, 4, 1);
    const std::uint32_t key = 1;
    std::uint32_t value = 77;
    std::promise<void> held_up;
    std::promise<void> release;
    std::pair<std::promise<void>*, std::promise<void>*> both(&held_up, &release);
    task::Worker::after_grace_period(
        [](void* argument) noexcept {
            auto& [begun, end] = *static_cast<decltype(both)*>(argument);
            begun->set_value();
            end->get_future().wait();
        },
        &both);
    held_up.get_future().wait();
    {
        const Reader reader(map);
        ASSERT_NO_FATAL_FAILURE(use_up_spares(map, reader));
    }
    auto update = std::async(std::launch::async,
                             [&] { return bpf_map_update_elem(map, &key, &value, BPF_ANY); });
    EXPECT_EQ(update.wait_for(std::chrono::nanoseconds(2 * MapAccess::kMemoryWaitNs)),
              std::future_status::timeout);
    release.set_value();
    EXPECT_EQ(update.get(), 0);
}

TEST_F(Maps, an_update_gives_up_when_a_reader_holds_all_memory_back_for_long) {
    const int map = create(BPF_MAP_TYPE_HASH, 4, 4, 1);
    const std::uint32_t key = 1;
    const std::uint32_t value = 77;
    const Reader reader(map);
    ASSERT_NO_FATAL_FAILURE(use_up_spares(map, reader));
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), -ENOMEM);
}

TEST_F(Maps, a_ring_buffer_has_no_elements) {
    const int map = create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
    ASSERT_GE(map, 0);
    std::uint32_t word = 0;
    EXPECT_EQ(bpf_map_lookup_elem(map, nullptr, &word), kNotSupported);
    EXPECT_EQ(bpf_map_update_elem(map, nullptr, &word, 0), kNotSupported);
    EXPECT_EQ(bpf_map_delete_elem(map, nullptr), kNotSupported);
    EXPECT_EQ(bpf_map_get_next_key(map, nullptr, &word), kNotSupported);
}

TEST_F(Maps, creation_is_refused_for_what_makes_no_sense) {
    EXPECT_EQ(create(BPF_MAP_TYPE_HASH, 0, 8, 4), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_HASH, 4, 0, 4), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_HASH, 4, 8, 0), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_ARRAY, 8, 8, 4), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4095), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_RINGBUF, 4, 0, 4096), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_HASH, 4, 8, 4, BPF_F_MMAPABLE), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_NO_PREALLOC), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_HASH, 4, 8, 4, 1u << 31), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_HASH, 4, 8, 4, BPF_F_RDONLY | BPF_F_WRONLY), -EINVAL);
    EXPECT_EQ(create(static_cast<bpf_map_type>(200), 4, 8, 4), -EINVAL);
    EXPECT_EQ(create(BPF_MAP_TYPE_UNSPEC, 4, 8, 4), -EINVAL);
    EXPECT_EQ(bpf_map_create(BPF_MAP_TYPE_HASH, "bad-name", 4, 8, 4, nullptr), -EINVAL);
}

TEST_F(Maps, descriptors_opened_for_one_direction_refuse_the_other) {
    std::uint32_t key = 0;
    std::uint64_t value = 1;
    const int readable = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_RDONLY);
    ASSERT_GE(readable, 0);
    EXPECT_EQ(bpf_map_update_elem(readable, &key, &value, 0), -EPERM);
    EXPECT_EQ(bpf_map_lookup_elem(readable, &key, &value), 0);
    EXPECT_EQ(info_of(readable).map_flags, 0u);
    const int writable = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_WRONLY);
    ASSERT_GE(writable, 0);
    EXPECT_EQ(bpf_map_update_elem(writable, &key, &value, 0), 0);
    EXPECT_EQ(bpf_map_lookup_elem(writable, &key, &value), -EPERM);
    EXPECT_EQ(bpf_map_get_next_key(writable, nullptr, &key), -EPERM);
}

TEST_F(Maps, wrong_addresses_are_EFAULT) {
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1);
    ASSERT_GE(map, 0);
    std::uint32_t key = 0;
    std::uint64_t value = 0;
    void* hole = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(hole, MAP_FAILED);
    EXPECT_EQ(bpf_map_lookup_elem(map, hole, &value), -EFAULT);
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, hole), -EFAULT);
    EXPECT_EQ(bpf_map_update_elem(map, &key, hole, 0), -EFAULT);
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, nullptr), -EFAULT);
    EXPECT_EQ(bpf_map_get_next_key(map, nullptr, hole), -EFAULT);
    munmap(hole, 4096);
}

TEST_F(Maps, wrong_descriptors_are_told_apart) {
    std::uint32_t key = 0;
    std::uint64_t value = 0;
    EXPECT_EQ(bpf_map_lookup_elem(-1, &key, &value), -EBADF);
    EXPECT_EQ(bpf_map_lookup_elem(9999, &key, &value), -EBADF);
    EXPECT_EQ(bpf_map_lookup_elem(STDERR_FILENO, &key, &value), -EINVAL);
    EXPECT_EQ(bpf_map_lookup_elem(types_.descriptor(), &key, &value), -EINVAL);
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1);
    const int duplicate = dup(map);
    ASSERT_GE(duplicate, 0);
    EXPECT_EQ(bpf_map_lookup_elem(duplicate, &key, &value), 0);
    close(duplicate);
    EXPECT_EQ(bpf_map_lookup_elem(duplicate, &key, &value), -EBADF);
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &value), 0);
}

TEST_F(Maps, batches_write_walk_and_empty_a_hash) {
    constexpr std::uint32_t kCount = 100;
    const int map = create(BPF_MAP_TYPE_HASH, 8, 8, kCount);
    ASSERT_GE(map, 0);
    std::vector<std::uint64_t> keys(kCount);
    std::vector<std::uint64_t> values(kCount);
    std::iota(keys.begin(), keys.end(), 1000);
    std::iota(values.begin(), values.end(), 0);
    std::uint32_t count = kCount;
    ASSERT_EQ(bpf_map_update_batch(map, keys.data(), values.data(), &count, nullptr), 0);
    EXPECT_EQ(count, kCount);

    for (const bool and_delete : {false, true}) {
        std::set<std::uint64_t> seen;
        std::uint32_t token = 0;
        void* from = nullptr;
        int error = 0;
        for (int batches = 0; error == 0; ++batches) {
            ASSERT_LT(batches, 50);
            count = 32;
            std::uint64_t batch_keys[32];
            std::uint64_t batch_values[32];
            error = and_delete ? bpf_map_lookup_and_delete_batch(map, from, &token, batch_keys,
                                                                 batch_values, &count, nullptr)
                               : bpf_map_lookup_batch(map, from, &token, batch_keys, batch_values,
                                                      &count, nullptr);
            ASSERT_TRUE(error == 0 || error == -ENOENT) << error;
            for (std::uint32_t index = 0; index < count; ++index) {
                EXPECT_EQ(batch_keys[index], batch_values[index] + 1000);
                EXPECT_TRUE(seen.insert(batch_keys[index]).second);
            }
            from = &token;
        }
        EXPECT_EQ(seen.size(), kCount);
    }
    EXPECT_EQ(bpf_map_get_next_key(map, nullptr, keys.data()), -ENOENT);  // all are gone

    count = 3;
    ASSERT_EQ(bpf_map_update_batch(map, keys.data(), values.data(), &count, nullptr), 0);
    std::uint64_t wrong[] = {keys[0], 1, keys[2]};
    count = 3;
    EXPECT_EQ(bpf_map_delete_batch(map, wrong, &count, nullptr), -ENOENT);
    EXPECT_EQ(count, 1u);
    LIBBPF_OPTS(bpf_map_batch_opts, unknown, .flags = 1);
    count = 1;
    std::uint32_t token = 0;
    EXPECT_EQ(
        bpf_map_lookup_batch(map, nullptr, &token, keys.data(), values.data(), &count, &unknown),
        -EINVAL);
    LIBBPF_OPTS(bpf_map_batch_opts, unlocked, .elem_flags = BPF_F_LOCK);
    EXPECT_EQ(bpf_map_update_batch(map, wrong, wrong, &count, &unlocked), -EINVAL);
}

TEST_F(Maps, batches_walk_an_array_and_do_not_delete_from_it) {
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 10);
    ASSERT_GE(map, 0);
    std::uint32_t keys[10];
    std::uint64_t values[10];
    std::uint32_t token = 0;
    std::uint32_t count = 6;
    EXPECT_EQ(bpf_map_lookup_batch(map, nullptr, &token, keys, values, &count, nullptr), 0);
    EXPECT_EQ(count, 6u);
    EXPECT_EQ(keys[5], 5u);
    count = 6;
    EXPECT_EQ(bpf_map_lookup_batch(map, &token, &token, keys, values, &count, nullptr), -ENOENT);
    EXPECT_EQ(count, 4u);
    EXPECT_EQ(keys[3], 9u);
    EXPECT_EQ(bpf_map_delete_batch(map, keys, &count, nullptr), kNotSupported);
    EXPECT_EQ(bpf_map_lookup_and_delete_batch(map, nullptr, &token, keys, values, &count, nullptr),
              kNotSupported);
}

TEST_F(Maps, a_frozen_map_is_read_only_for_users) {
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE);
    ASSERT_GE(map, 0);
    std::uint32_t key = 0;
    std::uint64_t value = 7;
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, 0), 0);
    void* view = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    ASSERT_NE(view, MAP_FAILED);
    EXPECT_EQ(bpf_map_freeze(map), -EBUSY);  // could be written through the view
    ASSERT_EQ(munmap(view, 4096), 0);
    EXPECT_EQ(bpf_map_freeze(map), 0);
    EXPECT_EQ(bpf_map_freeze(map), -EPERM);
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, 0), -EPERM);
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &value), 0);
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0), MAP_FAILED);
    EXPECT_EQ(errno, EPERM);
    view = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, map, 0);
    ASSERT_NE(view, MAP_FAILED);
    EXPECT_EQ(*static_cast<std::uint64_t*>(view), 7u);
    EXPECT_NE(mprotect(view, 4096, PROT_READ | PROT_WRITE), 0);
    munmap(view, 4096);
}

TEST_F(Maps, a_mapped_array_is_the_map_itself_at_the_place_asked_for) {
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1024, BPF_F_MMAPABLE);
    ASSERT_GE(map, 0);
    void* place = mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(place, MAP_FAILED);
    void* view = mmap(place, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, map, 0);
    ASSERT_EQ(view, place);
    auto* values = static_cast<std::uint64_t*>(view);
    std::uint32_t key = 1000;
    std::uint64_t value = 0;
    values[key] = 99;
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, &value), 0);
    EXPECT_EQ(value, 99u);
    value = 100;
    EXPECT_EQ(bpf_map_update_elem(map, &key, &value, 0), 0);
    EXPECT_EQ(values[key], 100u);
    void* second = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, map, 4096);
    ASSERT_NE(second, MAP_FAILED);
    EXPECT_EQ(static_cast<std::uint64_t*>(second)[key - 512], 100u);
    EXPECT_EQ(mmap(nullptr, 12288, PROT_READ, MAP_SHARED, map, 0), MAP_FAILED);  // beyond the end
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, map, 0), MAP_FAILED);
    EXPECT_EQ(errno, EINVAL);
    munmap(second, 4096);
    munmap(view, 8192);
    const int plain = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1024);
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, plain, 0), MAP_FAILED);
    EXPECT_EQ(errno, EINVAL);
    const int hash = create(BPF_MAP_TYPE_HASH, 4, 8, 16);
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, hash, 0), MAP_FAILED);
    EXPECT_EQ(errno, 524);
}

// The map's memory went to the next map while it was still mapped.
TEST_F(Maps, a_mapping_keeps_its_map) {
    const auto exists = [](std::uint32_t id) {
        const int again = bpf_map_get_fd_by_id(id);
        if (again >= 0) {
            close(again);
        }
        return again >= 0;
    };
    const int map = create_mappable(8192);
    ASSERT_GE(map, 0);
    const std::uint32_t id = info_of(map).id;
    auto* view = static_cast<std::uint64_t*>(
        mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0));
    ASSERT_NE(static_cast<void*>(view), MAP_FAILED);
    close(map);
    munmap(view, 4096);
    EXPECT_EQ(munmap(view + 1, 8192), -1);  // refused: it unmaps nothing
    EXPECT_EQ(munmap(view + 512, 0), -1);
    task::Worker::synchronize();
    view[512] = 77;
    const int next = create_mappable(8192);
    ASSERT_GE(next, 0);
    std::uint32_t key = 512;
    std::uint64_t value = 1;
    EXPECT_EQ(bpf_map_lookup_elem(next, &key, &value), 0);
    EXPECT_EQ(value, 0u);
    EXPECT_EQ(view[512], 77u);
    EXPECT_TRUE(exists(id));
    munmap(view + 512, 4096);
    EXPECT_FALSE(exists(id));
    // A mapping for reading keeps it, too.
    const std::uint32_t next_id = info_of(next).id;
    void* reader = mmap(nullptr, 8192, PROT_READ, MAP_SHARED, next, 0);
    ASSERT_NE(reader, MAP_FAILED);
    close(next);
    EXPECT_TRUE(exists(next_id));
    munmap(reader, 8192);
    EXPECT_FALSE(exists(next_id));
}

// K80: which kinds may hold a slot.
TEST_F(Maps, a_slot_is_found_in_hash_and_array_values) {
    const int value =
        types_.structure("value", 16, {{"a", types_.u64, 0}, {"work", types_.task_work, 8}});
    for (const std::uint32_t flags : {0u, static_cast<std::uint32_t>(BPF_F_NO_PREALLOC)}) {
        const int hash = create_typed(BPF_MAP_TYPE_HASH, value, 16, flags);
        ASSERT_GE(hash, 0);
        EXPECT_TRUE(has_special_field(hash));
    }
    const int array = create_typed(BPF_MAP_TYPE_ARRAY, value, 16, BPF_F_MMAPABLE);
    ASSERT_GE(array, 0);
    EXPECT_TRUE(has_special_field(array));
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, array, 0), MAP_FAILED);
    EXPECT_EQ(errno, 524);
    EXPECT_EQ(create_typed(BPF_MAP_TYPE_ARRAY, value, 16, BPF_F_RDONLY_PROG), -EACCES);
    EXPECT_EQ(create_typed(BPF_MAP_TYPE_ARRAY, value, 16, BPF_F_WRONLY_PROG), -EACCES);
    EXPECT_GE(create_typed(BPF_MAP_TYPE_ARRAY, value, 16, BPF_F_RDONLY), 0);
}

// K84, K85: users neither see nor change the slot.
TEST_F(Maps, slot_bytes_read_as_zero_and_are_not_written) {
    const int value =
        types_.structure("value", 16, {{"a", types_.u64, 0}, {"work", types_.task_work, 8}});
    for (const bpf_map_type type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY}) {
        const int map = create_typed(type, value, 16);
        ASSERT_GE(map, 0);
        std::uint32_t key = 0;
        const std::uint64_t in[2] = {1, 0xdeadbeefdeadbeef};
        std::uint64_t out[2] = {9, 9};
        EXPECT_EQ(bpf_map_update_elem(map, &key, in, 0), 0);
        EXPECT_EQ(bpf_map_lookup_elem(map, &key, out), 0);
        EXPECT_EQ(out[0], 1u);
        EXPECT_EQ(out[1], 0u);
    }
}

// K83.
TEST_F(Maps, a_slot_in_nested_structs_is_found) {
    const int inner =
        types_.structure("inner", 16, {{"b", types_.u64, 0}, {"work", types_.task_work, 8}});
    const int middle = types_.structure("middle", 16, {{"inner", inner, 0}});
    const int value = types_.structure(
        "value", 32,
        {{"a", types_.u64, 0}, {"one", types_.array(middle, 1), 8}, {"c", types_.u64, 24}});
    const int map = create_typed(BPF_MAP_TYPE_HASH, value, 32);
    ASSERT_GE(map, 0);
    EXPECT_TRUE(has_special_field(map));
    const std::uint64_t in[4] = {1, 2, 3, 4};
    std::uint64_t out[4] = {};
    std::uint32_t key = 0;
    EXPECT_EQ(bpf_map_update_elem(map, &key, in, 0), 0);
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, out), 0);
    EXPECT_EQ(std::vector<std::uint64_t>(out, out + 4), (std::vector<std::uint64_t>{1, 2, 0, 4}));
}

// K81, K82: such bytes are plain data, and the map can be frozen.
TEST_F(Maps, two_slots_an_array_a_misaligned_slot_or_a_pointer_to_one_are_plain_data) {
    const int two =
        types_.structure("two", 16, {{"one", types_.task_work, 0}, {"other", types_.task_work, 8}});
    const int array =
        types_.structure("array", 16, {{"works", types_.array(types_.task_work, 2), 0}});
    const int packed =
        types_.structure("packed", 16, {{"a", types_.u32, 0}, {"work", types_.task_work, 4}});
    const int pointing =
        types_.structure("pointing", 16, {{"to", types_.pointer(types_.task_work), 8}});
    const int holder = types_.structure("holder", 8, {{"work", types_.task_work, 0}});
    const int holders = types_.structure("holders", 16, {{"many", types_.array(holder, 2), 0}});
    for (const int value : {two, array, packed, pointing, holders}) {
        const int map = create_typed(BPF_MAP_TYPE_HASH, value, 16);
        ASSERT_GE(map, 0);
        std::uint32_t key = 0;
        const std::uint64_t in[2] = {1, 2};
        std::uint64_t out[2] = {};
        EXPECT_EQ(bpf_map_update_elem(map, &key, in, 0), 0);
        EXPECT_EQ(bpf_map_lookup_elem(map, &key, out), 0);
        EXPECT_EQ(out[0], 1u);
        EXPECT_EQ(out[1], 2u);
        EXPECT_EQ(bpf_map_freeze(map), 0);
    }
}

// A struct that holds itself twice was looked through 2^32 times, an array of itself for ever.
TEST_F(Maps, types_that_hold_themselves_are_refused) {
    const int self = btf__type_cnt(types_.get());
    types_.structure("self", 16, {{"a", self, 0}, {"b", self, 8}});
    EXPECT_EQ(types_.descriptor(), -EEXIST);
}

TEST_F(Maps, types_that_do_not_fit_are_refused) {
    const int value = types_.structure("value", 16, {{"a", types_.u64, 0}});
    EXPECT_EQ(create_typed(BPF_MAP_TYPE_HASH, value, 24), -EINVAL);
    EXPECT_EQ(create_typed(BPF_MAP_TYPE_HASH, 9999, 16), -EINVAL);
    LIBBPF_OPTS(bpf_map_create_opts, options,
                .btf_fd = static_cast<std::uint32_t>(types_.descriptor()), .btf_key_type_id = 1);
    EXPECT_EQ(bpf_map_create(BPF_MAP_TYPE_HASH, "m", 4, 16, 1, &options), -EINVAL);
    options.btf_value_type_id = static_cast<std::uint32_t>(value);
    options.btf_fd = 9999;
    EXPECT_EQ(bpf_map_create(BPF_MAP_TYPE_HASH, "m", 4, 16, 1, &options), -EBADF);
    options.btf_fd = STDERR_FILENO;
    EXPECT_EQ(bpf_map_create(BPF_MAP_TYPE_HASH, "m", 4, 16, 1, &options), -EINVAL);
    options.btf_fd = static_cast<std::uint32_t>(types_.descriptor());
    options.btf_key_type_id = static_cast<std::uint32_t>(types_.u64);
    EXPECT_EQ(bpf_map_create(BPF_MAP_TYPE_ARRAY, "m", 4, 16, 1, &options), -EINVAL);
    EXPECT_EQ(bpf_map_create(BPF_MAP_TYPE_HASH, "m", 4, 16, 1, &options), -EINVAL);
}

TEST_F(Maps, information_tells_what_was_asked_for_cut_to_the_callers_size) {
    const int value = types_.structure("value", 16, {{"a", types_.u64, 0}});
    const int map = create_typed(BPF_MAP_TYPE_HASH, value, 16, BPF_F_NO_PREALLOC);
    ASSERT_GE(map, 0);
    const bpf_map_info info = info_of(map);
    EXPECT_EQ(info.type, static_cast<std::uint32_t>(BPF_MAP_TYPE_HASH));
    EXPECT_EQ(info.key_size, 4u);
    EXPECT_EQ(info.value_size, 16u);
    EXPECT_EQ(info.max_entries, 8u);
    EXPECT_EQ(info.map_flags, static_cast<std::uint32_t>(BPF_F_NO_PREALLOC));
    EXPECT_STREQ(info.name, "typed");
    EXPECT_EQ(info.btf_value_type_id, static_cast<std::uint32_t>(value));
    bpf_btf_info types{};
    std::uint32_t size = sizeof types;
    ASSERT_EQ(bpf_obj_get_info_by_fd(types_.descriptor(), &types, &size), 0);
    EXPECT_EQ(info.btf_id, types.id);

    bpf_map_info part{};
    size = 8;
    EXPECT_EQ(bpf_obj_get_info_by_fd(map, &part, &size), 0);
    EXPECT_EQ(size, 8u);
    EXPECT_EQ(part.id, info.id);
    EXPECT_EQ(part.key_size, 0u);
    struct {
        bpf_map_info known;
        std::uint64_t unknown[16];
    } larger{};
    size = sizeof larger;
    EXPECT_EQ(bpf_obj_get_info_by_fd(map, &larger, &size), 0);
    EXPECT_EQ(larger.known.id, info.id);
    larger.unknown[15] = 1;
    size = sizeof larger;
    EXPECT_EQ(bpf_obj_get_info_by_fd(map, &larger, &size), -E2BIG);
    size = sizeof part;
    EXPECT_EQ(bpf_obj_get_info_by_fd(STDERR_FILENO, &part, &size), -EINVAL);
    EXPECT_EQ(bpf_obj_get_info_by_fd(9999, &part, &size), -EBADFD);
}

TEST_F(Maps, a_map_is_found_by_its_id_while_anybody_holds_it) {
    const int map = create(BPF_MAP_TYPE_ARRAY, 4, 8, 1);
    const std::uint32_t id = info_of(map).id;
    std::uint32_t key = 0;
    std::uint64_t value = 3;
    ASSERT_EQ(bpf_map_update_elem(map, &key, &value, 0), 0);
    const int again = keep(bpf_map_get_fd_by_id(id));
    ASSERT_GE(again, 0);
    value = 0;
    EXPECT_EQ(bpf_map_lookup_elem(again, &key, &value), 0);
    EXPECT_EQ(value, 3u);
    std::uint32_t next = 0;
    bool met = false;
    while (bpf_map_get_next_id(next, &next) == 0) {
        met = met || next == id;
    }
    EXPECT_TRUE(met);
    EXPECT_EQ(bpf_map_get_fd_by_id(UINT32_MAX - 1), -ENOENT);
    EXPECT_EQ(bpf_map_get_next_id(UINT32_MAX, &next), -EINVAL);
}

TEST_F(Maps, attr_is_taken_in_any_size_and_refused_with_anything_unknown_in_it) {
    struct {
        union bpf_attr known;
        std::uint64_t more[4];
    } attr;
    std::memset(&attr, 0, sizeof attr);
    attr.known.map_type = BPF_MAP_TYPE_ARRAY;
    attr.known.key_size = 4;
    attr.known.value_size = 8;
    attr.known.max_entries = 1;
    const auto call = [&](std::uint32_t size) {
        const int result = static_cast<int>(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, size));
        return result < 0 ? -errno : keep(result);
    };
    EXPECT_GE(call(16), 0);
    EXPECT_GE(call(sizeof attr.known), 0);
    EXPECT_GE(call(sizeof attr), 0);
    EXPECT_EQ(call(12), -EINVAL);  // no max_entries
    EXPECT_EQ(call(8192), -E2BIG);
    attr.more[3] = 1;
    EXPECT_EQ(call(sizeof attr), -E2BIG);
    EXPECT_GE(call(sizeof attr.known), 0);
    attr.more[3] = 0;
    attr.known.core_relo_rec_size = 1;
    EXPECT_EQ(call(sizeof attr.known), -EINVAL);
    EXPECT_EQ(syscall(SYS_bpf, BPF_MAP_CREATE, nullptr, 16), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(syscall(SYS_bpf, 9999, &attr, 16), -1);
    EXPECT_EQ(errno, EINVAL);
}

#ifndef TASKWORK_TEST_REFERENCE  // what follows is ours alone

TEST_F(Maps, a_kind_that_is_not_there_is_named) {
    EXPECT_EQ(create(BPF_MAP_TYPE_USER_RINGBUF, 0, 0, 4096), -EINVAL);
    EXPECT_NE(last_diagnosis().find("map"), std::string::npos) << last_diagnosis();
    EXPECT_EQ(bpf_obj_pin(STDERR_FILENO, "/sys/fs/bpf/x"), -EOPNOTSUPP);
    EXPECT_NE(last_diagnosis(), "");
}

#endif

}  // namespace
}  // namespace taskwork::uapi
