// SPDX-License-Identifier: Apache-2.0
#include "mutate.hpp"

#include <linux/btf.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>
#include <string>

#include "uapi/test_malformed.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed);

namespace taskwork::fuzz {
namespace {

using uapi::RawBtf;

constexpr std::size_t kTypeWords = 3;

/// Words behind a btf_type.
std::size_t words_behind(std::uint32_t info) {
    const std::size_t vlen = info & 0xffff;
    switch (info >> 24 & 0x1f) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
        return 1;
    case BTF_KIND_ARRAY:
        return 3;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_DATASEC:
    case BTF_KIND_ENUM64:
        return 3 * vlen;
    case BTF_KIND_ENUM:
    case BTF_KIND_FUNC_PROTO:
        return 2 * vlen;
    default:
        return 0;
    }
}

/// Where types begin, as far as they are whole; the last is the end.
std::vector<std::size_t> begins_of(const std::vector<std::uint32_t>& words) {
    std::vector<std::size_t> begins{0};
    while (begins.back() + kTypeWords <= words.size()) {
        const std::size_t next =
            begins.back() + kTypeWords + words_behind(words[begins.back() + 1]);
        if (next > words.size()) {
            break;
        }
        begins.push_back(next);
    }
    return begins;
}

/// Both sections of what may be BTF.
RawBtf take_apart(const std::vector<std::byte>& bytes) {
    RawBtf btf;
    btf_header header{};
    if (bytes.size() < sizeof header) {
        btf.integer();
        return btf;
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    const std::size_t body = bytes.size() - sizeof header;
    const std::size_t types = std::min<std::size_t>(header.type_len, body) / 4;
    btf.types.resize(types);
    if (types != 0) {
        std::memcpy(btf.types.data(), bytes.data() + sizeof header, types * 4);
    }
    const std::size_t begin = sizeof header + types * 4;
    btf.strings.assign(reinterpret_cast<const char*>(bytes.data()) + begin, bytes.size() - begin);
    if (btf.strings.empty() || btf.strings.back() != '\0') {
        btf.strings.push_back('\0');
    }
    btf.strings[0] = '\0';
    return btf;
}

void add_type(RawBtf& btf, Random& random, std::uint32_t ids) {
    static constexpr const char* names[] = {
        "",     "a",  "value",   "bpf_task_work", "bpf_spin_lock",
        "main", ".x", "arg:ctx", "arg:nonnull",   "bpf_res_spin_lock"};
    const auto id = [&] { return below(random, ids + 2); };
    const std::uint32_t name = btf.name(names[below(random, std::size(names))]);
    const std::uint32_t member_name = btf.name("m" + std::to_string(below(random, 1000)));
    switch (below(random, 14)) {
    case 0:
        btf.type_named(name, BTF_KIND_INT, 0, 1U << below(random, 5),
                       {1U << (3 + below(random, 5))});
        break;
    case 1:
        btf.type_named(0, BTF_KIND_PTR, 0, id());
        break;
    case 2:
        btf.type_named(0, BTF_KIND_ARRAY, 0, 0, {id(), 1, below(random, 9)});
        break;
    case 3:
        btf.type_named(name, BTF_KIND_STRUCT, 1, 8, {member_name, id(), 0});
        break;
    case 4:
        btf.type_named(name, BTF_KIND_STRUCT, 2, 16,
                       {member_name, id(), 0, member_name, id(), 8 * below(random, 16)});
        break;
    case 5:
        btf.type_named(name, BTF_KIND_UNION, 1, 8, {member_name, id(), 0});
        break;
    case 6:
        btf.type_named(member_name, BTF_KIND_TYPEDEF, 0, id());
        break;
    case 7:
        btf.type_named(0, BTF_KIND_VOLATILE + below(random, 3), 0, id());
        break;
    case 8:
        btf.type_named(0, BTF_KIND_FUNC_PROTO, 2, id(), {member_name, id(), member_name, id()});
        break;
    case 9:
        btf.type_named(member_name, BTF_KIND_FUNC, below(random, 3), id());
        break;
    case 10:
        btf.type_named(member_name, BTF_KIND_VAR, 0, id(), {below(random, 2)});
        break;
    case 11:
        btf.type_named(member_name, BTF_KIND_DATASEC, 1, 8, {id(), 0, 8});
        break;
    case 12:
        btf.type_named(name, BTF_KIND_DECL_TAG, 0, id(), {below(random, 3) - 1});
        break;
    default:
        btf.type_named(name, BTF_KIND_TYPE_TAG, 0, id());
        break;
    }
}

void change_words(RawBtf& btf, Random& random) {
    const std::vector<std::size_t> begins = begins_of(btf.types);
    const std::size_t count = begins.size() - 1;
    if (count == 0) {
        btf.types.clear();
        btf.last_id = 0;
        btf.integer();
        return;
    }
    const std::size_t begin = begins[below(random, count)];
    const auto at = [&](std::size_t offset) {
        return btf.types.begin() + static_cast<std::ptrdiff_t>(offset);
    };
    switch (below(random, 8)) {
    case 0:  // any word
        btf.types[below(random, btf.types.size())] = odd_word(random);
        break;
    case 1:  // an id or a size
        btf.types[begin + 2] = below(random, count + 2);
        break;
    case 2: {  // an id or an offset in a member
        const std::size_t end =
            std::min(btf.types.size(), begin + kTypeWords + words_behind(btf.types[begin + 1]));
        if (end > begin + kTypeWords) {
            btf.types[begin + kTypeWords + below(random, end - begin - kTypeWords)] =
                below(random, 2) == 0 ? below(random, count + 2) : 8 * below(random, 64);
        }
        break;
    }
    case 3:  // another kind
        btf.types[begin + 1] = (btf.types[begin + 1] & 0xffffff) | (1 + below(random, 19)) << 24;
        break;
    case 4:  // another number of members, or a flag
        btf.types[begin + 1] ^= below(random, 4) == 0 ? 1U << 31 : 1 + below(random, 3);
        break;
    case 5: {  // less
        const std::size_t which = below(random, count);
        btf.types.erase(at(begins[which]), at(begins[which + 1]));
        break;
    }
    case 6: {  // twice
        const std::size_t which = below(random, count);
        const std::vector<std::uint32_t> copy(at(begins[which]), at(begins[which + 1]));
        btf.types.insert(btf.types.end(), copy.begin(), copy.end());
        break;
    }
    default:
        add_type(btf, random, static_cast<std::uint32_t>(count));
        break;
    }
}

}  // namespace

std::uint32_t odd_word(Random& random) {
    switch (below(random, 5)) {
    case 0:
        return below(random, 16);
    case 1:
        return (1U << below(random, 32)) - 1 + below(random, 3);
    case 2:
        return 0U - below(random, 16);
    case 3:
        return below(random, 256) << (8 * below(random, 4));
    default:
        return static_cast<std::uint32_t>(random() * 2654435761U);
    }
}

void mutate_bytes(std::vector<std::byte>& bytes, std::size_t size_max) {
    std::vector<std::uint8_t> buffer(size_max);
    const std::size_t size = std::min(bytes.size(), size_max);
    std::transform(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size), buffer.begin(),
                   [](std::byte byte) { return static_cast<std::uint8_t>(byte); });
    const std::size_t now = LLVMFuzzerMutate(buffer.data(), size, size_max);
    const auto all = std::as_bytes(std::span(buffer.data(), now));
    bytes.assign(all.begin(), all.end());
}

void mutate_types(std::vector<std::byte>& bytes, Random& random) {
    RawBtf btf = take_apart(bytes);
    for (std::uint32_t changes = 1 + below(random, 4); changes > 0; --changes) {
        if (below(random, 16) == 0) {
            btf.strings[below(random, btf.strings.size())] = static_cast<char>(random());
        } else {
            change_words(btf, random);
        }
    }
    if (below(random, 64) != 0) {
        btf.strings.back() = '\0';
        btf.strings.front() = '\0';
    }
    bytes = btf.bytes([&random](btf_header& header) {
        if (below(random, 64) == 0) {
            auto* words = reinterpret_cast<std::uint32_t*>(&header);
            words[below(random, sizeof header / 4)] = odd_word(random);
        }
    });
}

}  // namespace taskwork::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed) {
    using namespace taskwork::fuzz;
    Random random(seed);
    const auto* begin = reinterpret_cast<const std::byte*>(data);
    std::vector<std::byte> bytes(begin, begin + size);
    mutate_input(bytes, random, size_max);
    const std::size_t now = std::min(bytes.size(), size_max);
    std::copy_n(bytes.begin(), now, reinterpret_cast<std::byte*>(data));
    return now;
}
