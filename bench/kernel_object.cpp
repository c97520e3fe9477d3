// SPDX-License-Identifier: Apache-2.0
#include "kernel_object.hpp"

#include <bpf/bpf.h>
#include <sys/mman.h>

#include "tests/reference/kernel.hpp"

namespace taskwork::bench {

KernelObject::KernelObject(const char* path,
                           const std::function<void(bpf_object& object)>& prepare) {
    why_ = test::no_reference_because();
    if (!why_.empty()) {
        return;
    }
    libbpf_set_print(nullptr);
    object_ = bpf_object__open_file(path, nullptr);
    if (object_ != nullptr && prepare) {
        prepare(*object_);
    }
    if (object_ == nullptr || bpf_object__load(object_) != 0) {
        why_ = "the kernel refuses the object";
        return;
    }
    void* const memory =
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, map(".data.shared"), 0);
    if (memory == MAP_FAILED) {
        why_ = "the object's memory cannot be mapped";
        return;
    }
    shared_ = memory;
}

KernelObject::~KernelObject() {
    if (shared_ != nullptr) {
        munmap(shared_, kPage);
    }
    bpf_object__close(object_);
}

int KernelObject::program(const char* name) const {
    return bpf_program__fd(bpf_object__find_program_by_name(object_, name));
}

int KernelObject::map(const char* name) const {
    return bpf_object__find_map_fd_by_name(object_, name);
}

int KernelObject::run(int program, const std::uint64_t* lane) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = lane;
    options.ctx_size_in = lane != nullptr ? sizeof(*lane) : 0;
    return bpf_prog_test_run_opts(program, &options);
}

}  // namespace taskwork::bench
