// SPDX-License-Identifier: Apache-2.0
#include "cli/absent_functions.hpp"

#include <bpf/btf.h>
#include <elf.h>
#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>

#include "bpf/isa.hpp"

namespace taskwork::cli {

namespace {

struct FreeTypes {
    void operator()(btf* types) const noexcept { btf__free(types); }
};

template <class Record>
Record read_record(const std::vector<char>& bytes, std::size_t offset) {
    Record record;
    std::memcpy(&record, bytes.data() + offset, sizeof record);
    return record;
}
template <class Record>
void write_record(std::vector<char>& bytes, std::size_t offset, const Record& record) {
    std::memcpy(bytes.data() + offset, &record, sizeof record);
}

bool has_function(const btf& types, const std::string& name) {
    return btf__find_by_name_kind(&types, name.c_str(), BTF_KIND_FUNC) > 0;
}

/// The object's sections and symbols, which read_object_file() has found to be whole.
class Marking {
public:
    Marking(MarkedObject& object, const btf& types)
        : object_(object), bytes_(object.bytes), types_(types),
          header_(read_record<Elf64_Ehdr>(bytes_, 0)), kernel_(btf__load_vmlinux_btf()) {}

    void mark() {
        if (kernel_ == nullptr) {
            return;
        }
        for (unsigned i = 0; i < header_.e_shnum; ++i) {
            if (const Elf64_Shdr table = section(i); table.sh_type == SHT_SYMTAB) {
                mark_symbols(table);
            }
        }
        for (unsigned i = 0; i < header_.e_shnum && !numbers_.empty(); ++i) {
            if (section(i).sh_type == SHT_REL) {
                mark_calls(i);
            }
        }
    }

private:
    [[nodiscard]] std::size_t section_offset(unsigned index) const {
        return header_.e_shoff + std::size_t{index} * sizeof(Elf64_Shdr);
    }
    [[nodiscard]] Elf64_Shdr section(unsigned index) const {
        return read_record<Elf64_Shdr>(bytes_, section_offset(index));
    }

    /// Those that are absent become weak, and get a number.
    void mark_symbols(const Elf64_Shdr& table) {
        const Elf64_Shdr strings = section(table.sh_link);
        for (std::uint32_t i = 1; i < table.sh_size / sizeof(Elf64_Sym); ++i) {
            const std::size_t at = table.sh_offset + i * sizeof(Elf64_Sym);
            auto symbol = read_record<Elf64_Sym>(bytes_, at);
            if (symbol.st_shndx != SHN_UNDEF || symbol.st_name == 0) {
                continue;
            }
            const std::string name = bytes_.data() + strings.sh_offset + symbol.st_name;
            if (!has_function(types_, name) || has_function(*kernel_, name)) {
                continue;
            }
            if (ELF64_ST_BIND(symbol.st_info) != STB_WEAK) {
                object_.needed.push_back(name);
                symbol.st_info = ELF64_ST_INFO(STB_WEAK, ELF64_ST_TYPE(symbol.st_info));
                write_record(bytes_, at, symbol);
            }
            numbers_[i] = bpf::kAbsentFunction + static_cast<std::int32_t>(object_.names.size());
            object_.names.push_back(name);
        }
    }

    /// A call of a number instead of a relocation by name.
    void mark_calls(unsigned index) {
        Elf64_Shdr table = section(index);
        const Elf64_Shdr code = section(table.sh_info);
        if ((code.sh_flags & SHF_EXECINSTR) == 0) {
            return;
        }
        std::size_t kept = table.sh_offset;
        for (std::size_t at = kept; at < table.sh_offset + table.sh_size; at += sizeof(Elf64_Rel)) {
            const auto relocation = read_record<Elf64_Rel>(bytes_, at);
            const auto number = numbers_.find(ELF64_R_SYM(relocation.r_info));
            const std::size_t place = code.sh_offset + relocation.r_offset;
            if (number != numbers_.end() &&
                relocation.r_offset + sizeof(bpf_insn) <= code.sh_size &&
                read_record<bpf_insn>(bytes_, place).code == (BPF_JMP | BPF_CALL)) {
                bpf_insn call{};
                call.code = BPF_JMP | BPF_CALL;
                call.imm = number->second;
                write_record(bytes_, place, call);
                continue;
            }
            write_record(bytes_, kept, relocation);
            kept += sizeof relocation;
        }
        table.sh_size = kept - table.sh_offset;
        write_record(bytes_, section_offset(index), table);
    }

    MarkedObject& object_;
    std::vector<char>& bytes_;
    const btf& types_;
    Elf64_Ehdr header_;
    std::unique_ptr<btf, FreeTypes> kernel_;
    std::map<std::uint64_t, std::int32_t> numbers_;  ///< By symbol.
};

void replace_all(std::string& text, std::string_view old_part, std::string_view new_part) {
    for (std::size_t at = 0; (at = text.find(old_part, at)) != std::string::npos;
         at += new_part.size()) {
        text.replace(at, old_part.size(), new_part);
    }
}

}  // namespace

MarkedObject mark_absent_functions(const std::vector<char>& bytes, const btf& types) {
    MarkedObject object{bytes, {}, {}};
    Marking(object, types).mark();
    return object;
}

std::string name_absent_functions(std::string log, const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string number =
            "unknown#" + std::to_string(bpf::kAbsentFunction + static_cast<std::int32_t>(i));
        replace_all(log, "invalid func " + number,
                    "calling kernel function " + names[i] + " is not allowed");
        replace_all(log, number, names[i]);
    }
    return log;
}

}  // namespace taskwork::cli
