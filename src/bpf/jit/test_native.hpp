// SPDX-License-Identifier: Apache-2.0
//
// For tests: translated code in executable memory of the process, and a frame for it to run in.
//
//     Native native(source);
//     EXPECT_EQ(native.run(7), 8u);
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "bpf/isa.hpp"
#include "bpf/jit/native.hpp"
#include "bpf/jit/translate.hpp"

namespace taskwork::bpf::jit::test {

class Native {
public:
    explicit Native(const Source& source) {
        auto translated = translate(source);
        if (!translated) {
            ADD_FAILURE() << translated.error().text;
            std::abort();
        }
        image_ = std::move(*translated);
        memory_ = ::mmap(nullptr, image_.code.size(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory_ == MAP_FAILED) {
            ADD_FAILURE() << "no memory for code";
            std::abort();
        }
        std::memcpy(memory_, image_.code.data(), image_.code.size());
        if (::mprotect(memory_, image_.code.size(), PROT_READ | PROT_EXEC) != 0) {
            ADD_FAILURE() << "no executable memory";
            std::abort();
        }
        state.frame = reinterpret_cast<std::uint64_t>(frames.data());
    }
    ~Native() { ::munmap(memory_, image_.code.size()); }
    Native(const Native&) = delete;
    Native& operator=(const Native&) = delete;

    /// The function that begins at an instruction; nullptr: none does.
    [[nodiscard]] const void* function(std::uint32_t insn) const {
        for (const Place& function : image_.functions) {
            if (function.insn == insn) {
                return static_cast<const std::byte*>(memory_) + function.offset;
            }
        }
        return nullptr;
    }
    std::uint64_t run(std::uint64_t r1 = 0, std::uint64_t r2 = 0, std::uint64_t r3 = 0,
                      std::uint64_t r4 = 0) {
        return taskwork_enter_native(r1, r2, r3, r4, function(0), &state);
    }
    [[nodiscard]] bool contains(const void* address) const {
        return static_cast<std::size_t>(static_cast<const std::byte*>(address) -
                                        static_cast<const std::byte*>(memory_)) <
               image_.code.size();
    }

    NativeState state;
    std::vector<std::uint64_t> frames =
        std::vector<std::uint64_t>(std::size_t{kFrameBytes} * kFramesMax / sizeof(std::uint64_t));

private:
    Image image_;
    void* memory_ = nullptr;
};

}  // namespace taskwork::bpf::jit::test
