// SPDX-License-Identifier: Apache-2.0
//
// An input is an object file. What is wrong with it as a file is found before libbpf sees it
// (uapi/object_check.hpp); the rest goes the way of `taskwork verify`: opened by libbpf, one of its
// programs relocated and loaded, with its maps, and let go of.
#include <bpf/libbpf.h>

#include <cstdarg>
#include <memory>

#include "host.hpp"
#include "uapi/object_check.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::fuzz {
namespace {

constexpr std::uint64_t kCpuNsMax = 60'000'000'000;
/// Maps larger than that say nothing that smaller ones do not, and the arena of a host is small.
constexpr std::uint32_t kEntriesMax = 4096;
/// A longer walk is of what fuzz_program has.
constexpr std::uint32_t kInsnsWalkedMax = 4096;

int keep_quiet(libbpf_print_level /*level*/, const char* /*format*/, va_list /*arguments*/) {
    return 0;
}

struct Close {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};

}  // namespace

bool run_input(Bytes input) {
    const Bounds bounds(kCpuNsMax);
    if (!uapi::fault_of_object(input).empty()) {
        return false;
    }
    libbpf_set_print(keep_quiet);
    uapi::set_insns_processed_max(kInsnsWalkedMax);
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "fuzzed");
    const std::unique_ptr<bpf_object, Close> object(
        bpf_object__open_mem(input.data(), input.size(), &options));
    if (object == nullptr) {
        return false;
    }
    unsigned programs = 0;
    for (bpf_program* each = nullptr;
         (each = bpf_object__next_program(object.get(), each)) != nullptr;) {
        ++programs;
    }
    unsigned number = 0;
    for (bpf_program* each = nullptr;
         (each = bpf_object__next_program(object.get(), each)) != nullptr;) {
        bpf_program__set_autoload(each, number++ == input.size() / 8 % programs);
    }
    unsigned maps = 0;
    for (bpf_map* each = nullptr; (each = bpf_object__next_map(object.get(), each)) != nullptr;) {
        bpf_map__set_max_entries(each, std::min(bpf_map__max_entries(each), kEntriesMax));
        bpf_map__set_pin_path(each, nullptr);
        ++maps;
    }
    bpf_object__load(object.get());
    released(maps + 1);
    return bounds.is_quick();
}

}  // namespace taskwork::fuzz
