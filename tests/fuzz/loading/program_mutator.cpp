// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <span>

#include "mutate.hpp"
#include "request.hpp"

namespace taskwork::fuzz {
namespace {

/// Opcodes of all classes, wide constants and calls among them.
std::uint8_t opcode(Random& random) {
    static constexpr std::uint8_t usual[] = {
        0xb7, 0xbf, 0x07, 0x0f, 0x17, 0x27, 0x57, 0x67, 0x77, 0xc7, 0xb4, 0xbc, 0x04, 0x61, 0x69,
        0x71, 0x79, 0x62, 0x63, 0x7a, 0x7b, 0x73, 0xdb, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x55, 0x5d,
        0x65, 0xa5, 0xc5, 0x16, 0x1e, 0x85, 0x95, 0x18, 0x37, 0x9f, 0x84, 0xd4, 0xdc, 0xd7, 0x06};
    return below(random, 8) == 0 ? static_cast<std::uint8_t>(random())
                                 : usual[below(random, std::size(usual))];
}

void change_field(bpf_insn& insn, Random& random) {
    switch (below(random, 6)) {
    case 0:
        insn.code = opcode(random);
        break;
    case 1:
        insn.dst_reg = below(random, 12) & 0xf;
        break;
    case 2:
        insn.src_reg = below(random, 12) & 0xf;
        break;
    case 3:
        insn.off = static_cast<std::int16_t>(below(random, 4) == 0 ? odd_word(random)
                                                                   : below(random, 17) - 8);
        break;
    case 4:
        insn.imm = static_cast<std::int32_t>(below(random, 2) == 0 ? odd_word(random)
                                                                   : below(random, 220));
        break;
    default:
        insn.imm = kFirstMapDescriptor + static_cast<std::int32_t>(below(random, kMaps + 1));
        break;
    }
}

template <class T>
std::vector<T> as_vector(const std::vector<std::byte>& bytes) {
    std::vector<T> all(bytes.size() / sizeof(T));
    if (!all.empty()) {
        std::memcpy(static_cast<void*>(all.data()), bytes.data(), all.size() * sizeof(T));
    }
    return all;
}

void mutate_insns(std::vector<std::byte>& bytes, Random& random) {
    std::vector<bpf_insn> insns = as_vector<bpf_insn>(bytes);
    for (std::uint32_t changes = 1 + below(random, 3); changes > 0; --changes) {
        if (insns.empty()) {
            insns.push_back({.code = 0x95, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0});
        }
        const auto at = insns.begin() + below(random, insns.size());
        switch (below(random, 8)) {
        case 0:
            insns.erase(at);
            break;
        case 1:
            insns.insert(at, bpf_insn(*at));
            break;
        case 2: {
            bpf_insn insn{};
            insn.code = opcode(random);
            insn.dst_reg = below(random, 11) & 0xf;
            insn.src_reg = below(random, 11) & 0xf;
            insn.imm = static_cast<std::int32_t>(below(random, 64));
            insns.insert(at, insn);
            break;
        }
        case 3:
            std::iter_swap(at, insns.begin() + below(random, insns.size()));
            break;
        default:
            change_field(*at, random);
            break;
        }
    }
    const auto all = std::as_bytes(std::span(insns));
    bytes.assign(all.begin(), all.end());
}

void mutate_table(std::vector<std::byte>& bytes, Random& random) {
    std::vector<std::uint32_t> words = as_vector<std::uint32_t>(bytes);
    if (words.empty() || below(random, 8) == 0) {
        words.push_back(below(random, 16));
    }
    const std::size_t which = below(random, words.size());
    switch (below(random, 4)) {
    case 0:
        words[which] = odd_word(random);
        break;
    case 1:
        words[which] += below(random, 5) - 2;
        break;
    case 2:
        words.resize(which);
        break;
    default:
        words[which] = below(random, 64);
        break;
    }
    const auto all = std::as_bytes(std::span(words));
    bytes.assign(all.begin(), all.end());
}

void mutate_fields(LoadFields& fields, Random& random) {
    std::uint32_t words[sizeof fields / 4];
    std::memcpy(words, &fields, sizeof fields);
    words[below(random, std::size(words))] =
        below(random, 2) == 0 ? below(random, 33) : odd_word(random);
    std::memcpy(static_cast<void*>(&fields), words, sizeof fields);
}

void mutate(LoadRequest& request, Random& random) {
    const std::uint32_t choice = below(random, 32);
    if (choice < 20) {
        mutate_insns(request.insns, random);
    } else if (choice < 23) {
        mutate_table(request.functions, random);
    } else if (choice < 26) {
        mutate_table(request.lines, random);
    } else if (choice < 31) {
        mutate_types(request.types, random);
    } else {
        mutate_fields(request.fields, random);
    }
}

}  // namespace
}  // namespace taskwork::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed) {
    using namespace taskwork::fuzz;
    Random random(seed);
    std::vector<std::byte> bytes;
    if (below(random, 32) == 0) {
        const auto* begin = reinterpret_cast<const std::byte*>(data);
        bytes.assign(begin, begin + size);
        mutate_bytes(bytes, size_max);
    } else {
        LoadRequest request = LoadRequest::from(std::as_bytes(std::span(data, size)));
        for (std::uint32_t changes = 1 + below(random, 2); changes > 0; --changes) {
            mutate(request, random);
        }
        bytes = request.bytes();
    }
    const std::size_t now = std::min(bytes.size(), size_max);
    std::copy_n(bytes.begin(), now, reinterpret_cast<std::byte*>(data));
    return now;
}
