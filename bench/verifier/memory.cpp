// SPDX-License-Identifier: Apache-2.0
#include "verifier/memory.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

thread_local std::ptrdiff_t held = 0;
thread_local std::ptrdiff_t peak = 0;

void* counted(void* memory) {
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    held += static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
    peak = std::max(peak, held);
    return memory;
}

void give_back(void* memory) {
    held -= static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
    std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    const auto multiple = static_cast<std::size_t>(alignment);
    return counted(std::aligned_alloc(multiple, (size + multiple - 1) / multiple * multiple));
}
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }

namespace taskwork::bench {

MemoryPeak::MemoryPeak() : before_(held) { peak = held; }

std::size_t MemoryPeak::bytes() const { return static_cast<std::size_t>(peak - before_); }

}  // namespace taskwork::bench
