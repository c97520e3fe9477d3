// SPDX-License-Identifier: Apache-2.0
//
// Frames: call frame information of native code, of the region as of a single program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bpf/jit/processor.hpp"

namespace taskwork::bpf::jit {

/// What .eh_frame or .debug_frame of an ordinary object holds, with one range of code. Right
/// wherever a native function can be seen from what it calls: behind its beginning, which links its
/// frame. The registers that functions keep for their callers are given back by
/// taskwork_enter_native's own description.
struct [[gnu::packed]] Frames {
    enum class Section : std::uint8_t { eh_frame, debug_frame };

    std::uint32_t cie_length;
    std::uint32_t cie_id;
    std::uint8_t version;
    char augmentation[1];
    std::uint8_t code_alignment;
    std::uint8_t data_alignment;
    std::uint8_t return_address;
    std::uint8_t rules[sizeof(Processor::frame_rules)];
    std::uint32_t fde_length;
    std::uint32_t cie;  ///< How far before this word it begins; in .debug_frame where, in all.
    std::uint64_t start;
    std::uint64_t size;
    std::uint8_t no_rules[4];
    std::uint32_t end;  ///< Of .eh_frame.
};

inline Frames frames_of(std::uintptr_t start, std::size_t size, Frames::Section section) noexcept {
    const bool is_debug = section == Frames::Section::debug_frame;
    constexpr std::uint8_t kMinus8 = 0x78;  // As SLEB128.
    Frames frames{};
    frames.cie_length = offsetof(Frames, fde_length) - sizeof(std::uint32_t);
    frames.cie_id = is_debug ? UINT32_MAX : 0;
    frames.version = 1;
    frames.code_alignment = 1;
    frames.data_alignment = kMinus8;
    frames.return_address = kProcessor.return_address;
    std::memcpy(frames.rules, kProcessor.frame_rules, sizeof(frames.rules));
    frames.fde_length = offsetof(Frames, end) - offsetof(Frames, cie);
    frames.cie = is_debug ? 0 : offsetof(Frames, cie);
    frames.start = start;
    frames.size = size;
    return frames;
}

}  // namespace taskwork::bpf::jit
