// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "mutate.hpp"
#include "request.hpp"

namespace taskwork::fuzz {
namespace {

void mutate_fields(LoadFields& fields, Random& random) {
    std::uint32_t words[sizeof fields / 4];
    std::memcpy(words, &fields, sizeof fields);
    words[below(random, std::size(words))] =
        below(random, 2) == 0 ? below(random, 33) : odd_word(random);
    std::memcpy(static_cast<void*>(&fields), words, sizeof fields);
}

/// Records of functions and lines begin with the instruction that they are of.
void move_records(std::vector<std::byte>& table, std::uint32_t record_bytes, const Shift& shift) {
    if (record_bytes < 4 || record_bytes % 4 != 0) {
        return;
    }
    for (std::size_t at = 0; at + 4 <= table.size(); at += record_bytes) {
        std::uint32_t insn = 0;
        std::memcpy(&insn, table.data() + at, sizeof insn);
        if (insn > shift.at || (insn == shift.at && insn != 0 && shift.by > 0)) {
            insn += static_cast<std::uint32_t>(shift.by);
            std::memcpy(table.data() + at, &insn, sizeof insn);
        }
    }
}

void mutate(LoadRequest& request, Random& random) {
    // libFuzzer changes an input several times over: what breaks all else comes seldom.
    const std::uint32_t choice = below(random, 128);
    if (choice < 112) {
        for (const Shift& shift : mutate_insns(request.insns, random)) {
            move_records(request.functions, request.fields.function_bytes, shift);
            move_records(request.lines, request.fields.line_bytes, shift);
        }
    } else if (choice < 118) {
        mutate_table(request.functions, random);
    } else if (choice < 124) {
        mutate_table(request.lines, random);
    } else if (choice < 127) {
        mutate_types(request.types, random);
    } else {
        mutate_fields(request.fields, random);
    }
}

}  // namespace

void mutate_input(std::vector<std::byte>& bytes, Random& random, std::size_t size_max) {
    if (below(random, 128) == 0) {
        mutate_bytes(bytes, size_max);
        return;
    }
    LoadRequest request = LoadRequest::from(bytes);
    for (std::uint32_t changes = 1 + below(random, 2); changes > 0; --changes) {
        mutate(request, random);
    }
    bytes = request.bytes();
}

}  // namespace taskwork::fuzz
