// SPDX-License-Identifier: Apache-2.0
//
// KernelSide: the kernel under us as one more engine for generated programs: maps of its own, of
// the kinds that World has, and programs loaded into it, which it runs on demand
// (BPF_PROG_TEST_RUN). Nothing is attached or pinned; all goes with the object.
//
// A program of the system could do harm there, and a verifier has faults, so what it is shown is
// chosen by a list of what is allowed (may_be_shown()).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/soundness/world.hpp"

namespace taskwork::fuzz {

/// What an execution is given, and what it leaves.
struct Memory {
    static constexpr std::size_t kContextBytes = 512;
    using Element = std::array<std::uint64_t, 6>;
    using Record = std::vector<std::uint8_t>;

    std::array<std::uint64_t, kContextBytes / 8> context{};
    std::array<std::array<std::uint64_t, 8>, 2> values{};
    std::array<std::uint64_t, 16> direct{};
    std::array<std::uint64_t, 16> constants{};
    std::array<std::optional<Element>, World::kHashKeys> hash;
    std::vector<Record> records;
    friend bool operator==(const Memory&, const Memory&) = default;
    /// Where they differ, each word.
    [[nodiscard]] std::string difference(const Memory& other) const;
};

/// A file descriptor, closed at the end.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor();
    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

class KernelSide {
public:
    /// `constants`: of the constant array.
    explicit KernelSide(const std::array<std::uint64_t, 16>& constants);
    ~KernelSide();
    KernelSide(const KernelSide&) = delete;
    KernelSide& operator=(const KernelSide&) = delete;

    /// Empty, or why the kernel under us is not to be asked.
    static std::string unavailable_because();

    /// Only helpers that do nothing beyond the program's own maps and memory, no kfuncs, no types
    /// of the kernel.
    static bool may_be_shown(const Generated& program);

    /// Descriptors for the generator.
    MapFds fds;

    struct Loaded {
        Descriptor program;
        std::string reason;  ///< Why it was refused.
        std::string log;     ///< And the path there.
    };
    /// Generated with our `fds`.
    Loaded load(const Generated& program);

    /// Runs it on the memory. Nothing: the kernel does not run it.
    std::optional<std::uint32_t> run(const Descriptor& program, Memory& memory);

private:
    [[nodiscard]] int try_load(const Generated& program, std::string* log) const;
    void put(const Memory& memory) const;
    void take(Memory& memory);
    void take_records(std::vector<Memory::Record>& records);

    std::array<Descriptor, 5> maps_;
    Descriptor types_;
    /// In `types_`, of functions.
    struct Prototypes {
        std::uint32_t main;
        std::uint32_t local;
        std::uint32_t global_numbers;
        std::uint32_t global_memory;
        std::uint32_t global_memory_or_null;
    } prototypes_{};
    std::uint64_t* consumer_ = nullptr;        ///< Of the ring: its position.
    const std::uint64_t* producer_ = nullptr;  ///< And the producers', with the data behind.
};

}  // namespace taskwork::fuzz
