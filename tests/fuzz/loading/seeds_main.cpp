// SPDX-License-Identifier: Apache-2.0
//
// Turns the programs of BPF objects, as libbpf hands them to BPF_PROG_LOAD, into inputs of the
// fuzzers: `fuzz_seeds FOLDER OBJECT...` writes FOLDER/types_* and FOLDER/program_*. Those of at
// most 64 instructions; what names a map names the fuzzer's most similar one.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "host.hpp"
#include "map/map.hpp"
#include "request.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::fuzz {

bool run_input(Bytes) { return false; }

namespace {

constexpr std::size_t kInsnsMax = 64;

std::filesystem::path folder;
std::string object_name;

void write(const std::string& name, const void* data, std::size_t size) {
    std::ofstream(folder / name, std::ios::binary)
        .write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
}

/// The fuzzer's map for one of the object's, by its type (program_fuzzer.cpp has the list).
std::int32_t stand_in(int descriptor) {
    static const std::map<std::uint32_t, std::int32_t> by_type = {
        {BPF_MAP_TYPE_HASH, 4},
        {BPF_MAP_TYPE_ARRAY, 2},
        {BPF_MAP_TYPE_RINGBUF, 3},
        {BPF_MAP_TYPE_LRU_HASH, 5},
        {BPF_MAP_TYPE_PERCPU_ARRAY, 6},
        {BPF_MAP_TYPE_QUEUE, 7},
        {BPF_MAP_TYPE_PERF_EVENT_ARRAY, 8},
        {BPF_MAP_TYPE_STACK_TRACE, 9}};
    const map::Map* map = uapi::map_of(descriptor);
    if (map == nullptr) {
        return descriptor;
    }
    if (map->fields.task_work != map::kNoField) {
        return kFirstMapDescriptor + (map->type == BPF_MAP_TYPE_ARRAY ? 1 : 0);
    }
    const auto found = by_type.find(map->type);
    return kFirstMapDescriptor + (found == by_type.end() ? 4 : found->second);
}

int write_program(bpf_program* program, bpf_prog_load_opts* options, long /*cookie*/) {
    const std::size_t count = bpf_program__insn_cnt(program);
    if (count > kInsnsMax) {
        return 0;
    }
    std::vector<bpf_insn> insns(bpf_program__insns(program), bpf_program__insns(program) + count);
    for (std::size_t i = 0; i < count; ++i) {
        bpf_insn& insn = insns[i];
        if (insn.code == (BPF_LD | BPF_IMM | BPF_DW) &&
            (insn.src_reg == BPF_PSEUDO_MAP_FD || insn.src_reg == BPF_PSEUDO_MAP_VALUE)) {
            insn.imm = stand_in(insn.imm);
        }
    }
    LoadRequest request;
    request.fields.type = bpf_program__type(program);
    request.fields.flags = options->prog_flags;
    request.fields.function_bytes = options->func_info_rec_size;
    request.fields.line_bytes = options->line_info_rec_size;
    const auto assign = [](std::vector<std::byte>& to, const void* from, std::size_t size) {
        const auto* begin = static_cast<const std::byte*>(from);
        to.assign(begin, begin + size);
    };
    assign(request.insns, insns.data(), count * sizeof(bpf_insn));
    assign(request.functions, options->func_info,
           std::size_t{options->func_info_cnt} * options->func_info_rec_size);
    assign(request.lines, options->line_info,
           std::size_t{options->line_info_cnt} * options->line_info_rec_size);
    bpf_btf_info info{};
    std::vector<std::byte> raw(1 << 20);
    info.btf = reinterpret_cast<std::uintptr_t>(raw.data());
    info.btf_size = static_cast<std::uint32_t>(raw.size());
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(static_cast<int>(options->prog_btf_fd), &info, &size) == 0) {
        raw.resize(info.btf_size);
        request.types = raw;
    }
    const std::string name = object_name + "_" + bpf_program__name(program);
    const std::vector<std::byte> bytes = request.bytes();
    write("program_" + name, bytes.data(), bytes.size());
    return 0;
}

void write_object(const char* path) {
    object_name = std::filesystem::path(path).stem().stem().string();
    bpf_object* object = bpf_object__open_file(path, nullptr);
    if (object == nullptr) {
        return;
    }
    std::uint32_t size = 0;
    const void* raw = btf__raw_data(bpf_object__btf(object), &size);
    write("types_" + object_name, raw, size);
    // One by one: the others need not be right.
    std::vector<std::string> names;
    for (bpf_program* each = nullptr; (each = bpf_object__next_program(object, each)) != nullptr;) {
        names.emplace_back(bpf_program__name(each));
    }
    bpf_object__close(object);
    for (const std::string& name : names) {
        object = bpf_object__open_file(path, nullptr);
        for (bpf_program* each = nullptr;
             (each = bpf_object__next_program(object, each)) != nullptr;) {
            bpf_program__set_autoload(each, name == bpf_program__name(each));
        }
        bpf_object__load(object);
        bpf_object__close(object);
        released(64);
    }
}

}  // namespace
}  // namespace taskwork::fuzz

int main(int count, char** arguments) {
    using namespace taskwork::fuzz;
    if (count < 3) {
        std::fprintf(stderr, "usage: %s FOLDER OBJECT...\n", arguments[0]);
        return 2;
    }
    folder = arguments[1];
    std::filesystem::create_directories(folder);
    start_host();
    libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
    libbpf_prog_handler_opts options{};
    options.sz = sizeof options;
    options.prog_prepare_load_fn = write_program;
    libbpf_register_prog_handler("perf_event", BPF_PROG_TYPE_PERF_EVENT,
                                 static_cast<bpf_attach_type>(0), &options);
    libbpf_register_prog_handler("syscall", BPF_PROG_TYPE_SYSCALL, static_cast<bpf_attach_type>(0),
                                 &options);
    for (int i = 2; i < count; ++i) {
        write_object(arguments[i]);
    }
    return 0;
}
