// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer's entry.
#include <cstddef>
#include <cstdint>

#include "host.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    taskwork::fuzz::start_host();
    taskwork::fuzz::run_input(std::as_bytes(std::span(data, size)));
    return 0;
}
