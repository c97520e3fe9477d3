// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/unwind.hpp"

#include <dlfcn.h>

#include "bpf/jit/code_region.hpp"
#include "bpf/jit/frames.hpp"
#include "bpf/jit/switches.hpp"

namespace taskwork::bpf::jit {

namespace {

/// libgcc keeps it.
constinit Frames frames{};

constinit bool is_registered = false;

}  // namespace

void register_frames() noexcept {
    if (is_registered || !is_on(Switch::unwind)) {
        return;
    }
    // The process's libgcc, not the one that the preload library has for itself. A program in C has
    // none until backtrace(3) loads it.
    void* found = ::dlsym(RTLD_DEFAULT, "__register_frame");
    if (found == nullptr) {
        if (void* library = ::dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL); library != nullptr) {
            found = ::dlsym(library, "__register_frame");
        }
    }
    if (found != nullptr) {
        is_registered = true;
        frames = frames_of(CodeRegion::kBase, CodeRegion::kBytes, Frames::Section::eh_frame);
        reinterpret_cast<void (*)(void*)>(found)(&frames);
    }
}

}  // namespace taskwork::bpf::jit
