// SPDX-License-Identifier: Apache-2.0

#include "bpf/program.hpp"

// Made from kernel_btf/kernel_btf.c and embedded by the build.
extern "C" const unsigned char taskwork_kernel_btf[];
extern "C" const unsigned char taskwork_kernel_btf_end[];

namespace taskwork::bpf {

Bytes kernel_btf() noexcept {
    return {taskwork_kernel_btf,
            static_cast<std::size_t>(taskwork_kernel_btf_end - taskwork_kernel_btf)};
}

}  // namespace taskwork::bpf
