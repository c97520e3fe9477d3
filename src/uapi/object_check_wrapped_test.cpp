// SPDX-License-Identifier: Apache-2.0
//
// Objects that clang made, whole and damaged. Wrapped: what passes is given to libbpf.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "uapi/object_check.hpp"

namespace taskwork::uapi {
namespace {

using ::testing::HasSubstr;

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}
std::string object() { return read(TASKWORK_TEST_BPF_DIR "/uapi_probe.bpf.o"); }

std::string fault_of(const std::string& bytes) {
    return fault_of_object(std::as_bytes(std::span(bytes)));
}

/// libbpf's part; whether it takes the object does not matter.
void open(const std::string& bytes) {
    libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
    if (bpf_object* opened = bpf_object__open_mem(bytes.data(), bytes.size(), nullptr)) {
        bpf_object__close(opened);
    }
}

Elf64_Shdr* headers_of(std::string& bytes) {
    return reinterpret_cast<Elf64_Shdr*>(
        bytes.data() + reinterpret_cast<const Elf64_Ehdr*>(bytes.data())->e_shoff);
}
/// The section's header; aborts if there is none.
Elf64_Shdr& section(std::string& bytes, const std::string& name) {
    const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(bytes.data());
    Elf64_Shdr* const all = headers_of(bytes);
    for (unsigned i = 0; i < header.e_shnum; ++i) {
        if (name == bytes.data() + all[header.e_shstrndx].sh_offset + all[i].sh_name) {
            return all[i];
        }
    }
    ADD_FAILURE() << "no section " << name;
    std::abort();
}
template <class T>
T* content(std::string& bytes, const std::string& name) {
    return reinterpret_cast<T*>(bytes.data() + section(bytes, name).sh_offset);
}
/// The first type of a kind; and its id.
btf_type* type(std::string& bytes, unsigned kind, std::uint32_t* id_of = nullptr) {
    auto* const header = content<btf_header>(bytes, ".BTF");
    auto* at = reinterpret_cast<char*>(header) + header->hdr_len + header->type_off;
    const std::unique_ptr<btf, void (*)(btf*)> types(
        btf__new(header, static_cast<std::uint32_t>(section(bytes, ".BTF").sh_size)), btf__free);
    const auto* first = reinterpret_cast<const char*>(btf__type_by_id(types.get(), 1));
    for (std::uint32_t id = 1; id < btf__type_cnt(types.get()); ++id) {
        const btf_type* each = btf__type_by_id(types.get(), id);
        if (btf_kind(each) == kind) {
            if (id_of != nullptr) {
                *id_of = id;
            }
            return reinterpret_cast<btf_type*>(at + (reinterpret_cast<const char*>(each) - first));
        }
    }
    ADD_FAILURE() << "no type of kind " << kind;
    std::abort();
}

TEST(ObjectCheck, objects_as_clang_makes_them_are_right) {
    unsigned count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(TASKWORK_TEST_BPF_DIR)) {
        if (entry.path().extension() == ".o") {
            EXPECT_EQ(fault_of(read(entry.path())), "") << entry.path();
            ++count;
        }
    }
    EXPECT_GT(count, 10U);
}

struct Damage {
    const char* fault;
    std::function<void(std::string&)> how;
};

TEST(ObjectCheck, what_is_damaged_is_named) {
    constexpr std::uint32_t kNowhere = 0x7ffffff0;
    const Damage all[] = {
        {".BTF: type 1 has a name outside of the section",
         [](std::string& o) {
             auto* const header = content<btf_header>(o, ".BTF");
             reinterpret_cast<btf_type*>(reinterpret_cast<char*>(header) + header->hdr_len)
                 ->name_off = kNowhere;
         }},
        {"refers to a name or type that is not there",
         [](std::string& o) { btf_members(type(o, BTF_KIND_STRUCT))->name_off = kNowhere; }},
        {"refers to a name or type that is not there",
         [](std::string& o) { type(o, BTF_KIND_PTR)->type = kNowhere; }},
        {"is cut off", [](std::string& o) { type(o, BTF_KIND_STRUCT)->info |= 0xffff; }},
        {"is of no kind that is known",
         [](std::string& o) { type(o, BTF_KIND_PTR)->info = 30U << 24; }},
        {"contains itself",
         [](std::string& o) {
             std::uint32_t id = 0;
             btf_type* const pointer = type(o, BTF_KIND_PTR, &id);
             pointer->info = BTF_KIND_TYPEDEF << 24;
             pointer->type = id;
         }},
        {"is a function of a type that is none of functions",
         [](std::string& o) { type(o, BTF_KIND_FUNC)->type = 0; }},
        {"is a section of what is no variable",
         [](std::string& o) { btf_var_secinfos(type(o, BTF_KIND_DATASEC))->type = 1; }},
        {".BTF: names without an end",
         [](std::string& o) {
             Elf64_Shdr& types = section(o, ".BTF");
             o[types.sh_offset + types.sh_size - 1] = 'x';
         }},
        {".BTF: sections outside of it",
         [](std::string& o) { content<btf_header>(o, ".BTF")->str_off = kNowhere; }},
        {".BTF: not of a format that is known",
         [](std::string& o) { content<btf_header>(o, ".BTF")->magic = 0; }},
        {".BTF.ext: func_info outside of it",
         [](std::string& o) { content<std::uint32_t>(o, ".BTF.ext")[2] = kNowhere & ~3U; }},
        {".BTF.ext: func_info of 4 bytes each",
         [](std::string& o) { content<std::uint32_t>(o, ".BTF.ext")[8] = 4; }},
        {".BTF.ext: func_info of a section without a name",
         [](std::string& o) { content<std::uint32_t>(o, ".BTF.ext")[9] = kNowhere; }},
        {".BTF.ext: func_info more or less than there are",
         [](std::string& o) { content<std::uint32_t>(o, ".BTF.ext")[10] = kNowhere; }},
        {".BTF.ext: relocations inside of an instruction",
         [](std::string& o) {
             auto* const words = content<std::uint32_t>(o, ".BTF.ext");
             words[(words[1] + words[6]) / 4 + 3] += 4;
         }},
        {"section '.symtab': a symbol of no name",
         [](std::string& o) { content<Elf64_Sym>(o, ".symtab")[1].st_name = kNowhere; }},
        {"section '.symtab': a symbol of no name or section",
         [](std::string& o) { content<Elf64_Sym>(o, ".symtab")[1].st_shndx = 0x7000; }},
        {"section '.symtab': not a table of symbols",
         [](std::string& o) { section(o, ".symtab").sh_link = 1000; }},
        {"section '.relperf_event': a relocation of no symbol",
         [](std::string& o) {
             content<Elf64_Rel>(o, ".relperf_event")->r_info = ELF64_R_INFO(0xfffffUL, 1UL);
         }},
        {"section '.relperf_event': a relocation of no symbol or place",
         [](std::string& o) { content<Elf64_Rel>(o, ".relperf_event")->r_offset = kNowhere; }},
        {"not inside the file",
         [](std::string& o) { section(o, "license").sh_size = o.size() + 1; }},
        {" has no name", [](std::string& o) { section(o, "license").sh_name = kNowhere; }},
        {"section 1 has no name",
         [](std::string& o) { reinterpret_cast<Elf64_Ehdr*>(o.data())->e_shstrndx = 0x1000; }},
        {"not a whole ELF file", [](std::string& o) { o.resize(100); }},
    };
    for (const Damage& damage : all) {
        std::string damaged = object();
        damage.how(damaged);
        EXPECT_THAT(fault_of(damaged), HasSubstr(damage.fault));
    }
}

std::string fuzzed(const char* name) {
    return read(std::filesystem::path(TASKWORK_TEST_CORPUS_DIR) / name);
}
/// Of only_function_calls_itself, which has code in it and a symbol, but no function.
constexpr unsigned kProgramSection = 4;
constexpr unsigned kProgramSymbol = 4;

TEST(ObjectCheck, calls_that_libbpf_would_relocate_out_of_bounds_are_named) {
    const std::string_view itself = "section '.text': its only function calls or refers to itself";
    EXPECT_EQ(fault_of(fuzzed("only_function_calls_itself")), itself);
    EXPECT_EQ(fault_of(fuzzed("only_function_has_its_address")), itself);
    EXPECT_THAT(
        fault_of(fuzzed("calls_without_relocations")),
        HasSubstr("section 'syscall': instruction 2 calls a function without a relocation"));
}

TEST(ObjectCheck, a_function_in_what_libbpf_takes_for_no_code_is_not_counted) {
    std::string two = fuzzed("only_function_calls_itself");
    content<Elf64_Sym>(two, ".symtab")[kProgramSymbol].st_info =
        ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
    EXPECT_EQ(fault_of(two), "");
    headers_of(two)[kProgramSection].sh_name = section(two, "license").sh_name;
    EXPECT_EQ(fault_of(two), "section '.text': its only function calls or refers to itself");
}

TEST(ObjectCheck, a_second_text_is_refused) {
    std::string two = fuzzed("only_function_calls_itself");
    content<Elf64_Sym>(two, ".symtab")[kProgramSymbol].st_info =
        ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
    headers_of(two)[kProgramSection].sh_name = section(two, ".text").sh_name;
    EXPECT_EQ(fault_of(two), "section '.text': is there twice");
}

/// Where a byte is wrong libbpf gets to see it only if it survives that.
TEST(ObjectCheck, libbpf_survives_what_passes) {
    const std::string whole = object();
    for (std::size_t length = 0; length < whole.size(); length += 211) {
        const std::string cut = whole.substr(0, length);
        if (fault_of(cut).empty()) {
            open(cut);
        }
    }
    unsigned opened = 0;
    for (std::size_t at = 0; at < whole.size(); at += 3) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ (at % 2 == 0 ? 0x80 : 0x05));
        if (fault_of(damaged).empty()) {
            open(damaged);
            ++opened;
        }
    }
    EXPECT_GT(opened, 100U);
}

}  // namespace
}  // namespace taskwork::uapi
