// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/elf_code.hpp"

#include <gelf.h>
#include <libelf.h>
#include <linux/bpf.h>

#include <cstring>
#include <memory>
#include <string>

#include "bpf/isa.hpp"

#ifndef EM_BPF
#define EM_BPF 247
#endif

namespace taskwork::isa {

namespace {

struct CloseElf {
    void operator()(Elf* elf) const { elf_end(elf); }
};
using Handle = std::unique_ptr<Elf, CloseElf>;

Error wrong(std::string text) { return {std::errc::invalid_argument, std::move(text)}; }

Elf_Scn* find_section(Elf* elf, bool (*wanted)(const GElf_Shdr&, std::size_t), std::size_t code,
                      GElf_Shdr& header) {
    Elf_Scn* section = nullptr;
    while ((section = elf_nextscn(elf, section)) != nullptr) {
        if (gelf_getshdr(section, &header) != nullptr && wanted(header, code)) {
            return section;
        }
    }
    return nullptr;
}
bool holds_code(const GElf_Shdr& header, std::size_t) {
    return header.sh_type == SHT_PROGBITS && (header.sh_flags & SHF_EXECINSTR) != 0 &&
           header.sh_size != 0;
}
bool relocates(const GElf_Shdr& header, std::size_t code) {
    return header.sh_type == SHT_REL && header.sh_info == code;
}

/// A call's distance to the symbol; what is in the instruction already counts from there.
Result<void> resolve(std::vector<std::uint8_t>& bytes, std::size_t code, const GElf_Rel& relocation,
                     const GElf_Sym& symbol) {
    bpf_insn insn;
    const std::string where = "the relocation at byte " + std::to_string(relocation.r_offset);
    if (relocation.r_offset % sizeof(insn) != 0 || bytes.size() < sizeof(insn) ||
        relocation.r_offset > bytes.size() - sizeof(insn)) {
        return wrong(where + " is of no instruction");
    }
    std::memcpy(&insn, &bytes[relocation.r_offset], sizeof(insn));
    if (insn.code != (BPF_JMP | BPF_CALL) || symbol.st_shndx != code) {
        return wrong(where + " is not of a call inside the section: maps, data and functions "
                             "elsewhere are not available");
    }
    const std::uint64_t target = symbol.st_value / sizeof(insn);
    const std::uint64_t next = relocation.r_offset / sizeof(insn) + 1;
    insn.src_reg = static_cast<unsigned>(bpf::CallKind::subprogram);
    insn.imm = static_cast<std::int32_t>(static_cast<std::uint32_t>(insn.imm) + 1 + target - next);
    std::memcpy(&bytes[relocation.r_offset], &insn, sizeof(insn));
    return {};
}

Result<void> resolve_all(Elf* elf, std::size_t code, std::vector<std::uint8_t>& bytes) {
    GElf_Shdr header;
    Elf_Scn* const section = find_section(elf, relocates, code, header);
    if (section == nullptr) {
        return {};
    }
    Elf_Data* const relocations = elf_getdata(section, nullptr);
    Elf_Scn* const table = elf_getscn(elf, header.sh_link);
    Elf_Data* const symbols = table == nullptr ? nullptr : elf_getdata(table, nullptr);
    for (int i = 0;; ++i) {
        GElf_Rel relocation;
        GElf_Sym symbol;
        if (relocations == nullptr || gelf_getrel(relocations, i, &relocation) == nullptr) {
            return {};
        }
        if (symbols == nullptr ||
            gelf_getsym(symbols, static_cast<int>(GELF_R_SYM(relocation.r_info)), &symbol) ==
                nullptr) {
            return wrong("a relocation names no symbol");
        }
        if (Result<void> done = resolve(bytes, code, relocation, symbol); !done) {
            return done;
        }
    }
}

}  // namespace

bool is_elf(const std::vector<std::uint8_t>& bytes) {
    return bytes.size() >= SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0;
}

Result<std::vector<std::uint8_t>> code_of_elf(const std::vector<std::uint8_t>& bytes) {
    std::vector<char> image(bytes.begin(), bytes.end());
    elf_version(EV_CURRENT);
    const Handle elf(is_elf(bytes) ? elf_memory(image.data(), image.size()) : nullptr);
    GElf_Ehdr file;
    if (elf == nullptr || gelf_getehdr(elf.get(), &file) == nullptr) {
        return wrong("no ELF object");
    }
    if (file.e_machine != EM_BPF || file.e_ident[EI_DATA] != ELFDATA2LSB) {
        return wrong("an ELF object, but not one of little-endian BPF");
    }
    GElf_Shdr header;
    Elf_Scn* const section = find_section(elf.get(), holds_code, 0, header);
    const Elf_Data* const data = section == nullptr ? nullptr : elf_getdata(section, nullptr);
    if (data == nullptr || data->d_buf == nullptr) {
        return wrong("an ELF object without code");
    }
    const auto* const begin = static_cast<const std::uint8_t*>(data->d_buf);
    std::vector<std::uint8_t> code(begin, begin + data->d_size);
    if (Result<void> done = resolve_all(elf.get(), elf_ndxscn(section), code); !done) {
        return done.error();
    }
    return code;
}

}  // namespace taskwork::isa
