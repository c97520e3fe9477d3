// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/unwind.hpp"

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "bpf/jit/code_region.hpp"

namespace taskwork::bpf::jit {

namespace {

// Of DWARF, and its numbers of this processor's registers.
constexpr std::uint8_t kDefCfa = 0x0c;
constexpr std::uint8_t kOffset = 0x80;
constexpr std::uint8_t kRbp = 6;
constexpr std::uint8_t kReturnAddress = 16;

/// What .eh_frame of an ordinary object holds. Right wherever a native function can be seen from
/// what it calls: behind its first two instructions. The registers that functions keep for their
/// callers are given back by taskwork_enter_native's own description.
struct [[gnu::packed]] Frames {
    std::uint32_t cie_length;
    std::uint32_t cie_id;
    std::uint8_t version;
    char augmentation[1];
    std::uint8_t code_alignment;
    std::uint8_t data_alignment;
    std::uint8_t return_address;
    std::uint8_t rules[7];
    std::uint32_t fde_length;
    std::uint32_t cie_distance;
    std::uint64_t start;
    std::uint64_t size;
    std::uint8_t no_rules[4];
    std::uint32_t end;
};
constexpr std::uint8_t kMinus8 = 0x78;  // As SLEB128.

constinit Frames frames{
    .cie_length = offsetof(Frames, fde_length) - sizeof(std::uint32_t),
    .cie_id = 0,
    .version = 1,
    .augmentation = {'\0'},
    .code_alignment = 1,
    .data_alignment = kMinus8,
    .return_address = kReturnAddress,
    .rules = {kDefCfa, kRbp, 16, kOffset | kReturnAddress, 1, kOffset | kRbp, 2},
    .fde_length = offsetof(Frames, end) - offsetof(Frames, cie_distance),
    .cie_distance = offsetof(Frames, cie_distance),
    .start = CodeRegion::kBase,
    .size = CodeRegion::kBytes,
    .no_rules = {},
    .end = 0,
};

constinit bool is_registered = false;

}  // namespace

void register_frames() noexcept {
    const char* setting = std::getenv("TASKWORK_UNWIND");
    if (is_registered || setting == nullptr || std::strcmp(setting, "1") != 0) {
        return;
    }
    // The process's libgcc, not the one that the preload library has for itself. A program in C has
    // none until backtrace(3) loads it.
    void* found = ::dlsym(RTLD_DEFAULT, "__register_frame");
    if (found == nullptr) {
        if (void* library = ::dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL); library != nullptr) {
            found = ::dlsym(library, "__register_frame");
        }
    }
    if (found != nullptr) {
        is_registered = true;
        reinterpret_cast<void (*)(void*)>(found)(&frames);
    }
}

}  // namespace taskwork::bpf::jit
