// SPDX-License-Identifier: Apache-2.0
//
// A whole BPF_PROG_LOAD as bytes, and back: attr's fields, instructions, tables, types.
#pragma once

#include <linux/bpf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace taskwork::fuzz {

/// Maps that every program finds, at these descriptors and on; program_fuzzer.cpp makes them.
inline constexpr std::int32_t kFirstMapDescriptor = 700;
/// What stands in a request where a map is meant: the map's number in the list.
inline constexpr std::uint32_t kMaps = 10;

struct LoadFields {
    std::uint32_t type = BPF_PROG_TYPE_SYSCALL;
    std::uint32_t flags = BPF_F_SLEEPABLE;
    std::uint32_t attach_type = 0;
    std::uint32_t log_level = 1;
    std::uint32_t function_bytes = 8;
    std::uint32_t line_bytes = 16;
    std::int32_t functions_more = 0;  ///< Counted beyond what is there.
    std::int32_t lines_more = 0;
    std::uint32_t licence = 0;  ///< 0: GPL.
    std::uint32_t has_types = 1;
};

struct LoadRequest {
    LoadFields fields;
    std::vector<std::byte> insns;
    std::vector<std::byte> functions;
    std::vector<std::byte> lines;
    std::vector<std::byte> types;

    /// Of any bytes: what is missing is empty.
    static LoadRequest from(std::span<const std::byte> bytes) {
        LoadRequest request;
        std::uint32_t sizes[3] = {};
        take(bytes, &request.fields, sizeof request.fields);
        take(bytes, sizes, sizeof sizes);
        std::vector<std::byte>* const parts[] = {&request.insns, &request.functions,
                                                 &request.lines};
        for (std::size_t i = 0; i < std::size(parts); ++i) {
            const std::size_t size = std::min<std::size_t>(sizes[i], bytes.size());
            parts[i]->assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
            bytes = bytes.subspan(size);
        }
        request.types.assign(bytes.begin(), bytes.end());
        return request;
    }

    [[nodiscard]] std::vector<std::byte> bytes() const {
        std::vector<std::byte> all;
        const auto add = [&all](const void* data, std::size_t size) {
            const auto* begin = static_cast<const std::byte*>(data);
            all.insert(all.end(), begin, begin + size);
        };
        const std::uint32_t sizes[] = {static_cast<std::uint32_t>(insns.size()),
                                       static_cast<std::uint32_t>(functions.size()),
                                       static_cast<std::uint32_t>(lines.size())};
        add(&fields, sizeof fields);
        add(sizes, sizeof sizes);
        for (const std::vector<std::byte>* part : {&insns, &functions, &lines, &types}) {
            add(part->data(), part->size());
        }
        return all;
    }

private:
    static void take(std::span<const std::byte>& bytes, void* to, std::size_t size) {
        size = std::min(size, bytes.size());
        std::copy_n(bytes.begin(), size, static_cast<std::byte*>(to));
        bytes = bytes.subspan(size);
    }
};

}  // namespace taskwork::fuzz
