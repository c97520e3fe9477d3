// SPDX-License-Identifier: Apache-2.0
//
// What is compared: a map of ours and std::unordered_map under a mutex, with one face. The kernel's
// are driven by a program (kernel.cpp). Keys and values are 8 bytes everywhere.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "map/map.hpp"
#include "report.hpp"
#include "task/run_point.hpp"

namespace taskwork::bench {

inline constexpr const char* kOurs = "ours: ";
inline constexpr const char* kOursInHandler = "ours, nmi: ";
inline constexpr const char* kMutex = "mutex and unordered_map: ";
inline constexpr const char* kKernel = "kernel: ";
/// Operations of an LRU map.
inline constexpr const char* kLruUpdate = "LRU update";
inline constexpr const char* kLruEvict = "LRU insert that evicts";
/// Sizes of the maps that are compared.
inline constexpr std::uint32_t kSmall = 1'000;
inline constexpr std::uint32_t kLarge = 1'000'000;
/// A full map of ours has no more spares than this at the least: as many operations that use one up
/// are done between two waits for them.
inline constexpr std::uint32_t kBatch = 256;

enum class Operation { lookup, update, insert, erase, erase_and_insert };

/// The keys first .. first + count - 1, in an order that no prefetcher guesses: by the golden
/// ratio, so that it is long before a key comes again near one that there was.
class Walk {
public:
    Walk(std::uint64_t first, std::uint64_t count)
        : first_(first), count_(count), stride_(count * 618'033 / kLarge | 1) {}
    std::uint64_t next() noexcept {
        at_ += stride_;
        at_ = at_ < count_ ? at_ : at_ - count_;
        return first_ + at_;
    }
    [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] std::uint64_t stride() const noexcept { return stride_; }

private:
    std::uint64_t first_;
    std::uint64_t count_;
    std::uint64_t stride_;  ///< Without a common divisor, for the sizes above.
    std::uint64_t at_ = 0;
};

/// A map of ours that lives as long as the process, which ends if there is no memory. Context:
/// task.
map::Map& make_map(const map::MapSpec& spec);
/// One of that type; `entries` are bytes for a ring buffer. Context: task.
map::Map& make_map(std::uint32_t type, std::uint32_t entries);

/// A map of ours, of hash or LRU type. All operations but the constructor's by registered threads.
class Ours {
public:
    Ours(std::uint32_t type, std::uint32_t entries) : map_(&make_map(type, entries)) {}

    /// Around a batch of operations, as around an execution of a program.
    struct Section {
        task::ReadSection sleepable{*task::current(), sync::Flavour::sleepable};
    };
    /// Context: any. In a Section.
    bool lookup(std::uint64_t key) noexcept { return map::lookup(*map_, &key) != nullptr; }
    bool update(std::uint64_t key) noexcept {
        return map::update(*map_, &key, &key, BPF_ANY) == no_error;
    }
    bool erase(std::uint64_t key) noexcept { return map::remove(*map_, &key) == no_error; }
    /// Waits until all spares are there again. Context: task, outside sections.
    static void settle();

private:
    map::Map* map_;
};

class Locked {
public:
    struct Section {};
    bool lookup(std::uint64_t key) {
        const std::scoped_lock guard(lock_);
        return map_.find(key) != map_.end();
    }
    bool update(std::uint64_t key) {
        const std::scoped_lock guard(lock_);
        map_[key] = key;
        return true;
    }
    bool erase(std::uint64_t key) {
        const std::scoped_lock guard(lock_);
        return map_.erase(key) != 0;
    }
    void settle() {}

private:
    std::mutex lock_;
    std::unordered_map<std::uint64_t, std::uint64_t> map_;
};

/// Does the operation on the next `times` keys; how often it did what it was to. Context: any.
template <class Subject>
std::uint64_t run(Subject& subject, Operation operation, Walk& walk, std::uint64_t times) {
    [[maybe_unused]] const typename Subject::Section section;
    std::uint64_t done = 0;
    const auto each = [&](auto&& act) {
        for (std::uint64_t i = 0; i < times; ++i) {
            done += act(walk.next()) ? 1U : 0U;
        }
    };
    switch (operation) {
    case Operation::lookup:
        each([&](std::uint64_t key) { return subject.lookup(key); });
        break;
    case Operation::update:
    case Operation::insert:
        each([&](std::uint64_t key) { return subject.update(key); });
        break;
    case Operation::erase:
        each([&](std::uint64_t key) { return subject.erase(key); });
        break;
    case Operation::erase_and_insert:  // Another thread may have been faster with the deletion.
        each([&](std::uint64_t key) {
            subject.erase(key);
            return subject.update(key);
        });
    }
    return done;
}

/// Puts the keys into the map. Context: task.
template <class Subject>
void fill(Subject& subject, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t key = first; key < first + count; ++key) {
        [[maybe_unused]] const typename Subject::Section section;
        subject.update(key);
    }
    subject.settle();
}

/// Makes the process a domain with maps, the calling thread a task of it. Context: task.
void start_domain();
/// Each part registers its benchmarks and its lines. Context: task.
void add_single(Report& report);
void add_threads(Report& report);
void add_rings(Report& report);
void add_ring_in_handler(Report& report);
/// The kernel's, which the others are held against.
void add_kernel(Report& report);

/// How rows are called: "ours: lookup, hit, 1,000 keys". Context: task.
std::string name_of(const char* whose, const std::string& operation, std::uint32_t entries);

}  // namespace taskwork::bench
