// SPDX-License-Identifier: Apache-2.0
#include "uapi/object_check.hpp"

#include <bpf/btf.h>
#include <elf.h>
#include <gelf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "uapi/object_types.hpp"

namespace taskwork::uapi {
namespace {

using Bytes = std::span<const std::byte>;

/// What precedes the sections of .BTF.ext.
struct ExtHeader {
    std::uint16_t magic;
    std::uint8_t version;
    std::uint8_t flags;
    std::uint32_t header_size;
    /// Functions, lines, relocations: where behind the header, and bytes. The last may be absent.
    std::uint32_t parts[6];
};
constexpr std::size_t kExtHeaderMin = offsetof(ExtHeader, parts) + 4 * sizeof(std::uint32_t);
constexpr const char* kPartNames[] = {"func_info", "line_info", "relocations"};
constexpr unsigned kRelocations = 2;
constexpr std::uint32_t kRecordMin[] = {sizeof(bpf_func_info), sizeof(bpf_line_info),
                                        sizeof(bpf_core_relo)};

std::uint32_t word_at(Bytes bytes, std::size_t offset) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes.data() + offset, sizeof word);
    return word;
}

/// {size of a record; {section's name, count, records...}...}
std::string fault_of_part(Bytes part, unsigned kind, const ObjectTypes& types) {
    const std::string name = std::string(".BTF.ext: ") + kPartNames[kind] + " ";
    if (part.empty()) {
        return {};
    }
    if (part.size() < 4 || part.size() % 4 != 0) {
        return name + "cut off";
    }
    const std::uint32_t record = word_at(part, 0);
    if (record < kRecordMin[kind] || record % 4 != 0) {
        return name + "of " + std::to_string(record) + " bytes each";
    }
    for (std::size_t at = 4; at < part.size();) {
        if (part.size() - at < 8) {
            return name + "cut off";
        }
        const std::uint64_t size = std::uint64_t{record} * word_at(part, at + 4);
        if (size == 0 || size > part.size() - at - 8) {
            return name + "more or less than there are";
        }
        if (word_at(part, at) >= types.strings_size) {
            return name + "of a section without a name";
        }
        at += 8;
        for (const std::size_t end = at + static_cast<std::size_t>(size); at < end; at += record) {
            // All kinds begin with a place. libbpf gives up at such a relocation, and forgets what
            // it has allocated for those before.
            if (kind == kRelocations && word_at(part, at) % sizeof(bpf_insn) != 0) {
                return name + "inside of an instruction";
            }
        }
    }
    return {};
}

std::string fault_of_ext(Bytes raw, const ObjectTypes& types) {
    ExtHeader header{};
    if (raw.size() < kExtHeaderMin) {
        return ".BTF.ext: too short";
    }
    std::memcpy(&header, raw.data(), kExtHeaderMin);
    if (header.magic != BTF_MAGIC || header.version != BTF_VERSION ||
        header.header_size < kExtHeaderMin || header.header_size > raw.size() ||
        header.header_size % 4 != 0) {
        return ".BTF.ext: not of a format that is known";
    }
    std::memcpy(&header, raw.data(), std::min<std::size_t>(header.header_size, sizeof header));
    const Bytes body = raw.subspan(header.header_size);
    for (unsigned kind = 0; kind < 3; ++kind) {
        const std::uint64_t offset = header.parts[2 * kind];
        const std::uint64_t size = header.parts[2 * kind + 1];
        if (offset % 4 != 0 || offset + size > body.size()) {
            return std::string(".BTF.ext: ") + kPartNames[kind] + " outside of it";
        }
        if (std::string fault = fault_of_part(body.subspan(offset, size), kind, types);
            !fault.empty()) {
            return fault;
        }
    }
    return {};
}

class ObjectFile {
public:
    explicit ObjectFile(Bytes bytes)
        : elf_(::elf_memory(const_cast<char*>(reinterpret_cast<const char*>(bytes.data())),
                            bytes.size())) {}
    ~ObjectFile() { ::elf_end(elf_); }
    ObjectFile(const ObjectFile&) = delete;
    ObjectFile& operator=(const ObjectFile&) = delete;

    std::string fault() {
        std::string found = find_sections();
        if (found.empty()) {
            found = fault_of_symbols();
        }
        for (std::size_t i = 1; found.empty() && i < sections_.size(); ++i) {
            found = fault_of_section(sections_[i]);
        }
        if (found.empty()) {
            found = fault_of_calls();
        }
        return found.empty() ? fault_of_types() : found;
    }

private:
    struct Section {
        std::string_view name;
        GElf_Shdr header{};
        Bytes bytes;  ///< Empty if it takes no room in the file.
    };

    /// What a section holds, as far as it holds it whole.
    template <class Record>
    static std::vector<Record> records_of(const Section& section) {
        std::vector<Record> records(section.bytes.size() / sizeof(Record));
        if (!records.empty()) {
            std::memcpy(records.data(), section.bytes.data(), records.size() * sizeof(Record));
        }
        return records;
    }

    static std::string of(const Section& section, const char* text) {
        return "section '" + std::string(section.name) + "': " + text;
    }

    std::string find_sections() {
        std::size_t names = 0;
        std::size_t count = 0;
        if (elf_ == nullptr || ::elf_kind(elf_) != ELF_K_ELF ||
            ::elf_getshdrstrndx(elf_, &names) != 0 || ::elf_getshdrnum(elf_, &count) != 0 ||
            count == 0) {
            return "not a whole ELF file";
        }
        sections_.resize(count);
        for (std::size_t i = 1; i < count; ++i) {
            Section& section = sections_[i];
            Elf_Scn* const handle = ::elf_getscn(elf_, i);
            if (handle == nullptr || ::gelf_getshdr(handle, &section.header) == nullptr) {
                return "section " + std::to_string(i) + " is not there";
            }
            const char* name = ::elf_strptr(elf_, names, section.header.sh_name);
            if (name == nullptr) {
                return "section " + std::to_string(i) + " has no name";
            }
            section.name = name;
            if (section.header.sh_type == SHT_NOBITS || section.header.sh_type == SHT_NULL) {
                continue;
            }
            const Elf_Data* data = ::elf_rawdata(handle, nullptr);
            if (data == nullptr || data->d_size != section.header.sh_size ||
                (data->d_size != 0 && data->d_buf == nullptr)) {
                return of(section, "not inside the file");
            }
            section.bytes = {static_cast<const std::byte*>(data->d_buf), data->d_size};
        }
        return {};
    }

    [[nodiscard]] bool is_section(std::uint64_t index) const {
        return index != 0 && index < sections_.size();
    }
    [[nodiscard]] bool is_text(std::uint64_t index) const {
        return is_section(index) && sections_[index].header.sh_type == SHT_STRTAB &&
               !sections_[index].bytes.empty() && sections_[index].bytes.back() == std::byte{};
    }

    std::string fault_of_symbols() {
        for (std::size_t i = 1; i < sections_.size(); ++i) {
            const Section& section = sections_[i];
            if (section.header.sh_type != SHT_SYMTAB) {
                continue;
            }
            if (symbol_section_ != 0) {
                return of(section, "a second table of symbols");
            }
            symbol_section_ = i;
            if (section.header.sh_entsize != sizeof(Elf64_Sym) ||
                section.bytes.size() % sizeof(Elf64_Sym) != 0 || !is_text(section.header.sh_link)) {
                return of(section, "not a table of symbols");
            }
            const std::size_t names = sections_[section.header.sh_link].bytes.size();
            symbols_ = records_of<Elf64_Sym>(section);
            for (const Elf64_Sym& symbol : symbols_) {
                const bool is_somewhere =
                    symbol.st_shndx >= SHN_LORESERVE || symbol.st_shndx < sections_.size();
                if (symbol.st_name >= names || !is_somewhere) {
                    return of(section, "a symbol of no name or section that is there");
                }
            }
        }
        return {};
    }

    std::string fault_of_section(const Section& section) {
        if (section.header.sh_type != SHT_REL) {
            return {};
        }
        if (section.header.sh_entsize != sizeof(Elf64_Rel) ||
            section.bytes.size() % sizeof(Elf64_Rel) != 0 || symbol_section_ == 0 ||
            section.header.sh_link != symbol_section_ || !is_section(section.header.sh_info)) {
            return of(section, "not a table of relocations");
        }
        const std::uint64_t size = sections_[section.header.sh_info].header.sh_size;
        for (const Elf64_Rel& relocation : records_of<Elf64_Rel>(section)) {
            if (ELF64_R_SYM(relocation.r_info) >= symbols_.size() || relocation.r_offset >= size) {
                return of(section, "a relocation of no symbol or place that is there");
            }
        }
        return {};
    }

    /// Whether libbpf takes the section for code: by these names it takes it for something else, or
    /// passes over it.
    [[nodiscard]] static bool is_code(const Section& section) {
        constexpr std::string_view kOthers[] = {"license", "version",  "maps",         ".maps",
                                                ".BTF",    ".BTF.ext", ".llvm_addrsig"};
        return section.header.sh_type == SHT_PROGBITS &&
               (section.header.sh_flags & SHF_EXECINSTR) != 0 && !section.bytes.empty() &&
               !section.name.starts_with(".debug_") &&
               std::find(std::begin(kOthers), std::end(kOthers), section.name) == std::end(kOthers);
    }

    [[nodiscard]] static bool is_call(const bpf_insn& insn) {
        return insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == BPF_PSEUDO_CALL &&
               insn.dst_reg == 0 && insn.off == 0;
    }

    /// The relocations of each section, but for those that libbpf passes over by their name.
    [[nodiscard]] std::vector<std::vector<Elf64_Rel>> relocations() const {
        std::vector<std::vector<Elf64_Rel>> all(sections_.size());
        for (const Section& section : sections_) {
            if (section.header.sh_type != SHT_REL || section.name == ".rel.BTF" ||
                section.name == ".rel.BTF.ext" || section.name.starts_with(".rel.debug_")) {
                continue;
            }
            const std::vector<Elf64_Rel> more = records_of<Elf64_Rel>(section);
            std::vector<Elf64_Rel>& own = all[section.header.sh_info];
            own.insert(own.end(), more.begin(), more.end());
        }
        return all;
    }

    /// Which functions are called, as far as libbpf takes that on trust.
    [[nodiscard]] std::string fault_of_calls() const {
        const bool is_only_function = count_functions() == 1;
        const std::vector<std::vector<Elf64_Rel>> all = relocations();
        bool has_text = false;
        for (std::size_t i = 1; i < sections_.size(); ++i) {
            const Section& section = sections_[i];
            if (!is_code(section)) {
                continue;
            }
            std::string fault;
            if (section.name != ".text") {
                fault = fault_of_program_calls(section, all[i]);
            } else if (std::exchange(has_text, true)) {
                fault = "is there twice";
            } else if (is_only_function && refers_to_itself(i, all[i])) {
                fault = "its only function calls or refers to itself";
            }
            if (!fault.empty()) {
                return of(section, fault.c_str());
            }
        }
        return {};
    }

    /// All functions that programs call are in .text, so there is a relocation for each call. For
    /// others libbpf makes a list of relocations of no length, and gives it back twice.
    [[nodiscard]] static std::string
    fault_of_program_calls(const Section& section, const std::vector<Elf64_Rel>& relocations) {
        std::vector<std::uint64_t> places;
        places.reserve(relocations.size());
        for (const Elf64_Rel& relocation : relocations) {
            places.push_back(relocation.r_offset);
        }
        std::sort(places.begin(), places.end());
        const std::vector<bpf_insn> insns = records_of<bpf_insn>(section);
        for (std::size_t i = 0; i < insns.size(); ++i) {
            if (is_call(insns[i]) &&
                !std::binary_search(places.begin(), places.end(), i * sizeof(bpf_insn))) {
                return "instruction " + std::to_string(i) +
                       " calls a function without a relocation: functions that programs call "
                       "must be in .text";
            }
        }
        return {};
    }

    [[nodiscard]] std::ptrdiff_t count_functions() const {
        return std::count_if(symbols_.begin(), symbols_.end(), [&](const Elf64_Sym& symbol) {
            return ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && is_section(symbol.st_shndx) &&
                   is_code(sections_[symbol.st_shndx]);
        });
    }
    /// Whether .text has a call or an address of a function of it, by its instructions or its
    /// relocations. libbpf takes the only function of an object for a program wherever it is, and
    /// appends it to itself then, out of bounds.
    [[nodiscard]] bool refers_to_itself(std::size_t index,
                                        const std::vector<Elf64_Rel>& relocations) const {
        for (const bpf_insn& insn : records_of<bpf_insn>(sections_[index])) {
            const bool has_address =
                insn.code == (BPF_LD | BPF_IMM | BPF_DW) && insn.src_reg == BPF_PSEUDO_FUNC;
            if (is_call(insn) || has_address) {
                return true;
            }
        }
        return std::any_of(relocations.begin(), relocations.end(), [&](const Elf64_Rel& each) {
            return symbols_[ELF64_R_SYM(each.r_info)].st_shndx == index;
        });
    }

    std::string fault_of_types() {
        const Section* types = nullptr;
        const Section* ext = nullptr;
        for (const Section& section : sections_) {
            const Section** const found = section.name == ".BTF"       ? &types
                                          : section.name == ".BTF.ext" ? &ext
                                                                       : nullptr;
            if (found == nullptr) {
                continue;
            }
            if (*found != nullptr) {
                return of(section, "is there twice");
            }
            *found = &section;
        }
        if (types == nullptr) {
            return {};
        }
        const ObjectTypes checked = check_object_types(types->bytes);
        if (!checked.fault.empty()) {
            return ".BTF: " + checked.fault;
        }
        return ext == nullptr ? std::string() : fault_of_ext(ext->bytes, checked);
    }

    Elf* elf_;
    std::vector<Section> sections_;
    std::size_t symbol_section_ = 0;  ///< 0: none.
    std::vector<Elf64_Sym> symbols_;
};

}  // namespace

std::string fault_of_object(std::span<const std::byte> bytes) {
    ::elf_version(EV_CURRENT);
    return ObjectFile(bytes).fault();
}

}  // namespace taskwork::uapi
