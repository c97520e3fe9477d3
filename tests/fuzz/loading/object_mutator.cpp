// SPDX-License-Identifier: Apache-2.0
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

#include "mutate.hpp"

namespace taskwork::fuzz {
namespace {

/// An object file whose sections can be exchanged.
class Object {
public:
    explicit Object(std::vector<std::byte>& bytes) : bytes_(bytes) {
        Elf64_Ehdr header;
        if (bytes.size() < sizeof header) {
            return;
        }
        std::memcpy(&header, bytes.data(), sizeof header);
        const std::uint64_t table = std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr);
        if (header.e_shoff <= bytes.size() && table <= bytes.size() - header.e_shoff) {
            table_ = header.e_shoff;
            count_ = header.e_shnum;
        }
        names_ = header.e_shstrndx;
    }

    [[nodiscard]] std::uint32_t count() const { return count_; }
    [[nodiscard]] Elf64_Shdr header(std::uint32_t index) const {
        Elf64_Shdr header;
        std::memcpy(&header, bytes_.data() + place(index), sizeof header);
        return header;
    }
    void set_header(std::uint32_t index, const Elf64_Shdr& header) {
        std::memcpy(bytes_.data() + place(index), &header, sizeof header);
    }
    [[nodiscard]] std::vector<std::byte> content(std::uint32_t index) const {
        const Elf64_Shdr at = header(index);
        if (at.sh_type == SHT_NOBITS || at.sh_offset > bytes_.size() ||
            at.sh_size > bytes_.size() - at.sh_offset) {
            return {};
        }
        const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(at.sh_offset);
        return {begin, begin + static_cast<std::ptrdiff_t>(at.sh_size)};
    }
    /// In place if it fits; else at the end of the file.
    void set_content(std::uint32_t index, const std::vector<std::byte>& content) {
        Elf64_Shdr at = header(index);
        if (content.size() > at.sh_size || at.sh_offset + at.sh_size > bytes_.size()) {
            bytes_.resize((bytes_.size() + 7) / 8 * 8);
            at.sh_offset = bytes_.size();
            bytes_.resize(bytes_.size() + content.size());
        }
        at.sh_size = content.size();
        std::copy(content.begin(), content.end(),
                  bytes_.begin() + static_cast<std::ptrdiff_t>(at.sh_offset));
        set_header(index, at);
    }
    [[nodiscard]] std::string_view name(std::uint32_t index) const {
        if (names_ >= count_) {
            return {};
        }
        const std::uint64_t begin = header(names_).sh_offset + header(index).sh_name;
        if (begin >= bytes_.size()) {
            return {};
        }
        const auto* text = reinterpret_cast<const char*>(bytes_.data()) + begin;
        return {text, ::strnlen(text, bytes_.size() - begin)};
    }

private:
    [[nodiscard]] std::size_t place(std::uint32_t index) const {
        return table_ + std::size_t{index} * sizeof(Elf64_Shdr);
    }

    std::vector<std::byte>& bytes_;
    std::size_t table_ = 0;
    std::uint32_t count_ = 0;
    std::uint32_t names_ = 0;
};

void change_header(Object& object, std::uint32_t index, Random& random) {
    Elf64_Shdr header = object.header(index);
    switch (below(random, 8)) {
    case 0:
        header.sh_type = below(random, 20);
        break;
    case 1:
        header.sh_link = below(random, object.count() + 2);
        break;
    case 2:
        header.sh_info = below(random, object.count() + 2);
        break;
    case 3:
        header.sh_name += below(random, 16);
        break;
    case 4:
        header.sh_size = odd_word(random);
        break;
    case 5:
        header.sh_size += 8 * (below(random, 5) - std::uint64_t{2});
        break;
    case 6:
        header.sh_flags ^= 1U << below(random, 12);
        break;
    default:
        header.sh_offset += below(random, 64);
        break;
    }
    object.set_header(index, header);
}

/// One word of symbols, relocations, .BTF.ext, data: small numbers mostly.
void change_word(std::vector<std::byte>& content, Random& random) {
    if (content.size() < 4) {
        return;
    }
    const std::size_t at = below(random, content.size() / 4) * std::size_t{4};
    std::uint32_t word = 0;
    std::memcpy(&word, content.data() + at, sizeof word);
    switch (below(random, 4)) {
    case 0:
        word = odd_word(random);
        break;
    case 1:
        word += below(random, 9) - 4;
        break;
    case 2:
        word = 8 * below(random, 32);
        break;
    default:
        word ^= 1U << below(random, 32);
        break;
    }
    std::memcpy(content.data() + at, &word, sizeof word);
}

void mutate_object(std::vector<std::byte>& bytes, Random& random, std::size_t size_max) {
    Object object(bytes);
    if (object.count() < 2 || below(random, 24) == 0) {
        mutate_bytes(bytes, size_max);
        return;
    }
    const std::uint32_t index = 1 + below(random, object.count() - 1);
    if (below(random, 16) == 0) {
        change_header(object, index, random);
        return;
    }
    std::vector<std::byte> content = object.content(index);
    if (content.empty()) {
        return;
    }
    const Elf64_Shdr header = object.header(index);
    if (object.name(index) == ".BTF") {
        mutate_types(content, random);
    } else if ((header.sh_flags & SHF_EXECINSTR) != 0) {
        mutate_insns(content, random);
    } else if (header.sh_type == SHT_STRTAB || below(random, 16) == 0) {
        mutate_bytes(content, content.size() + 16);
    } else {
        change_word(content, random);
    }
    object.set_content(index, content);
}

}  // namespace

void mutate_input(std::vector<std::byte>& bytes, Random& random, std::size_t size_max) {
    for (std::uint32_t changes = 1 + below(random, 3); changes > 0; --changes) {
        mutate_object(bytes, random, size_max);
    }
}

}  // namespace taskwork::fuzz
