// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer's entry.
#include <cstddef>
#include <cstdint>

#include "host.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" const char* __asan_default_options();

/// Where memory was allocated is told shortly, or telling takes longer than allocating.
extern "C" const char* __asan_default_options() {
    return "malloc_context_size=4:quarantine_size_mb=32";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    taskwork::fuzz::start_host();
    // -1: not to be kept.
    return taskwork::fuzz::run_input(std::as_bytes(std::span(data, size))) ? 0 : -1;
}
