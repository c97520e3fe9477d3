// SPDX-License-Identifier: Apache-2.0
//
// In place of a translator, for processors that have none: programs are interpreted.
#include <elf.h>

#include <cstdlib>

#include "bpf/jit/native.hpp"
#include "bpf/jit/processor.hpp"
#include "bpf/jit/translate.hpp"

namespace taskwork::bpf::jit {

constinit const Processor kProcessor{
    .has_translator = false, .elf_machine = EM_NONE, .return_address = 0, .frame_rules = {}};

Result<Image> translate(const Source&) {
    assume_task();
    return Error{std::errc::not_supported, "there is no translator for this processor"};
}

// Nobody has native code to enter.

std::uint64_t taskwork_enter_native(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                                    const void*, NativeState*) {
    std::abort();
}

void taskwork_leave_native(NativeState*) { std::abort(); }

}  // namespace taskwork::bpf::jit
